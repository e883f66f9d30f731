from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from franka_fakes import (
    FLANGE,
    TOOL,
    WRENCH,
    errors,
    franka_robot_state,
    franka_state,
    pose,
)

from twist_robot.arm_state import DRIVERS, ArmState, StateError
from twist_robot.rigid import from_quaternion, quaternion_of
from twist_robot.robot_mode import RobotMode

FAKES = {"franka_ros2": franka_robot_state, "multipanda": franka_state}
both = pytest.mark.parametrize("driver", sorted(DRIVERS))


def convert(driver: str, **changes: Any) -> ArmState:
    return DRIVERS[driver].convert(FAKES[driver](**changes))


@both
def test_both_drivers_messages_mean_the_same_state(driver: str) -> None:
    state = convert(driver)
    assert state.stamp == (12, 34)
    assert (state.mode, state.errors, state.success_rate) == (RobotMode.MOVE, (), 1.0)
    np.testing.assert_allclose(state.ee, FLANGE @ TOOL, atol=1e-6)
    np.testing.assert_allclose([*state.force, *state.torque], WRENCH)
    assert state.contact_force == 3.0
    assert state.contact == (False, False, True, False, False, False)
    assert not any(state.collision)


@both
def test_the_flange_is_found_whatever_end_effector_is_set_in_desk(driver: str) -> None:
    np.testing.assert_allclose(convert(driver).flange, FLANGE, atol=1e-6)


@both
def test_errors_are_passed_on_by_name_also_those_nobody_knew_of(driver: str) -> None:
    state = convert(
        driver,
        robot_mode=4,
        current_errors=errors("joint_reflex", "a_later_drivers_error"),
        last_motion_errors=errors("communication_constraints_violation"),
    )
    assert state.mode is RobotMode.REFLEX
    assert set(state.errors) == {"joint_reflex", "a_later_drivers_error"}
    assert state.last_motion_errors == ("communication_constraints_violation",)


ZEROS: dict[str, Any] = {
    "multipanda": [0.0] * 16,
    "franka_ros2": SimpleNamespace(
        pose=SimpleNamespace(
            position=SimpleNamespace(x=0.0, y=0.0, z=0.0),
            orientation=SimpleNamespace(w=0.0, x=0.0, y=0.0, z=0.0),
        )
    ),
}


@both
@pytest.mark.parametrize("field", ["o_t_ee", "f_t_ee"])
def test_a_pose_of_zeros_is_no_pose(driver: str, field: str) -> None:
    with pytest.raises(StateError, match=field):
        convert(driver, **{field: ZEROS[driver]})


@both
def test_nan_is_refused_wherever_it_stands(driver: str) -> None:
    bad = FLANGE.copy()
    bad[0, 3] = math.nan
    poses = {"multipanda": bad.flatten(order="F").tolist(), "franka_ros2": pose(bad)}
    with pytest.raises(StateError, match="o_t_ee"):
        convert(driver, o_t_ee=poses[driver])
    with pytest.raises(StateError, match="success rate nan"):
        convert(driver, control_command_success_rate=math.nan)


def test_quaternions_are_exact_for_rotations_about_every_axis() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(200, 4))
    half_turns = np.eye(4)[1:]  # w is 0: the case that a division by w gets wrong
    for sample in [*samples, *half_turns]:
        quaternion = sample / np.linalg.norm(sample)
        found = quaternion_of(from_quaternion((0, 0, 0), quaternion.tolist()))
        assert found[0] >= 0
        assert abs(float(found @ quaternion)) == pytest.approx(1.0, abs=1e-12)
