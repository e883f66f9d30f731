"""The signals that tell a process to end. Imports nothing that takes long."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a supervisor's, and that the terminal is gone: closed, or an ssh connection dropped."""


def on_end(handler: Callable[[int, FrameType | None], object]) -> None:
    """Has `handler` called by each of `END_SIGNALS`, from now on.

    A SIGHUP that is ignored, because the process was started by ``nohup``, stays ignored.
    """
    for number in END_SIGNALS:
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        signal.signal(number, handler)
