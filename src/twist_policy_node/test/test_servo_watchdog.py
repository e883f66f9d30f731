from __future__ import annotations

import pytest

from twist_policy_node.servo_watchdog import CODES, Effect, ServoWatchdog, servo_code
from twist_policy_node.watchdogs import WatchdogLimits

HALT = WatchdogLimits().servo_halt


@pytest.fixture
def dog() -> ServoWatchdog:
    dog = ServoWatchdog(WatchdogLimits())
    dog.reset(0.0)
    return dog


@pytest.mark.parametrize("code", [*CODES, 7, 42, -2])
def test_every_status_code_is_followed_slowed_or_stops_the_arm(
    dog: ServoWatchdog, code: int
) -> None:
    meaning = servo_code(code)
    assert dog.status(code, "as told", 1.0) is None, "one status is not yet a standing arm"
    fault = dog.status(code, "as told", 1.0 + HALT)
    if meaning.effect is Effect.HALTS:
        assert fault is not None
        assert meaning.name in fault.cause
        assert "as told" in fault.cause
        assert fault.cure.startswith(meaning.cure)
    else:
        assert fault is None
    assert bool(dog.slowed_by) == (meaning.effect is Effect.SLOWS)


def test_servo_halts_where_moveit_says_so() -> None:
    halts = {code for code, meaning in CODES.items() if meaning.effect is Effect.HALTS}
    assert halts == {-1, 2, 5, 6}
    assert {code for code, meaning in CODES.items() if meaning.effect is Effect.SLOWS} == {1, 3, 4}


def test_a_halt_that_passes_is_no_fault(dog: ServoWatchdog) -> None:
    assert dog.status(5, "", 1.0) is None
    assert dog.status(4, "", 1.0 + 0.9 * HALT) is None
    assert dog.slowed_by == "DECELERATE_FOR_COLLISION"
    assert dog.status(5, "", 1.0 + HALT) is None
    assert dog.status(0, "", 1.0 + 1.1 * HALT) is None
    assert not dog.slowed_by
