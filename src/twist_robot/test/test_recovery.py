from __future__ import annotations

from collections.abc import Callable

import pytest

from twist_robot.motion.motions import Motion, MotionState
from twist_robot.recovery import Health, HealthCheck, Recovery, objection
from twist_robot.robot_mode import RobotMode

RUNNING, DONE, FAILED = MotionState.RUNNING, MotionState.DONE, MotionState.FAILED


class Call:
    """A step that ends as told, some polls after it was started."""

    def __init__(self, state: MotionState, message: str = "") -> None:
        self.message = message
        self.cancelled = False
        self._state = state

    def poll(self, now: float) -> MotionState:
        return self._state

    def cancel(self) -> None:
        self.cancelled = True


def recovery(*calls: Call) -> tuple[Recovery, list[str]]:
    """A recovery of steps a, b, c ... and the names of those that were started."""
    started: list[str] = []

    def start(name: str, call: Call) -> Callable[[float], Motion]:
        def begin(now: float) -> Motion:
            started.append(name)
            return call

        return begin

    steps = [(name, start(name, call)) for name, call in zip("abcd", calls, strict=False)]
    return Recovery(steps, 0.0, step_timeout=2.0), started


def test_the_steps_run_in_order_and_each_is_told() -> None:
    run, started = recovery(Call(DONE), Call(DONE), Call(DONE))
    run.poll(0.0)
    assert run.over
    assert not run.error
    assert started == ["a", "b", "c"]
    assert run.lines == ["a: done", "b: done", "c: done"]


def test_a_failed_step_is_the_last_one_and_says_what_was_not_tried() -> None:
    run, started = recovery(Call(DONE), Call(FAILED, "the arm is locked"), Call(DONE), Call(DONE))
    run.poll(0.0)
    assert run.over
    assert started == ["a", "b"]
    assert run.lines == ["a: done", "b: failed: the arm is locked"]
    assert run.error == "b failed: the arm is locked (not tried: c, d)"


def test_a_step_that_never_answers_is_cancelled_and_named() -> None:
    silent = Call(RUNNING)
    run, started = recovery(silent, Call(DONE))
    run.poll(2.0)
    assert not run.over
    run.poll(2.01)
    assert run.over
    assert silent.cancelled
    assert "a failed: not over after 2 s" in run.error
    assert started == ["a"]


@pytest.mark.parametrize(
    ("mode", "raised", "age", "reason"),
    [
        (RobotMode.REFLEX, ("joint_reflex",), 0.1, ""),
        (RobotMode.IDLE, (), 0.1, ""),
        (RobotMode.MOVE, ("power_limit_violation",), 0.1, ""),
        (RobotMode.MOVE, (), 0.1, "nothing to recover"),
        (RobotMode.USER_STOPPED, (), 0.1, "release the emergency stop"),
        (RobotMode.GUIDING, (), 0.1, "guiding button"),
        (RobotMode.AUTOMATIC_ERROR_RECOVERY, (), 0.1, "under way"),
        (RobotMode.REFLEX, (), 1.1, "heard 1.1 s ago"),
    ],
)
def test_recovery_is_refused_where_it_makes_no_sense(
    mode: RobotMode, raised: tuple[str, ...], age: float, reason: str
) -> None:
    found = objection(Health(mode, raised, age), max_age=1.0)
    assert reason in found
    assert bool(found) == bool(reason)


def test_silence_is_no_refusal_where_recovery_ends_it() -> None:
    for health in (
        None,
        Health(RobotMode.MOVE, (), 20.0),
        Health(RobotMode.USER_STOPPED, (), 20.0),
    ):
        assert objection(health, max_age=1.0, ends_silence=True) == ""
    heard = Health(RobotMode.USER_STOPPED, (), 0.1)
    assert "release" in objection(heard, max_age=1.0, ends_silence=True)


def test_recovery_is_refused_before_the_driver_was_heard() -> None:
    assert "heard never" in objection(None, max_age=1.0)


class Arm:
    """Its state as it was heard last, on the test's clock."""

    def __init__(self) -> None:
        self.now = 10.0
        self.heard = 9.9
        self.mode, self.errors = RobotMode.MOVE, tuple[str, ...]()

    def says(self, mode: RobotMode, *errors: str) -> None:
        self.heard, self.mode, self.errors = self.now, mode, errors

    def health(self) -> Health:
        return Health(self.mode, self.errors, self.now - self.heard)

    def check(self) -> HealthCheck:
        return HealthCheck(self.health, self.now, timeout=1.0, max_age=0.5)


def test_success_is_what_the_arm_says_not_what_the_services_answered() -> None:
    arm = Arm()
    check = arm.check()
    for mode, error in ((RobotMode.REFLEX, "joint_reflex"), (RobotMode.IDLE, "joint_reflex")):
        arm.now += 0.1
        arm.says(mode, error)
        assert check.poll(arm.now) is RUNNING
    arm.now = 11.1
    arm.says(RobotMode.IDLE, "joint_reflex")
    assert check.poll(arm.now) is FAILED
    assert "mode idle, errors joint_reflex; unlock it in Desk" in check.message


def test_a_state_from_before_the_check_is_no_success() -> None:
    arm = Arm()  # it was in mode move, without errors, a tenth of a second ago
    check = arm.check()
    assert check.poll(arm.now) is RUNNING
    arm.now = 10.2
    assert check.poll(arm.now) is RUNNING
    arm.says(RobotMode.MOVE)
    assert check.poll(arm.now) is DONE
    arm.now = 11.1  # silent since then
    late = arm.check()
    arm.now = 12.2
    assert late.poll(arm.now) is FAILED
    assert "the driver's state has stopped" in late.message


@pytest.mark.parametrize(
    ("mode", "cure"),
    [
        (RobotMode.USER_STOPPED, "release the emergency stop"),
        (RobotMode.GUIDING, "let go of the guiding button"),
        (RobotMode.IDLE, "activate a controller"),
        (RobotMode.OTHER, "unlock it in Desk"),
    ],
)
def test_an_arm_that_has_no_error_but_does_not_obey_has_not_recovered(
    mode: RobotMode, cure: str
) -> None:
    arm = Arm()
    check = arm.check()
    arm.now = 10.1
    arm.says(mode)
    assert check.poll(arm.now) is RUNNING  # it may change while one waits
    arm.now = 11.1
    arm.says(mode)
    assert check.poll(arm.now) is FAILED
    assert f"mode {mode.words}, no errors" in check.message
    assert cure in check.message
