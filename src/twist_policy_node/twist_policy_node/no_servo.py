"""What stands where Servo would be in a dry run: everything is granted, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable

from twist_policy_node.arming import CallState
from twist_policy_node.commands import Command


class _Granted:
    """A call that was granted."""

    name = "dry run"
    message = ""

    def poll(self, now: float) -> CallState:
        """Done."""
        return CallState.DONE


class NoServo:
    """Has the methods of `twist_policy_node.servo_client.ServoClient` and touches no graph.

    Args:
        clock: steady seconds.
    """

    is_open = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    @property
    def heard(self) -> float:
        """Now: nothing is waited for."""
        return self._clock()

    def destroy(self) -> None:
        """Nothing to do."""

    def open(self) -> None:
        """Nothing to do: a dry run is no commander."""

    def close(self) -> None:
        """Nothing to do."""

    def missing(self) -> list[str]:
        """Nothing: Servo need not run."""
        return []

    def other_commanders(self) -> list[str]:
        """Nobody is a rival of who commands nothing."""
        return []

    def switch_command_type(self) -> _Granted:
        """Granted."""
        return _Granted()

    def pause(self, paused: bool) -> _Granted:
        """Granted."""
        return _Granted()

    def publish(self, command: Command) -> None:
        """Sends nothing."""
