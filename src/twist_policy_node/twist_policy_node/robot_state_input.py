"""The arm's own state, as the robot_state node (or the twin) tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twist_msgs.msg import RobotState
from twist_nodes.endpoints import subscribe_newest
from twist_policy_node.robot_watchdog import RobotReading, RobotWatchdog
from twist_policy_node.sensor_inputs import StampedInput
from twist_policy_node.watchdogs import WatchdogLimits

if TYPE_CHECKING:
    from rclpy.node import Node


class RobotStateInput(StampedInput):
    """Subscribes to ``robot_state``.

    Args:
        node: owns the subscription.
        clock: steady seconds.
        on_state: is called with each state.
    """

    def __init__(
        self, node: Node, clock: Callable[[], float], on_state: Callable[[RobotReading], None]
    ) -> None:
        super().__init__(node, "robot state", "robot_state", clock)
        self._on_state = on_state
        self.reading: RobotReading | None = None
        """The newest."""
        self._subscription = subscribe_newest(node, RobotState, "robot_state", self._on_message)

    def destroy(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    def objection(
        self, watchdog: RobotWatchdog, now: float, limit: float, *, required: bool
    ) -> str | None:
        """Why the arm is not ready to be moved, in words; None when it is.

        Args:
            watchdog: knows what a state must look like.
            now: steady seconds.
            limit: largest age, seconds.
            required: whether a state has to be there; else only one that is there counts.
        """
        if self.reading is None and not required:
            return None
        trouble = self.trouble(now, limit)
        if trouble is not None or self.reading is None:
            return trouble
        fault = watchdog.check_start(self.reading)
        return None if fault is None else f"{fault.cause}: {fault.cure}"

    def said(self, now: float, limit: float) -> str | None:
        """What is wrong with the arm, for the diagnostics; None where no state was ever heard.

        Args:
            now: steady seconds.
            limit: largest age, seconds.
        """
        watchdog = RobotWatchdog(WatchdogLimits(robot_age=limit), required=False)
        return self.objection(watchdog, now, limit, required=False)

    def _on_message(self, message: RobotState) -> None:
        captured, received = self._note(message.header.stamp)
        force = message.external_wrench.force
        self.reading = RobotReading(
            mode=int(message.mode),
            errors=tuple(message.errors),
            contact_force=float(message.contact_force),
            force=(float(force.x), float(force.y), float(force.z)),
            success_rate=float(message.command_success_rate),
            captured=captured,
            received=received,
        )
        self._on_state(self.reading)
