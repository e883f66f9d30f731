"""Nodes that are spun beside other work, in a thread of their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

_LONGEST_END = 5.0
"""Seconds that the callback in progress has until the end goes on without it."""


@contextlib.contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Spins `node` in a thread of its own for as long as the context lasts.

    The node stays: whoever made it destroys it.
    """
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name=f"{node.get_name()} executor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join(_LONGEST_END)


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
