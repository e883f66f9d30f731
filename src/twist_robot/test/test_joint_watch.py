from __future__ import annotations

from twist_robot.joint_watch import JointWatch


def looks(watch: JointWatch, number: int) -> bool:
    for _ in range(number):
        watch.look()
    return watch.silent


def test_joint_states_are_silent_after_so_many_looks_and_not_before() -> None:
    watch = JointWatch(patience=20, grace=200)
    assert not looks(watch, 220)  # the driver may still be discovered
    assert looks(watch, 1)
    watch.heard()
    assert not looks(watch, 21)
    assert looks(watch, 1)


def test_a_process_that_was_held_up_does_not_take_that_for_silence() -> None:
    watch = JointWatch(patience=1, grace=0)
    for _ in range(5):
        watch.look()  # late; what came meanwhile is taken after it
        assert not watch.silent
        watch.heard()
