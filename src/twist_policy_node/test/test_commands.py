from __future__ import annotations

import numpy as np
import pytest

from twist_policy.action_gate import GateError
from twist_policy.contract import PolicyContract
from twist_policy_node.commands import (
    CommandMode,
    CommandShaper,
    PoseCommand,
    ToolPose,
    TwistCommand,
)

TIP = np.array([0.45, 0.1, 0.05])
DOWN = np.array([0.0, 1.0, 0.0, 0.0])
TOOL = np.array([0.0, 0.0, 0.2])


def pose(tip: np.ndarray = TIP, orientation: np.ndarray = DOWN) -> ToolPose:
    return ToolPose(tip, orientation, 0.0, 0.0)


def test_a_pose_command_puts_the_tool_tip_on_the_target_in_the_held_orientation(
    contract: PolicyContract,
) -> None:
    shaper = CommandShaper(contract, CommandMode.POSE)
    shaper.start(pose())
    # However far the arm may have been pressed out of it since.
    tilted = np.array([0.05, 0.99, 0.0, 0.0])
    command = shaper.move(TIP, np.zeros(3), pose(orientation=tilted / np.linalg.norm(tilted)))
    assert isinstance(command, PoseCommand)
    np.testing.assert_allclose(command.position, TIP + TOOL, atol=1e-12)
    np.testing.assert_allclose(command.orientation, DOWN)


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_tool_that_starts_tilted_beside_the_workspace_is_led_in_at_the_speed_of_a_step(
    contract: PolicyContract, share: float
) -> None:
    """Servo takes the whole way to a pose at once, as fast as the joints can."""
    shaper = CommandShaper(contract, CommandMode.POSE)
    shaper.limit_speed(share)
    angle, beside = 0.34, TIP + np.array([0.0, 0.0, 0.03])
    tilted = np.array([np.sin(angle / 2), np.cos(angle / 2), 0.0, 0.0])
    started = pose(beside, tilted)
    shaper.start(started)
    last = PoseCommand(beside - shaper.tool.offset_in_base(tilted), tilted)
    bound = share * contract.action_bound
    periods = 0
    while not np.allclose(last.position, TIP + TOOL, atol=1e-9):
        periods += 1
        assert periods < 200
        command = shaper.move(TIP, np.zeros(3), started)
        assert isinstance(command, PoseCommand)
        tips = [c.position + shaper.tool.offset_in_base(c.orientation) for c in (last, command)]
        assert np.linalg.norm(tips[1] - tips[0]) <= bound * (1 + 1e-5)
        assert np.linalg.norm(command.position - last.position) <= 1.5 * bound * (1 + 1e-5)
        last = command
    np.testing.assert_allclose(last.orientation, DOWN, atol=1e-12)
    assert periods == pytest.approx(angle / 0.05 / share, abs=2)


def test_an_arm_that_is_pushed_while_it_is_led_in_is_not_led_on(contract: PolicyContract) -> None:
    shaper = CommandShaper(contract, CommandMode.POSE)
    shaper.limit_speed(0.1)
    above = np.array([0.0, 0.0, 0.03])
    shaper.start(pose(TIP + above))
    shaper.move(TIP, np.zeros(3), pose(TIP + above))
    pushed = pose(TIP - above)
    with pytest.raises(GateError, match=r"0.05\d m away from where it is being led"):
        shaper.move(TIP, np.zeros(3), pushed)


def test_an_arm_that_is_pushed_out_of_the_workspace_is_never_told_to_stay_there(
    contract: PolicyContract,
) -> None:
    """The gate's target is the command, however far the arm is from the last one."""
    shaper = CommandShaper(contract, CommandMode.POSE)
    edge = np.array([contract.workspace.upper[0] - 0.005, 0.0, 0.05])
    shaper.start(pose(edge))
    shaper.move(edge, np.zeros(3), pose(edge))
    back = edge + np.array([0.005, 0.0, 0.0])
    command = shaper.move(back, back - edge, pose(edge + np.array([0.06, 0.0, 0.0])))
    assert isinstance(command, PoseCommand)
    np.testing.assert_allclose(command.position, back + TOOL, atol=1e-12)


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_twist_that_turns_the_tool_upright_is_as_slow_as_the_others(
    contract: PolicyContract, share: float
) -> None:
    shaper = CommandShaper(contract, CommandMode.TWIST)
    shaper.limit_speed(share)
    tilted, delta = np.array([np.sin(0.15), np.cos(0.15), 0.0, 0.0]), np.array([0.02, 0.0, 0.0])
    measured = pose(TIP, tilted)
    command = shaper.move(TIP + delta, delta, measured)
    assert isinstance(command, TwistCommand)
    tip_velocity = command.linear + np.cross(
        command.angular, shaper.tool.offset_in_base(measured.orientation)
    )
    limit = share * contract.action_bound / contract.control_period
    assert np.linalg.norm(tip_velocity) <= limit * (1 + 1e-9)
    assert np.linalg.norm(command.linear) <= limit * (1 + 1e-9)
    assert np.linalg.norm(command.angular) <= share * 0.5
    assert tip_velocity[0] > 0


