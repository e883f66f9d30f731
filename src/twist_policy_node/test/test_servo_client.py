"""Calls to Servo's services, with a client that never gets an answer."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from twist_policy_node.arming import CallState
from twist_policy_node.servo_client import ServiceCall


def test_an_unanswered_request_is_repeated_and_fails_in_the_end(silent_client: Any) -> None:
    call = ServiceCall(silent_client, None, 0.0, 2.0)
    states = [call.poll(at) for at in (0.1, 0.6, 0.7, 1.2)]
    assert states == [CallState.PENDING] * 4
    assert len(silent_client.sent) == 3
    assert call.poll(2.1) is CallState.FAILED
    assert len(silent_client.sent) == 3, "a call that has failed sends nothing more"
    assert "/servo_node/pause_servo did not answer" in call.message
    assert silent_client.pending == []


def test_an_abandoned_call_leaves_nothing_pending(silent_client: Any) -> None:
    call = ServiceCall(silent_client, None, 0.0, 2.0)
    call.poll(0.6)
    call.abandon()
    assert silent_client.pending == []
