"""The ``policy_node`` executable: one node, one thread, and a clean end at any moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import FrameType

from twist_nodes.end_signals import on_end

_PAUSE_TIMEOUT = 0.5
"""How long the end waits for Servo's answer, seconds."""
_SPIN_TIMEOUT = 0.1
"""How soon a signal is noticed when nothing else happens, seconds."""


class _EndRequest:
    """A signal to end. rclpy's own handlers would end communication before the arm stands."""

    def __init__(self) -> None:
        self._requested = False
        on_end(self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._requested = True

    def requested(self) -> bool:
        """Whether it was made."""
        return self._requested


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until it is told to end: by Ctrl-C, SIGTERM, or a terminal that is gone.

    Args:
        arguments: command line with ROS arguments; None takes the process's own.

    Returns:
        Exit code: 0 after a signal, 1 when the node cannot start.
    """
    end = _EndRequest()  # before the imports below, which take seconds
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.logging import get_logger
    from rclpy.signals import SignalHandlerOptions

    from twist_policy_node.lifecycle_node import NODE_NAME, PolicyNode
    from twist_policy_node.parameters import ParameterError

    if end.requested():
        return 0
    rclpy.init(
        args=list(arguments) if arguments is not None else sys.argv,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    try:
        node = PolicyNode()
    except ParameterError as error:
        get_logger(NODE_NAME).fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not end.requested():
            executor.spin_once(timeout_sec=_SPIN_TIMEOUT)
        node.stand_still()
        deadline = time.monotonic() + _PAUSE_TIMEOUT
        while node.pausing and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.02)
        if node.pausing:
            node.get_logger().warning(
                f"Servo did not answer within {_PAUSE_TIMEOUT:g} s that it is paused; standing "
                "still was commanded, and it halts by its own time-out"
            )
    finally:
        # Whatever happened above, the arm is not left moving.
        node.stand_still()
        executor.remove_node(node)
        node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
