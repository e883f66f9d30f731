"""Requests whose answers get lost, with a client whose answers the test decides."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from twist_nodes.repeated_request import RepeatedRequest


def test_a_request_is_sent_at_once_and_again_after_every_period(silent_client: Any) -> None:
    asked = RepeatedRequest(silent_client, None, 10.0, 0.5)
    assert len(silent_client.sent) == 1
    assert [asked.answer(at) for at in (10.1, 10.4, 10.6, 10.9, 11.2)] == [None] * 5
    assert len(silent_client.sent) == 3


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_answer_counts_and_nothing_stays_pending(number: int, silent_client: Any) -> None:
    asked = RepeatedRequest(silent_client, None, 0.0, 0.5)
    assert asked.answer(0.6) is None
    silent_client.hear_answer(number, number)
    for _ in range(2):
        answer = asked.answer(5.0)
        assert answer is not None
        assert answer.result() == number
    assert silent_client.pending == []
    assert len(silent_client.sent) == 2


def test_a_forgotten_request_leaves_nothing_pending(silent_client: Any) -> None:
    asked = RepeatedRequest(silent_client, None, 0.0, 0.5)
    asked.answer(0.6)
    asked.forget()
    assert silent_client.pending == []


def test_a_request_is_not_sent_again_after_its_end(silent_client: Any) -> None:
    asked = RepeatedRequest(silent_client, None, 0.0, 0.5, until=1.0)
    assert [asked.answer(at) for at in (0.6, 1.1, 1.7)] == [None] * 3
    assert len(silent_client.sent) == 2
    silent_client.hear_answer(1, "late")
    answer = asked.answer(2.0)
    assert answer is not None
    assert answer.result() == "late"
