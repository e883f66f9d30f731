"""Whether the joint states still come that Servo moves the arm by. No ROS in here.

Servo itself does not notice: while commands come it goes on from where it has sent the arm.
"""

from __future__ import annotations

SILENT = "joint_states_silent"
"""What the arm's state calls it, among the arm's own errors."""


class JointWatch:
    """Counts looks between which no joint state came.

    A process that was held up looks once, however long that took: it could not have heard any.

    Args:
        patience: looks in a row without a joint state after which they count as silent.
        grace: looks more until the first one, while the driver is being discovered.
    """

    def __init__(self, patience: int, grace: int) -> None:
        self._patience = patience
        self._missed = -grace
        self._came = False

    def heard(self) -> None:
        """A joint state came."""
        self._came = True

    def look(self) -> None:
        """To be called regularly."""
        self._missed = 0 if self._came else self._missed + 1
        self._came = False

    @property
    def silent(self) -> bool:
        """Whether none has come for too long."""
        return self._missed > self._patience
