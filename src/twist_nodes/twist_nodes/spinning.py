"""Nodes that are spun beside other work, in a thread of their own."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

_LONGEST_END = 5.0
"""Seconds that the callback in progress has until the end goes on without it."""


class Spinning:
    """A node that is being spun.

    Attributes:
        error: the first exception that a callback raised; None while all is well.
    """

    def __init__(self, node: Node, interrupted: int | None) -> None:
        self.error: Exception | None = None
        self._node = node
        self._interrupted = interrupted
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._over = False
        self._thread = threading.Thread(
            target=self._spin, name=f"{node.get_name()} executor", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Waits for the callback in progress."""
        self._over = True
        self._executor.shutdown()
        self._thread.join(_LONGEST_END)

    def _spin(self) -> None:
        while not self._over:
            try:
                self._executor.spin()
                return
            except ExternalShutdownException:
                return
            except Exception as error:
                if self.error is None:
                    self._tell(error)

    def _tell(self, error: Exception) -> None:
        self.error = error
        self._node.get_logger().fatal(f"a callback failed: {type(error).__name__}: {error}")
        if self._interrupted is not None and not self._over:
            # To that thread, not to the process: only so its present wait notices.
            signal.pthread_kill(self._interrupted, signal.SIGINT)


@contextlib.contextmanager
def spinning(node: Node) -> Iterator[Spinning]:
    """Spins `node` in a thread of its own for as long as the context lasts.

    The node stays: whoever made it destroys it. A callback that raises ends the process, as it
    would where nothing else is done: in the main thread the context's body is interrupted as by
    Ctrl-C (SIGINT), and at its end the exception is raised here, in whatever thread. Until then the
    node is spun on, so that the body can call services to come to an end.
    """
    main = threading.main_thread()
    spun = Spinning(node, main.ident if threading.current_thread() is main else None)
    try:
        yield spun
    finally:
        spun.end()
        if spun.error is not None:
            raise spun.error


@contextlib.contextmanager
def spinning_node(name: str, domain_id: int | None = None) -> Iterator[Node]:
    """A node called `name`, spun for as long as the context lasts, for one who is no node.

    It has a `rclpy.Context` of its own, so that the process may have other nodes, or none. Without
    a `domain_id` it is in the domain of ROS_DOMAIN_ID.
    """
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    try:
        node = Node(name, context=context)
        try:
            with spinning(node):
                yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
