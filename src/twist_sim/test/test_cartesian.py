import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from twist_sim.ros.cartesian import (
    approach_speed,
    clamp_norm,
    quaternion_from_rotation,
    rotation_error,
    rotation_from_quaternion,
)

_angle = st.floats(-math.pi, math.pi)


@given(_angle, _angle, _angle)
@settings(max_examples=100)
def test_quaternions_and_matrices_are_each_others_inverse(a, b, c):
    truth = Rotation.from_euler("xyz", [a, b, c])
    matrix = rotation_from_quaternion(*truth.as_quat())
    np.testing.assert_allclose(matrix, truth.as_matrix(), atol=1e-9)
    again = np.array(quaternion_from_rotation(matrix))
    assert abs(again @ truth.as_quat()) == pytest.approx(1.0, abs=1e-9)


@given(_angle, _angle, _angle)
@settings(max_examples=100)
def test_rotation_error_turns_the_current_into_the_target(a, b, c):
    current = Rotation.from_euler("zyx", [b, c, a])
    target = Rotation.from_euler("xyz", [a, b, c])
    error = rotation_error(target.as_matrix(), current.as_matrix())
    assert np.linalg.norm(error) <= math.pi + 1e-9
    reached = Rotation.from_rotvec(error) * current
    assert (reached * target.inv()).magnitude() < 1e-6


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (1, 1, 0, 0), (math.nan, 0, 0, 1)])
def test_an_orientation_that_is_no_unit_quaternion_is_refused(quaternion):
    with pytest.raises(ValueError, match="unit quaternion"):
        rotation_from_quaternion(*quaternion)


def test_clamp_keeps_the_direction_and_bounds_the_norm():
    vector = np.array([3.0, 4.0, 0.0])
    np.testing.assert_allclose(clamp_norm(vector, 1.0), [0.6, 0.8, 0.0])
    np.testing.assert_array_equal(clamp_norm(vector, 5.0), vector)


@given(st.floats(1e-6, 0.5), st.floats(0.5, 20.0))
@settings(max_examples=100)
def test_an_approach_lands_on_the_point_without_overshoot_and_within_its_braking(
    distance, acceleration
):
    period, limit, rest, speed = 0.01, 0.4, distance, None
    for _ in range(2000):
        after = approach_speed(rest, acceleration, limit, period)
        if speed is not None:
            # The last step takes what is left and may brake harder than asked, by rounding only.
            assert speed - after <= 2 * acceleration * period + 1e-12
        rest, speed = rest - after * period, after
        assert rest >= -1e-12
    assert rest < 1e-6
