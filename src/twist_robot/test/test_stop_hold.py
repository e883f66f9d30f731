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


def test_a_client_that_asks_after_every_refusal_does_not_keep_a_stop_from_its_answer() -> None:
    hold = StopHold()
    hold.stop()
    looks = 0
    while hold.active:
        hold.request()
        hold.look()
        looks += 1
        assert looks <= 50  # 1 s at the node's 50 looks a second
    assert looks > 2 * 10  # a service keeps ten waiting; half of the rounds may be cut short
    hold.request()
    assert not hold.active
    hold.stop()  # the next one holds as long
    for _ in range(30):
        hold.request()
        hold.look()
    assert hold.active
