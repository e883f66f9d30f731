"""Waits that a signal handler ends."""

from __future__ import annotations

import signal
from queue import SimpleQueue
from typing import Any

import pytest

pytest.importorskip("rclpy")

from twist_evaluation.interruptible_wait import InterruptibleWait
from twist_evaluation.trial_stand import Interrupted


def test_an_interrupt_ends_the_next_wait_with_its_reason_and_only_that_one() -> None:
    wait = InterruptibleWait()
    queue: SimpleQueue[Any] = SimpleQueue()
    queue.put("item")
    wait.interrupt("told to stop")

    with pytest.raises(Interrupted, match="told to stop"):
        wait.item(queue, 10.0)

    assert wait.item(queue, 10.0) == "item"


def test_a_signal_ends_the_present_wait_with_its_reason() -> None:
    wait = InterruptibleWait()
    previous = signal.signal(signal.SIGALRM, lambda *_: wait.interrupt("the alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Interrupted, match="the alarm"):
            wait.pause(60.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


def test_nothing_in_time_is_none() -> None:
    assert InterruptibleWait().item(SimpleQueue(), 0.01) is None
