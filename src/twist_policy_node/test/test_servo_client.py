"""Calls to Servo's services, with a client that never gets an answer."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.task import Future

from twist_policy_node.arming import CallState
from twist_policy_node.servo_client import ServiceCall


class SilentClient:
    """Takes requests."""

    service_name = "/servo_node/pause_servo"

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


@pytest.fixture
def client() -> SilentClient:
    return SilentClient()


def test_an_unanswered_request_is_repeated_and_fails_in_the_end(client: SilentClient) -> None:
    call = ServiceCall(client, None, 0.0, 2.0)  # type: ignore[arg-type]
    states = [call.poll(at) for at in (0.1, 0.6, 0.7, 1.2)]
    assert states == [CallState.PENDING] * 4
    assert len(client.sent) == 3
    assert call.poll(2.1) is CallState.FAILED
    assert "/servo_node/pause_servo did not answer" in call.message
    assert client.pending == []


def test_an_abandoned_call_leaves_nothing_pending(client: SilentClient) -> None:
    call = ServiceCall(client, None, 0.0, 2.0)  # type: ignore[arg-type]
    call.poll(0.6)
    call.abandon()
    assert client.pending == []
