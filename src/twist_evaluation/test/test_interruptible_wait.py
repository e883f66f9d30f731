"""Waits that a signal handler ends."""

from __future__ import annotations

import signal
from queue import SimpleQueue
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.task import Future

from twist_evaluation.interruptible_wait import InterruptibleWait
from twist_evaluation.trial_stand import Interrupted, TrialAborted


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


class ForgetfulServer:
    """The client of a server whose first answers are lost."""

    srv_name = "/policy/get_state"

    def __init__(self, lost: int) -> None:
        self.asked = 0
        self.pending: list[Future] = []
        self._lost = lost

    def call_async(self, request: str) -> Future:
        self.asked += 1
        future = Future()
        self.pending.append(future)
        if self.asked > self._lost:
            future.set_result(f"{request} answered")
        return future

    def remove_pending_request(self, future: Future) -> None:
        self.pending.remove(future)


def test_a_question_is_put_again_when_its_answer_was_lost() -> None:
    server = ForgetfulServer(lost=2)
    answer = InterruptibleWait().call(server, "question", 60.0, repeat_after=0.01)  # type: ignore[arg-type]
    assert answer == "question answered"
    assert server.asked == 3
    assert server.pending == []


def test_what_must_not_happen_twice_is_asked_once() -> None:
    server = ForgetfulServer(lost=1)
    with pytest.raises(TrialAborted, match=r"/policy/get_state did not answer within 0.05 s"):
        InterruptibleWait().call(server, "motion", 0.05)  # type: ignore[arg-type]
    assert server.asked == 1
    assert server.pending == []


def test_nothing_in_time_is_none() -> None:
    assert InterruptibleWait().item(SimpleQueue(), 0.01) is None
