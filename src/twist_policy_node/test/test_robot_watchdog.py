from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from twist_policy_node.robot_watchdog import RobotReading, RobotWatchdog
from twist_policy_node.watchdogs import WatchdogLimits

LIMITS = WatchdogLimits()
GOOD = RobotReading(
    mode=2,
    errors=(),
    contact_force=5.0,
    force=(0.0, 3.0, -4.0),
    success_rate=1.0,
    captured=10.0,
    received=10.0,
)


def reading(now: float = 10.0, **changes: Any) -> RobotReading:
    return dataclasses.replace(GOOD, **{"captured": now, "received": now, **changes})


def watchdog(*, required: bool = True) -> RobotWatchdog:
    dog = RobotWatchdog(LIMITS, required=required)
    dog.reset(GOOD, 10.0)
    return dog


def test_an_arm_that_moves_freely_is_no_fault() -> None:
    dog = watchdog()
    assert dog.state(reading(10.1)) is None
    assert dog.state(reading(10.2, contact_force=LIMITS.contact_force)) is None
    assert dog.check(10.2 + LIMITS.robot_age) is None


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"mode": 0}, "robot_mode", "mode other"),
        ({"mode": 1}, "robot_mode", "activate the trajectory controller"),
        ({"mode": 3}, "robot_mode", "let go of the guiding button"),
        ({"mode": 4}, "robot_mode", "recover it"),
        ({"mode": 5}, "robot_mode", "release the emergency stop"),
        ({"mode": 6}, "robot_mode", "automatic error recovery"),
        ({"mode": 77}, "robot_mode", "mode 77"),
        ({"errors": ("joint_reflex", "instability_detected")}, "robot_error", "joint_reflex, inst"),
        ({"contact_force": 30.01}, "contact_force", "30.0 N (limit 30 N)"),
        ({"contact_force": math.inf}, "contact_force", "inf N"),
        ({"contact_force": math.nan}, "robot_invalid", "contact force is nan"),
        ({"force": (0.0, math.nan, 0.0)}, "robot_invalid", "external force is (0.0, nan, 0.0)"),
        ({"captured": 990.0}, "robot_clock", "in the future"),
        ({"success_rate": math.nan}, "robot_invalid", "nan"),
    ],
)
def test_each_trouble_of_the_arm_is_a_fault_at_once(
    changes: dict[str, Any], code: str, words: str
) -> None:
    fault = watchdog().state(reading(**changes))
    assert fault is not None
    assert fault.code == code
    assert words in str(fault)


def test_a_few_lost_commands_are_no_fault_and_many_for_long_are() -> None:
    dog = watchdog()
    for now in (10.0, 10.1, 10.2):
        assert dog.state(reading(now, success_rate=0.5)) is None
    assert dog.state(reading(10.29, success_rate=0.9)) is None  # starts the count anew
    assert dog.state(reading(10.35, success_rate=0.5)) is None
    fault = dog.state(reading(10.35 + LIMITS.success_time, success_rate=0.5))
    assert fault is not None
    assert fault.code == "robot_connection"
    assert "50%" in fault.cause


@pytest.mark.parametrize("stale", ["received", "captured"])
def test_a_state_that_stops_or_gets_old_is_a_fault(stale: str) -> None:
    dog = watchdog(required=False)
    dog.state(dataclasses.replace(reading(10.5), **{stale: 10.2}))
    assert dog.check(10.2 + LIMITS.robot_age) is None
    fault = dog.check(10.2 + LIMITS.robot_age + 0.01)
    assert fault is not None
    assert fault.code == "robot_silent"


def test_a_state_that_never_came_is_a_fault_only_where_it_is_required() -> None:
    late = 10.0 + LIMITS.robot_age + 0.01
    for required in (True, False):
        dog = RobotWatchdog(LIMITS, required=required)
        dog.reset(None, 10.0)
        assert dog.check(10.1) is None
        assert (dog.check(late) is not None) == required
