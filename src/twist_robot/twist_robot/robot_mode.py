"""The modes of a Franka arm: the same numbers in both drivers' messages."""

from __future__ import annotations

from enum import IntEnum


class RobotMode(IntEnum):
    """What the arm's controller is doing; commands are obeyed in `MOVE` alone."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    AUTOMATIC_ERROR_RECOVERY = 6

    @property
    def words(self) -> str:
        """The mode for a person."""
        return self.name.lower().replace("_", " ")


def mode_of(number: int) -> RobotMode:
    """Returns the mode with a driver's number; `OTHER` for one that no driver documents."""
    try:
        return RobotMode(number)
    except ValueError:
        return RobotMode.OTHER
