"""The client of a Franka gripper: its Move and Grasp actions and its fingers' positions.

Nothing here waits: a sent `Goal` is told what the gripper answers when it answers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState

from twist_nodes.endpoints import subscribe_newest
from twist_policy.contract import GripperSpec
from twist_policy_node.gripper import Fingers, Goal
from twist_policy_node.gripper_messages import Grasp, Move

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.task import Future

_ENDED = {GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_ABORTED}
"""Statuses with a result of the gripper. A grasp of nothing is aborted by Franka's driver."""


class GripperClient:
    """Talks to one gripper.

    Args:
        node: owns the clients and the subscription.
        name: of the gripper; its actions are ``<name>/move`` and ``<name>/grasp``, its fingers'
            positions ``<name>/joint_states``.
        spec: what opening and closing mean.
        clock: steady seconds.
    """

    def __init__(
        self, node: Node, name: str, spec: GripperSpec, clock: Callable[[], float]
    ) -> None:
        self._node = node
        self._spec = spec
        self._clock = clock
        self._move = ActionClient(node, Move, f"{name}/move")
        self._grasp = ActionClient(node, Grasp, f"{name}/grasp")
        self._names = [node.resolve_topic_name(f"{name}/{part}") for part in ("move", "grasp")]
        self._subscription = subscribe_newest(
            node, JointState, f"{name}/joint_states", self._on_joint_states
        )
        self._topic = self._subscription.topic_name
        self.fingers: Fingers | None = None
        """The last measurement."""

    def destroy(self) -> None:
        """Takes everything off the graph."""
        self._node.destroy_subscription(self._subscription)
        self._move.destroy()
        self._grasp.destroy()

    def missing(self, now: float, silence: float) -> list[str]:
        """What of the gripper is not there, in words.

        Args:
            now: steady seconds.
            silence: longest time without the fingers' positions, seconds.
        """
        missing = [
            f"action {name} is not there (is the gripper's driver running?)"
            for name, client in zip(self._names, (self._move, self._grasp), strict=True)
            if not client.server_is_ready()
        ]
        if self.fingers is None or now - self.fingers.received > silence:
            missing.append(f"no positions of two fingers on {self._topic}")
        return missing

    def send(self, goal: Goal) -> None:
        """Sends a command and lets `goal` know what becomes of it."""
        spec = self._spec
        speed = goal.speed * spec.speed
        if goal.command == "open":
            message = Move.Goal(width=spec.open_width, speed=speed)
            future = self._move.send_goal_async(message)
        else:
            message = Grasp.Goal(width=spec.grasp_width, speed=speed, force=spec.force)
            message.epsilon.inner = spec.epsilon_inner
            message.epsilon.outer = spec.epsilon_outer
            future = self._grasp.send_goal_async(message)
        self._node.get_logger().info(f"gripper: {goal.command}")
        future.add_done_callback(functools.partial(self._on_answer, goal))

    def _on_answer(self, goal: Goal, future: Future) -> None:
        error = future.exception()
        handle = None if error is not None else future.result()
        if handle is None or not handle.accepted:
            goal.refuse(str(error or "the gripper rejected the command"))
            return
        goal.accepted = True
        handle.get_result_async().add_done_callback(functools.partial(self._on_result, goal))

    def _on_result(self, goal: Goal, future: Future) -> None:
        error = future.exception()
        response: Any = None if error is not None else future.result()
        if response is None:
            goal.refuse(str(error or "the gripper gave no result"))
        elif response.status not in _ENDED:
            goal.refuse("somebody cancelled it")
        else:
            goal.end(bool(response.result.success), str(response.result.error))
        logger = self._node.get_logger()
        if goal.success:
            logger.info(f"gripper: {goal.command} done")
        else:
            logger.warning(f"gripper: {goal.command} failed: {goal.error or self._in_vain(goal)}")

    def _in_vain(self, goal: Goal) -> str:
        """What it means that the gripper broke off without an error."""
        now = self.fingers
        apart = "the fingers" if now is None else f"the fingers, {round(1e3 * now.width)} mm apart,"
        if goal.command == "open":
            return f"{apart} did not reach the open width"
        return f"{apart} hold nothing of the expected width"

    def _on_joint_states(self, message: JointState) -> None:
        positions = list(message.position)
        if len(positions) == 2 and all(math.isfinite(position) for position in positions):
            # Each finger's position is its distance from the middle.
            self.fingers = Fingers(sum(positions), self._clock())
