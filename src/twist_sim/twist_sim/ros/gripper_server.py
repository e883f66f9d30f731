"""The twin's gripper as Franka's driver serves it: Move, Grasp and Homing, and finger positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rclpy.action import ActionServer, CancelResponse
from sensor_msgs.msg import JointState

from twist_nodes.endpoints import advertise
from twist_sim.ros.gripper_messages import Grasp, Homing, Move
from twist_sim.ros.gripper_motion import FingerCommand, GripperMotion, GripperRefusal, Outcome

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from rclpy.action.server import ServerGoalHandle
    from rclpy.node import Node

GRIPPER = "franka_gripper"
"""Relative name of the gripper in the graph; a remapping gives it another one."""
_FEEDBACK_PERIOD = 0.1
_JOINT_STATES_PERIOD = 1 / 30
"""Seconds, as Franka's driver does it."""


class Fingers(Protocol):
    """The fingers that are commanded."""

    @property
    def finger_width(self) -> float:
        """Distance between them, metres."""

    def drive_fingers(self, command: FingerCommand) -> None:
        """Drives them from now on."""


@dataclass
class _UnderWay:
    """A goal that is being executed."""

    handle: ServerGoalHandle
    kind: Any
    motion: GripperMotion
    next_feedback: float = 0.0


class GripperServer:
    """Action servers ``<GRIPPER>/move``, ``grasp`` and ``homing`` over simulated fingers.

    As with Franka's driver every goal is accepted; a goal with impossible numbers is aborted with
    its ``error``, a grasp of nothing without one, and a new goal ends the one under way. Goals are
    executed step by step from the node's own timer: nothing here waits.

    Args:
        node: owns servers and publisher.
        fingers: are commanded.
        joint_names: of the two fingers.
    """

    def __init__(self, node: Node, fingers: Fingers, joint_names: tuple[str, str]) -> None:
        self._node = node
        self._fingers = fingers
        self._names = list(joint_names)
        self._under_way: _UnderWay | None = None
        self._next_states = 0.0
        self._states = advertise(node, JointState, f"{GRIPPER}/joint_states", 10)
        self._servers = [
            ActionServer(
                node,
                Move,
                f"{GRIPPER}/move",
                **self._callbacks(Move, lambda g: GripperMotion.move(g.width, g.speed)),
            ),
            ActionServer(
                node,
                Grasp,
                f"{GRIPPER}/grasp",
                **self._callbacks(
                    Grasp,
                    lambda g: GripperMotion.grasp(
                        g.width, g.speed, g.force, g.epsilon.inner, g.epsilon.outer
                    ),
                ),
            ),
            ActionServer(
                node,
                Homing,
                f"{GRIPPER}/homing",
                **self._callbacks(Homing, lambda g: GripperMotion.homing()),
            ),
        ]

    def _callbacks(self, kind: Any, motion: Callable[[Any], GripperMotion]) -> dict[str, Any]:
        """What an action server calls; `motion` makes a motion of a goal."""

        def accepted(handle: ServerGoalHandle) -> None:
            self.abort("another command came")
            try:
                self._under_way = _UnderWay(handle, kind, motion(handle.request))
            except GripperRefusal as error:
                self._node.get_logger().warning(f"gripper: {error}")
                _finish(handle, kind, Outcome(False, str(error)))

        return {
            # Never called: goals are ended by `_finish`.
            "execute_callback": lambda handle: kind.Result(),
            "handle_accepted_callback": accepted,
            "cancel_callback": lambda handle: CancelResponse.ACCEPT,
        }

    def abort(self, reason: str) -> None:
        """Ends the command under way, if there is one."""
        if self._under_way is not None:
            _finish(self._under_way.handle, self._under_way.kind, Outcome(False, reason))
            self._under_way = None

    def advance(self, now: float, stamp: Time) -> None:
        """Goes on with the command under way and tells where the fingers are.

        Args:
            now: time of the simulated state, seconds.
            stamp: the same.
        """
        width = self._fingers.finger_width
        if now >= self._next_states:
            self._next_states = now + _JOINT_STATES_PERIOD
            message = JointState(name=self._names, position=[width / 2] * 2)
            message.header.stamp = stamp
            self._states.publish(message)
        goal = self._under_way
        if goal is None:
            return
        if goal.handle.is_cancel_requested:
            self._fingers.drive_fingers(FingerCommand(width, speed=1.0))
            self.abort("cancelled")
            return
        step = goal.motion.advance(width, now)
        if isinstance(step, FingerCommand):
            self._fingers.drive_fingers(step)
        elif isinstance(step, Outcome):
            self._under_way = None
            _finish(goal.handle, goal.kind, step)
        elif now >= goal.next_feedback:
            goal.next_feedback = now + _FEEDBACK_PERIOD
            goal.handle.publish_feedback(goal.kind.Feedback(current_width=width))

    def destroy(self) -> None:
        """Takes the servers off the graph."""
        for server in self._servers:
            server.destroy()


def _finish(handle: ServerGoalHandle, kind: Any, outcome: Outcome) -> None:
    def end(handle: ServerGoalHandle) -> Any:
        if handle.is_cancel_requested:
            handle.canceled()
        elif outcome.success:
            handle.succeed()
        else:
            handle.abort()
        return kind.Result(success=outcome.success, error=outcome.error)

    # Executed only now: awaiting in an execute callback would keep rclpy's executor busy.
    handle.execute(end)
