from twist_robot.robot_mode import RobotMode, mode_of


def test_the_drivers_numbers_have_their_documented_meaning() -> None:
    words = [mode_of(number).words for number in range(7)]
    assert words[1:6] == ["idle", "move", "guiding", "reflex", "user stopped"]


def test_a_number_that_no_driver_documents_is_never_a_mode_that_moves() -> None:
    assert {mode_of(number) for number in (-1, 7, 255)} == {RobotMode.OTHER}
