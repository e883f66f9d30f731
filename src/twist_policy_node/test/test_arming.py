from __future__ import annotations

import pytest

from twist_policy_node.arming import Arming, ArmingStep, CallState
from twist_policy_node.watchdogs import Fault


class FakeCall:
    def __init__(self, name: str) -> None:
        self.name = name
        self.message = ""
        self.state = CallState.PENDING

    def poll(self, now: float) -> CallState:
        return self.state


class FakeServo:
    def __init__(self) -> None:
        self.calls: list[FakeCall] = []

    def switch_command_type(self) -> FakeCall:
        return self._call("switch")

    def pause(self, paused: bool) -> FakeCall:
        return self._call(f"pause {paused}")

    def _call(self, name: str) -> FakeCall:
        self.calls.append(FakeCall(name))
        return self.calls[-1]

    def asked(self) -> list[str]:
        return [call.name for call in self.calls]


@pytest.fixture
def servo() -> FakeServo:
    return FakeServo()


def arming(servo: FakeServo) -> Arming:
    return Arming(servo, 0.0, input_timeout=5.0, status_timeout=2.0)


def answer(servo: FakeServo, state: CallState, message: str = "") -> None:
    servo.calls[-1].state, servo.calls[-1].message = state, message


def test_servo_is_asked_in_order_and_one_thing_at_a_time(servo: FakeServo) -> None:
    sequence = arming(servo)
    assert sequence.poll(0.0, ["no camera"], None) is None
    assert servo.asked() == []
    assert sequence.poll(0.1, [], None) is None
    assert servo.asked() == ["switch"]
    sequence.poll(0.2, [], None)
    assert servo.asked() == ["switch"]
    answer(servo, CallState.DONE)
    sequence.poll(0.3, [], None)
    assert servo.asked() == ["switch", "pause False"]
    answer(servo, CallState.DONE)
    sequence.poll(0.4, [], 0.35)
    assert sequence.step is ArmingStep.STATUS  # that status came before Servo was let go
    sequence.poll(0.5, [], 0.45)
    assert sequence.step is ArmingStep.DONE


def test_what_is_missing_for_too_long_is_named(servo: FakeServo) -> None:
    sequence = arming(servo)
    assert sequence.poll(4.9, ["no camera frame on /image_raw yet"], None) is None
    fault = sequence.poll(5.1, ["no camera frame on /image_raw yet"], None)
    assert isinstance(fault, Fault)
    assert fault.code == "not_ready"
    assert "/image_raw" in fault.cause
    assert servo.asked() == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_refusal_of_servo_ends_arming_with_its_reason(servo: FakeServo, which: int) -> None:
    sequence = arming(servo)
    sequence.poll(0.0, [], None)
    for _ in range(which):
        answer(servo, CallState.DONE)
        sequence.poll(0.1, [], None)
    answer(servo, CallState.FAILED, "/servo_node/x did not answer in time")
    fault = sequence.poll(0.2, [], None)
    assert fault is not None
    assert fault.code == "servo_refused"
    assert "did not answer in time" in fault.cause
    assert sequence.step is not ArmingStep.DONE


def test_a_servo_that_says_nothing_after_unpausing_is_not_trusted(servo: FakeServo) -> None:
    sequence = arming(servo)
    for _ in range(3):
        sequence.poll(0.0, [], None)
        if servo.calls:
            answer(servo, CallState.DONE)
    assert sequence.poll(1.9, [], None) is None
    fault = sequence.poll(2.1, [], None)
    assert fault is not None
    assert fault.code == "servo_lost"


def test_a_camera_that_goes_away_while_arming_prevents_the_start(servo: FakeServo) -> None:
    sequence = arming(servo)
    for _ in range(3):
        sequence.poll(0.0, [], None)
        answer(servo, CallState.DONE)
    sequence.poll(0.5, ["the newest camera frame is old"], 0.4)
    assert sequence.step is ArmingStep.STATUS
    fault = sequence.poll(5.5, ["the newest camera frame is old"], 5.4)
    assert fault is not None
    assert fault.code == "not_ready"


def test_the_gripper_is_open_before_servo_is_let_go(servo: FakeServo) -> None:
    opening = FakeCall("open")
    sequence = Arming(
        servo, 0.0, input_timeout=5.0, status_timeout=2.0, open_gripper=lambda now: opening
    )
    sequence.poll(0.0, ["action /franka_gripper/move is not there"], None)
    assert sequence.step is ArmingStep.INPUTS
    sequence.poll(0.1, [], None)
    sequence.poll(2.0, [], None)
    assert sequence.step is ArmingStep.GRIPPER
    assert servo.asked() == []
    assert not sequence.servo_asked
    opening.state = CallState.DONE
    sequence.poll(2.1, [], None)
    assert servo.asked() == ["switch"]
    assert sequence.servo_asked


def test_a_gripper_that_does_not_open_ends_arming_with_its_reason(servo: FakeServo) -> None:
    opening = FakeCall("open")
    opening.state, opening.message = CallState.FAILED, "the gripper did not open: no connection"
    sequence = Arming(
        servo, 0.0, input_timeout=5.0, status_timeout=2.0, open_gripper=lambda now: opening
    )
    fault = sequence.poll(0.1, [], None)
    assert fault is not None
    assert fault.code == "gripper_refused"
    assert "no connection" in fault.cause
    assert servo.asked() == []
