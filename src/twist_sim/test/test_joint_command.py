import math

import numpy as np
import pytest

from twist_sim.ros.joint_command import JointCommandRules, TrajectoryRejected

RULES = JointCommandRules(("a", "b"), lower=np.array([-1.0, -1.0]), upper=np.array([1.0, 1.0]))


def check(names=("a", "b"), positions=(0.1, 0.2), stamp=100.0, duration=0.01, **times):
    times = {"now": 100.02, "not_before": 0.0} | times
    return RULES.check(names, positions, stamp=stamp, duration=duration, **times)


def test_positions_come_back_in_the_arms_order():
    np.testing.assert_array_equal(check(("b", "a"), (0.2, 0.1)), [0.1, 0.2])


def test_a_zero_stamp_starts_now_as_ros_controllers_have_it():
    np.testing.assert_array_equal(check(stamp=0.0, not_before=99.0), [0.1, 0.2])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"positions": None}, "without points"),
        ({"names": ("a", "c")}, "expected one position for each"),
        ({"names": ("a",), "positions": (0.1,)}, "expected one position for each"),
        ({"positions": (0.1,)}, "expected one position for each"),
        ({"positions": (0.1, math.nan)}, "not finite"),
        ({"positions": (0.1, math.inf)}, "not finite"),
        ({"positions": (0.1, 1.2)}, "b = 1.200 rad is outside"),
        ({"stamp": 99.0}, "old"),
        ({"stamp": 101.0}, "clock"),
        ({"not_before": 100.01}, "before the reset"),
    ],
)
def test_what_must_not_be_followed_is_refused_with_the_reason(arguments, complaint):
    with pytest.raises(TrajectoryRejected, match=complaint):
        check(**arguments)