def test_a_twist_makes_exactly_the_step_within_one_control_period(
    contract: PolicyContract,
) -> None:
    shaper = CommandShaper(contract, CommandMode.TWIST)
    delta = np.array([0.01, -0.005, 0.0])
    command = shaper.move(TIP + delta, delta, pose())
    assert isinstance(command, TwistCommand)
    np.testing.assert_allclose(command.linear * contract.control_period, delta, atol=1e-12)
    np.testing.assert_allclose(command.angular, 0, atol=1e-12)


def test_a_twist_is_followed_by_zero_and_a_pose_by_itself(contract: PolicyContract) -> None:
    twist = CommandShaper(contract, CommandMode.TWIST)
    after = twist.after_step(twist.move(TIP, np.full(3, 0.01), pose()))
    assert isinstance(after, TwistCommand)
    np.testing.assert_array_equal(after.linear, 0)
    hold = CommandShaper(contract, CommandMode.POSE)
    command = hold.move(TIP, np.zeros(3), pose())
    assert hold.after_step(command) is command


def test_a_twist_never_exceeds_the_bound_per_period_whatever_it_corrects(
    contract: PolicyContract,
) -> None:
    shaper = CommandShaper(contract, CommandMode.TWIST, position_gain=10.0, orientation_gain=10.0)
    rng = np.random.default_rng(3)
    for _ in range(300):
        delta = rng.normal(size=3)
        delta *= rng.uniform(0, 0.02) / np.linalg.norm(delta)
        orientation = rng.normal(size=4)
        tip = TIP + rng.uniform(-0.1, 0.1, 3)
        measured = pose(tip, orientation / np.linalg.norm(orientation))
        command = shaper.move(TIP + delta, delta, measured)
        assert isinstance(command, TwistCommand)
        assert np.linalg.norm(command.linear) <= 0.02 / 0.1 + 1e-9
        assert np.linalg.norm(command.angular) <= 0.5 + 1e-9


def test_a_twist_corrects_height_and_orientation(contract: PolicyContract) -> None:
    shaper = CommandShaper(contract, CommandMode.TWIST)
    turned = np.array([0.0, np.cos(0.05), np.sin(0.05), 0.0])  # 0.1 rad about the vertical
    command = shaper.move(TIP, np.zeros(3), pose(TIP - TOOL / 20, turned))
    assert isinstance(command, TwistCommand)
    np.testing.assert_allclose(command.linear, [0, 0, 0.02], atol=1e-9)
    np.testing.assert_allclose(command.angular, [0, 0, -0.2], atol=1e-6)


def test_turning_the_tool_upright_does_not_move_its_tip(contract: PolicyContract) -> None:
    shaper = CommandShaper(contract, CommandMode.TWIST)
    tilted = np.array([np.sin(0.05), np.cos(0.05), 0.0, 0.0])  # about x
    measured = pose(TIP, tilted)
    command = shaper.move(TIP, np.zeros(3), measured)
    assert isinstance(command, TwistCommand)
    tip_velocity = command.linear + np.cross(
        command.angular, shaper.tool.offset_in_base(measured.orientation)
    )
    assert np.linalg.norm(command.angular) > 0.1
    np.testing.assert_allclose(tip_velocity, 0, atol=1e-9)


def test_holding_stands_still_as_measured(contract: PolicyContract) -> None:
    shaper = CommandShaper(contract, CommandMode.POSE)
    hold = shaper.hold(pose())
    assert isinstance(hold, PoseCommand)
    np.testing.assert_allclose(hold.position, TIP + TOOL, atol=1e-12)
    twist = CommandShaper(contract, CommandMode.TWIST).hold(None)
    assert isinstance(twist, TwistCommand)
    np.testing.assert_array_equal(twist.linear, 0)


@pytest.mark.parametrize(("height", "held"), [(-0.01, 0.0), (-0.05, None)])
def test_holding_is_a_small_motion_into_the_workspace_or_none(
    contract: PolicyContract, height: float, held: float | None
) -> None:
    shaper = CommandShaper(contract, CommandMode.POSE)
    hold = shaper.hold(pose(np.array([0.45, 0.0, height])))
    if held is None:
        assert hold is None
    else:
        assert isinstance(hold, PoseCommand)
        assert hold.position[2] == pytest.approx(held + 0.2)


def test_without_a_measured_pose_no_pose_is_held(contract: PolicyContract) -> None:
    assert CommandShaper(contract, CommandMode.POSE).hold(None) is None


def test_a_lag_that_is_known_is_not_corrected(contract: PolicyContract) -> None:
    shaper = CommandShaper(contract, CommandMode.TWIST, lag=0.05)
    delta = np.array([0.01, 0.0, 0.0])
    moving = TwistCommand(delta / 0.1, np.zeros(3))
    lagging = pose(TIP - moving.linear * 0.05)
    command = shaper.move(TIP + delta, delta, lagging, moving)
    assert isinstance(command, TwistCommand)
    np.testing.assert_allclose(command.linear, moving.linear, atol=1e-12)
