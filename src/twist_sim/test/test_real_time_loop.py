import pytest

from twist_sim.ros.real_time_loop import NANOSECONDS, RealTimePacer

START = 1_700_000_000 * NANOSECONDS
MS = NANOSECONDS // 1000


def test_steps_add_up_to_the_clock_whatever_the_call_pattern():
    pacer = RealTimePacer(0.005, 0.1, START)
    now, steps = START, 0
    for jump in (1, 3, 4, 7, 12, 2, 21, 50, 0, 5, 95):
        now += jump * MS
        steps += pacer.advance(now).steps
    assert steps == (now - START) // (5 * MS)
    assert pacer.lost_total == 0.0


def test_the_stamp_is_the_time_of_the_state_and_never_ahead_of_the_clock():
    pacer = RealTimePacer(0.005, 0.1, START)
    advance = pacer.advance(START + 13 * MS)
    assert advance.steps == 2
    assert advance.stamp == START + 10 * MS
    assert pacer.advance(START + 14 * MS).steps == 0


def test_a_long_stall_is_skipped_and_counted_instead_of_caught_up_in_a_burst():
    pacer = RealTimePacer(0.005, 0.05, START)
    advance = pacer.advance(START + 1000 * MS)
    assert advance.steps == 10
    assert advance.stamp == START + 1000 * MS
    assert advance.lost == pytest.approx(0.95)
    assert pacer.lost_total == pytest.approx(0.95)
    assert pacer.advance(START + 1005 * MS).steps == 1


def test_a_clock_set_back_does_not_freeze_the_simulation():
    pacer = RealTimePacer(0.005, 0.05, START)
    pacer.advance(START + 100 * MS)
    back = START - 3600 * NANOSECONDS
    assert pacer.advance(back).steps == 0
    assert pacer.advance(back + 10 * MS).steps == 2


@pytest.mark.parametrize(("step", "catch_up"), [(0.0, 0.1), (-0.005, 0.1), (0.01, 0.005)])
def test_impossible_steps_are_refused(step, catch_up):
    with pytest.raises(ValueError, match="physics step"):
        RealTimePacer(step, catch_up, START)
