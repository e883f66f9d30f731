"""A gripper as Franka's driver serves it, which can refuse, be late, grasp nothing, or die."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import ActionServer, GoalResponse
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState

from twist_policy_node.gripper_messages import Grasp, Move

_DURATION = 0.1


class FakeGripper(Node):
    """Its own thread; `trouble` may be changed while it runs.

    Attributes:
        trouble: empty; ``rejects`` goals; ``late`` never ends one; ``nothing``: grasps fail;
            ``error``: commands end with an error of the driver; ``stuck``: says that it moved,
            but its fingers stay.
        goals: what was asked, in order: ("open", Move.Goal) and ("close", Grasp.Goal).
    """

    def __init__(self, domain_id: int, name: str = "franka_gripper") -> None:
        self._ros = rclpy.Context()
        rclpy.init(context=self._ros, domain_id=domain_id)
        super().__init__(name, context=self._ros)
        self.trouble = ""
        self.width = 0.02
        self.goals: list[tuple[str, Any, float]] = []
        self._under_way: list[tuple[Any, Callable[[Any], Any], float]] = []
        self._states = self.create_publisher(JointState, "~/joint_states", 1)
        self._servers = [self._serve(Move, "move", "open"), self._serve(Grasp, "grasp", "close")]
        self.create_timer(0.02, self._tick)
        self._executor_ = SingleThreadedExecutor(context=self._ros)
        self._executor_.add_node(self)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _serve(self, kind: Any, name: str, command: str) -> ActionServer:
        def on_goal(request: Any) -> GoalResponse:
            self.goals.append((command, request, time.monotonic()))
            return GoalResponse.REJECT if self.trouble == "rejects" else GoalResponse.ACCEPT

        def end(handle: Any) -> Any:
            result = kind.Result(success=self.trouble not in ("error", "late"))
            if self.trouble == "nothing" and command == "close":
                result.success = False
            elif result.success and self.trouble != "stuck":
                self.width = handle.request.width
            if self.trouble == "error":
                result.error = "libfranka: connection to the gripper lost"
            if result.success:
                handle.succeed()
            else:
                handle.abort()
            return result

        def on_accepted(handle: Any) -> None:
            if self.trouble == "nothing" and command == "close":
                self.width = -1e-4  # quite closed, as far as its sensors can tell
            # Not executed at once: awaiting in an execute callback keeps rclpy's executor busy.
            ends = time.monotonic() + (60.0 if self.trouble == "late" else _DURATION)
            self._under_way.append((handle, end, ends))

        return ActionServer(
            self,
            kind,
            f"~/{name}",
            end,
            goal_callback=on_goal,
            handle_accepted_callback=on_accepted,
        )

    def _tick(self) -> None:
        half = self.width / 2
        self._states.publish(JointState(name=["finger_1", "finger_2"], position=[half, half]))
        now = time.monotonic()
        for handle, end, ends in self._under_way:
            if now >= ends:
                handle.execute(end)
        self._under_way = [goal for goal in self._under_way if now < goal[2]]

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor_.spin()

    def commands(self) -> list[str]:
        """What was asked, in order."""
        return [command for command, *_ in self.goals]

    def forget(self) -> None:
        """Recovers, and forgets what was asked."""
        self.trouble = ""
        self.goals.clear()

    def die(self) -> None:
        """As when its process ends."""
        if not self._thread.is_alive():
            return
        self._executor_.shutdown()
        self._thread.join(5)
        for server in self._servers:
            server.destroy()
        self.destroy_node()
        rclpy.try_shutdown(context=self._ros)
