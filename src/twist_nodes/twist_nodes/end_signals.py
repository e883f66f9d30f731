"""The signals that tell a process to end. Imports nothing that takes long."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a supervisor's, and that the terminal is gone: closed, or an ssh connection dropped."""


def heeded() -> list[signal.Signals]:
    """`END_SIGNALS` without a SIGHUP that is ignored: the process was started by ``nohup``.

    An ignored SIGINT counts: a shell's background job has it so, and is still to be ended by one.
    """
    hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [number for number in END_SIGNALS if hung_up or number is not signal.SIGHUP]


def on_end(handler: Callable[[int, FrameType | None], object]) -> None:
    """Has `handler` called by each of the signals that are `heeded`, from now on."""
    for number in heeded():
        signal.signal(number, handler)
