"""Running one node as a process that ends cleanly."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from twist_nodes.end_signals import on_end

_LONGEST_WAIT = 0.2
"""Seconds after which a signal is noticed even when no callback runs."""
_LONGEST_END = 4.0
"""Seconds from a signal to the end of the process at the latest."""


class FatalNodeError(RuntimeError):
    """The node cannot go on; the process ends with exit code 1 and this message."""


def _end_soon_after_a_signal(name: str) -> None:
    """Ends this process `_LONGEST_END` after a signal, whatever its main thread is doing.

    Middleware can block in C while it starts or shuts down, where no Python handler runs. A node
    with something to lose then, a moving arm or an open file, has a process of its own making.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        with writer:  # stays open as long as the process waits for a signal
            reader.recv(1)
            time.sleep(_LONGEST_END)
            print(f"{name}: ended hard, the middleware did not let go", file=sys.stderr, flush=True)
            os._exit(0)

    threading.Thread(target=wait, daemon=True, name="end soon after a signal").start()


def run_node(name: str, create: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Creates a node, spins it until it is told to stop, and returns the process exit code.

    A signal to end (`end_signals`) lets the callback in progress finish before anything is taken
    down, so that no publisher is used after its end. The process has ended four seconds later at
    the latest.

    Args:
        name: for log lines before the node exists.
        create: makes the node; a node with a ``close`` method has it called at the end.
        arguments: command line, with ROS arguments; None takes the process's own.

    Returns:
        0 after such a signal, 1 when the node cannot start or cannot go on.
    """
    stop = threading.Event()
    _end_soon_after_a_signal(name)
    on_end(lambda *_: stop.set())
    node: Node | None = None
    try:
        rclpy.init(
            args=list(arguments) if arguments is not None else sys.argv,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        try:
            node = create()
        except (RuntimeError, ValueError, OSError, NameValidationException) as error:
            # The project's errors say cause and cure; a traceback would hide that.
            raise FatalNodeError(str(error)) from error
        # What was imported and made stays: looking through it for garbage takes up to 0.07 s, in
        # which no thread of the process runs.
        gc.collect()
        gc.freeze()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=_LONGEST_WAIT)
    except FatalNodeError as error:
        (node.get_logger() if node is not None else get_logger(name)).fatal(str(error))
        return 1
    finally:
        if node is not None:
            close = getattr(node, "close", None)
            if close is not None:
                close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
