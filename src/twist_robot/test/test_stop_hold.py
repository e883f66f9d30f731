from __future__ import annotations

from twist_robot.motion.stop_hold import StopHold


def test_a_stop_holds_until_no_request_came_between_looks_and_not_longer() -> None:
    hold = StopHold()
    hold.request()
    assert not hold.active
    hold.stop()
    for _ in range(5):  # requests that were waiting are taken, one per round
        hold.look()
        hold.look()
        assert hold.active
        hold.request()
    looks = 0
    while hold.active:
        hold.look()
        looks += 1
    assert looks == 3
    hold.look()
    assert not hold.active
