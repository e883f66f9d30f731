"""Promises of the running node about a gripper, kept over real middleware."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition

from twist_policy.contract import PolicyContract
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint

pytestmark = pytest.mark.slow

LIMITS = dict.fromkeys(
    (
        *("frame_age_limit", "frame_interval_limit", "pose_age_limit", "servo_silence_limit"),
        *("gripper_answer_limit", "gripper_silence_limit"),
    ),
    2.0,
)
"""A busy machine holds up the fakes, too."""


@pytest.fixture(scope="module")
def grip_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, gripper_contract: PolicyContract
) -> Path:
    """Lets the gripper close after five steps, open after five more, and so on."""
    folder = tmp_path_factory.mktemp("checkpoint") / "grip"
    write_synthetic_checkpoint(folder, gripper_contract, behaviour="grip", grip_every=5)
    return folder


@pytest.fixture
def gripper(ros_domain_id: int) -> Iterator[Any]:
    from fake_gripper import FakeGripper

    gripper = FakeGripper(ros_domain_id)
    yield gripper
    gripper.die()


def assert_inactive_and_silent(stand: Any, gripper: Any) -> None:
    stand.wait_for(lambda: stand.state() == "inactive", "the node to be inactive")
    stand.wait_for(lambda: stand.cell.paused, "Servo paused")
    now, goals = time.time_ns(), len(gripper.goals)
    time.sleep(0.6)  # a time in which nothing may happen cannot be awaited otherwise
    assert [sent for sent in stand.cell.commands if sent.published > now] == []
    assert len(gripper.goals) == goals


def test_the_gripper_is_opened_first_and_then_does_what_the_policy_asks(
    stand: Any, gripper: Any, grip_checkpoint: Path
) -> None:
    unpaused_at_open: list[bool] = []
    stand.configured(checkpoint=grip_checkpoint, **LIMITS)
    assert gripper.goals == []
    assert stand.activate(), stand.log()
    stand.wait_for(lambda: bool(gripper.goals), "the gripper to be opened")
    unpaused_at_open.append(stand.cell.paused)
    stand.wait_for(lambda: len(gripper.goals) >= 3, "closing and opening")
    stand.wait_for(
        lambda: any(s.gripper_command == "open" for s in stand.cell.steps), "the step that opens"
    )
    assert unpaused_at_open == [True]  # nothing moves while it opens
    assert gripper.commands()[:3] == ["open", "close", "open"]
    move, grasp = gripper.goals[0][1], gripper.goals[1][1]
    assert (move.width, move.speed) == (0.08, 0.1)
    assert (grasp.width, grasp.speed, grasp.force) == (0.04, 0.1, 40.0)
    assert (grasp.epsilon.inner, grasp.epsilon.outer) == (0.01, 0.012)
    steps = list(stand.cell.steps)
    closed, opened = [i for i, s in enumerate(steps) if s.gripper_command][:2]
    assert [steps[i].gripper_command for i in (closed, opened)] == ["close", "open"]
    states = [s.gripper_state for s in steps[: opened + 1]]
    assert states == [-1.0] * closed + [1.0] * (opened - closed) + [-1.0]
    assert steps[0].gripper_result == ""
    assert steps[0].gripper_width == pytest.approx(0.08)
    assert steps[closed].gripper_result == "running"
    assert steps[closed].gripper_action == 1.0
    assert steps[opened - 1].gripper_result == "success"
    assert steps[opened - 1].gripper_width == pytest.approx(0.04)


def test_a_grasp_of_nothing_goes_on_and_every_broken_gripper_stops_the_arm(
    stand: Any, gripper: Any, grip_checkpoint: Path
) -> None:
    stand.configured(checkpoint=grip_checkpoint, gripper_command_limit=2.5, **LIMITS)
    assert stand.activate(), stand.log()
    stand.wait_for(lambda: len(stand.cell.steps) >= 1, "the first step")
    gripper.trouble = "nothing"
    stand.wait_for(lambda: stand.cell.steps[-1].gripper_result == "failed", "a grasp of nothing")
    steps = len(stand.cell.steps)
    stand.wait_for(lambda: len(stand.cell.steps) >= steps + 3, "steps after a grasp of nothing")
    assert stand.state() == "active"
    said = "gripper: close failed: the fingers, 0 mm apart, hold nothing of the expected width"
    stand.wait_for(lambda: said in stand.log(), "the log to say why it failed")
    for trouble, code in (
        ("rejects", "gripper_refused"),
        ("late", "gripper_late"),
        ("error", "gripper_refused"),
        ("dies", "gripper_lost"),
    ):
        if stand.state() == "active":
            assert stand.deactivate()
        assert_inactive_and_silent(stand, gripper)
        gripper.forget()
        stand.cell.steps.clear()
        stand.cell.policy_diagnostics.clear()
        assert stand.activate(), stand.log()
        stand.wait_for(lambda: len(stand.cell.steps) >= 1, f"the first step before {trouble}")
        if trouble == "dies":
            gripper.die()
        else:
            gripper.trouble = trouble
        status = stand.wait_for_stop(code)
        assert status.level == b"\x02"
        assert_inactive_and_silent(stand, gripper)


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ("rejects", "the gripper rejected the command"),
        ("stuck", "its fingers are 0.020 m apart (0.080 m expected)"),
        ("dies", "action /franka_gripper/move is not there"),
    ],
)
def test_without_an_open_gripper_nothing_starts(
    stand: Any, gripper: Any, grip_checkpoint: Path, trouble: str, expected: str
) -> None:
    gripper.trouble = trouble
    if trouble == "dies":
        gripper.die()
    stand.configured(
        checkpoint=grip_checkpoint, activation_timeout=1.0, gripper_command_limit=2.5, **LIMITS
    )
    assert stand.activate()
    stand.wait_for(lambda: expected in stand.log(), f"the log to say {expected!r}")
    stand.wait_for(lambda: stand.state() == "inactive", "the node to be inactive")
    assert stand.cell.commands == []
    assert stand.cell.steps == []
    assert stand.cell.pause_requests == []


def test_a_checkpoint_with_a_gripper_is_refused_where_there_is_none(
    stand: Any, grip_checkpoint: Path
) -> None:
    stand.start(checkpoint=grip_checkpoint, gripper="''")
    assert not stand.change_state(Transition.TRANSITION_CONFIGURE)
    stand.wait_for_stop("configure")
    assert "uses a gripper, but parameter gripper is empty" in stand.log()
