"""Requests whose answers get lost, with a client whose answers the test decides."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.task import Future

from twist_nodes.repeated_request import RepeatedRequest


class Client:
    def __init__(self) -> None:
        self.sent: list[Future] = []
        self.pending: list[Future] = []

    def call_async(self, request: Any) -> Future:
        future = Future()
        self.sent.append(future)
        self.pending.append(future)
        return future

    def remove_pending_request(self, future: Future) -> None:
        self.pending.remove(future)

    def hear_answer(self, number: int) -> None:
        future = self.sent[number]
        self.pending.remove(future)  # as rclpy does when an answer arrives
        future.set_result(number)


def test_a_request_is_sent_at_once_and_again_after_every_period() -> None:
    client = Client()
    asked = RepeatedRequest(client, None, 10.0, 0.5)  # type: ignore[arg-type]
    assert len(client.sent) == 1
    assert [asked.answer(at) for at in (10.1, 10.4, 10.6, 10.9, 11.2)] == [None] * 5
    assert len(client.sent) == 3


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_answer_counts_and_nothing_stays_pending(number: int) -> None:
    client = Client()
    asked = RepeatedRequest(client, None, 0.0, 0.5)  # type: ignore[arg-type]
    assert asked.answer(0.6) is None
    client.hear_answer(number)
    for _ in range(2):
        answer = asked.answer(5.0)
        assert answer is not None
        assert answer.result() == number
    assert client.pending == []
    assert len(client.sent) == 2


def test_a_forgotten_request_leaves_nothing_pending() -> None:
    client = Client()
    asked = RepeatedRequest(client, None, 0.0, 0.5)  # type: ignore[arg-type]
    asked.answer(0.6)
    asked.forget()
    assert client.pending == []
