from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from twist_policy.contract import PolicyContract
from twist_policy_node.tool_frame import ToolFrame, rotate, rotation_vector, unit_quaternion


def wxyz(rotation: Rotation) -> np.ndarray:
    x, y, z, w = rotation.as_quat()
    return np.array([w, x, y, z])


def test_rotation_agrees_with_an_independent_implementation() -> None:
    rng = np.random.default_rng(0)
    for rotation in Rotation.random(50, random_state=1):
        vector = rng.normal(size=3)
        np.testing.assert_allclose(rotate(wxyz(rotation), vector), rotation.apply(vector))


def test_rotation_vector_is_the_shortest_turn_from_current_to_target() -> None:
    pairs = Rotation.random(100, random_state=2)
    for target, current in zip(pairs[:50], pairs[50:], strict=True):
        expected = (target * current.inv()).as_rotvec()
        np.testing.assert_allclose(
            rotation_vector(wxyz(target), wxyz(current)), expected, atol=1e-9
        )
        np.testing.assert_allclose(
            rotation_vector(-wxyz(target), wxyz(current)), expected, atol=1e-9
        )


def test_tool_tip_and_ik_target_are_inverse_in_the_held_orientation(
    contract: PolicyContract,
) -> None:
    tool = ToolFrame(contract)
    tip = np.array([0.5, 0.1, 0.02])
    ik = tool.ik_target(tip)
    np.testing.assert_allclose(ik, [0.5, 0.1, 0.22], atol=1e-12)  # the flange is above the tip
    np.testing.assert_allclose(tool.tool_tip(ik, tool.orientation), tip, atol=1e-12)


def test_a_tilted_flange_moves_the_tool_tip(contract: PolicyContract) -> None:
    tool = ToolFrame(contract)
    tilt = Rotation.from_rotvec([0, 0.1, 0])
    held = Rotation.from_quat(np.roll(np.asarray(contract.tool_orientation), -1))
    orientation = wxyz(tilt * held)
    assert tool.tilt(orientation) == pytest.approx(0.1)
    tip = tool.tool_tip([0.5, 0.0, 0.2], orientation)
    np.testing.assert_allclose(
        tip, [0.5 - 0.2 * math.sin(0.1), 0.0, 0.2 - 0.2 * math.cos(0.1)], atol=1e-9
    )


@pytest.mark.parametrize(
    "value", [[0, 0, 0, 0], [1, 1, 0, 0], [math.nan, 0, 0, 1], [1, 0, 0], [math.inf, 0, 0, 0]]
)
def test_an_orientation_that_is_none_is_refused(value: list[float]) -> None:
    with pytest.raises(ValueError, match="orientation"):
        unit_quaternion(value)
