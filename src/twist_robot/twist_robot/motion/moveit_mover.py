"""Motions planned by MoveIt, in its own process, and followed by the trajectory controller."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from twist_robot.motion.joint_path import PathPoint
from twist_robot.motion.joint_targets import ArmLimits, JointTarget
from twist_robot.motion.motions import (
    FailedMotion,
    Motion,
    MotionRequest,
    MotionSequence,
    MotionState,
)
from twist_robot.motion.path_check import from_rest, path_trouble, slowed
from twist_robot.motion.trajectory_mover import TrajectoryMover

_ANSWER_MARGIN = 20.0
"""Seconds that an answer may take longer than the planning time."""


@dataclass(frozen=True)
class PlannerSettings:
    """What the planner's process is told at its start.

    Attributes:
        moveit_config: MoveIt configuration package, with ``config/kinematics.yaml``.
        urdf: the robot: ``package/file``, and xacro arguments as in a shell.
        srdf: its planning groups and collision pairs, likewise.
        joint_limits: YAML file with velocities and accelerations.
        move_group: planning group of the arm.
        base_frame: frame of the table.
        tip_frame: link that the tool is on.
        joint_states: topic.
        planning_time: seconds per plan.
        velocity_scaling: share of the arm's velocity and acceleration limits.
        table_size: metres along x, y, z.
        table_centre: metres, base frame.
        tool_length: along z of `tip_frame`, metres; 0 where the robot model has the tool.
        tool_radius: metres.
        touch_links: links that the tool may touch.
    """

    moveit_config: str
    urdf: str
    srdf: str
    joint_limits: str
    move_group: str
    base_frame: str
    tip_frame: str
    joint_states: str
    planning_time: float
    velocity_scaling: float
    table_size: tuple[float, float, float]
    table_centre: tuple[float, float, float]
    tool_length: float
    tool_radius: float
    touch_links: tuple[str, ...]


class PlannerProcess:
    """`twist_robot.motion.moveit_planner` as a child process.

    Args:
        settings: for the planner.
    """

    def __init__(self, settings: PlannerSettings) -> None:
        reader, writer = os.pipe()
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._asked = 0
        self._ready = False
        self._error = ""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "twist_robot.motion.moveit_planner",
                json.dumps(asdict(settings)),
                str(writer),
            ],
            stdin=subprocess.PIPE,
            pass_fds=(writer,),
            text=True,
        )
        os.close(writer)
        threading.Thread(
            target=self._read, args=(reader,), daemon=True, name="planner answers"
        ).start()

    def _read(self, reader: int) -> None:
        with os.fdopen(reader, encoding="utf-8") as lines:
            for line in lines:
                self._answers.put(json.loads(line))
        self._answers.put({"gone": True})

    def trouble(self) -> str:
        """Why it cannot plan now, in words; empty when it can. Old answers are thrown away."""
        while (answer := self.answer()) is not None:
            self._ready = self._ready or bool(answer.get("ready"))
        return self._error or ("" if self._ready else "MoveIt is still starting")

    def ask(self, request: dict[str, Any]) -> None:
        """Sends a request; what goes wrong comes as an answer. Answers to earlier ones are lost."""
        self._asked += 1
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({**request, "number": self._asked}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            self._answers.put({"error": f"MoveIt's process is gone ({error})"})

    def answer(self) -> dict[str, Any] | None:
        """The next answer, or None yet."""
        with contextlib.suppress(Empty):
            answer = self._answers.get_nowait()
            if "gone" in answer:
                self._error = self._error or (
                    "MoveIt's process ended; its log tells why. Start this node again"
                )
                return {"error": self._error}
            if "error" in answer and not self._ready:
                self._error = str(answer["error"])
            if answer.get("number", self._asked) == self._asked:
                return answer
            return self.answer()  # a plan for a request that was given up
        return None

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


class MoveItMover:
    """Lifts the tool straight up, then goes where and how MoveIt has planned.

    Args:
        planner: plans.
        follower: lifts, and follows what was planned.
        limits: of the arm; a plan beyond them is refused.
        max_velocity: of any joint, rad/s; a faster plan is followed more slowly.
        max_acceleration: of any joint, rad/s^2; likewise.
        planning_time: seconds, as the planner was told.
        configurations: names of targets that MoveIt knows by name (``ready``).
    """

    cancels_at_once = True

    def __init__(
        self,
        planner: PlannerProcess,
        follower: TrajectoryMover,
        *,
        limits: ArmLimits,
        max_velocity: float,
        max_acceleration: float,
        planning_time: float,
        configurations: tuple[str, ...] = ("ready",),
    ) -> None:
        self._planner = planner
        self._follower = follower
        self._limits = limits
        self._max_velocity = max_velocity
        self._max_acceleration = max_acceleration
        self._timeout = planning_time + _ANSWER_MARGIN
        self._configurations = configurations

    def missing(self) -> str:
        """What is not there yet, in words."""
        return self._planner.trouble() or self._follower.missing()

    def unsettled(self, now: float) -> str:
        """What the last motion may still do although it was given up, in words."""
        return self._follower.unsettled(now)

    def start(self, request: MotionRequest, now: float) -> Motion:
        """Starts with the lift, where one is needed."""
        stages = []
        via = request.via
        if via is not None:
            lift = MotionRequest(request.start, None, via)
            stages.append(lambda at: self._follower.start(lift, at))
        stages.append(lambda at: self._plan(request, at))
        return MotionSequence(stages, now)

    def hold(self, where: JointTarget, now: float) -> Motion:
        """Takes the controller's setpoint back to where the arm stands."""
        return self._follower.hold(where, now)

    def _plan(self, request: MotionRequest, now: float) -> Motion:
        target = request.target
        named = target.name in self._configurations
        self._planner.ask(
            {
                "joints": list(target.joints),
                "positions": list(target.positions),
                "configuration": target.name if named else "",
            }
        )
        # Where the arm stands: measured, or where the controller holds it after the lift.
        start = request.start if request.via is None else request.via.array()

        def follow(path: list[PathPoint], at: float) -> Motion:
            trouble = path_trouble(path, start, target, self._limits)
            if trouble:
                return FailedMotion(trouble)
            way = slowed(from_rest(path, start), self._max_velocity, self._max_acceleration)
            return self._follower.follow(target.joints, way, at)

        return _PlannedMotion(self._planner, follow, now + self._timeout)


class _PlannedMotion:
    """Waits for the plan, and has it checked and followed.

    Args:
        planner: was asked.
        follow: checks a path and starts following it, at a time in seconds.
        deadline: until when the plan has to be there.
    """

    def __init__(
        self,
        planner: PlannerProcess,
        follow: Callable[[list[PathPoint], float], Motion],
        deadline: float,
    ) -> None:
        self.message = ""
        self._planner = planner
        self._follow = follow
        self._deadline = deadline
        self._cancelled = False
        self._motion: Motion | None = None

    def poll(self, now: float) -> MotionState:
        """How it stands."""
        if self._motion is None:
            answer = self._planner.answer()
            if answer is None and now <= self._deadline and not self._cancelled:
                return MotionState.RUNNING
            self._motion = self._begin(answer, now)
        state = self._motion.poll(now)
        self.message = self._motion.message
        return state

    def cancel(self) -> None:
        """Cancels the motion; a plan that comes later is not followed."""
        self._cancelled = True
        if self._motion is not None:
            self._motion.cancel()

    def _begin(self, answer: dict[str, Any] | None, now: float) -> Motion:
        if self._cancelled:
            return FailedMotion("cancelled")
        if answer is None:
            return FailedMotion("MoveIt gave no answer in time; restart this node")
        if "path" not in answer:
            return FailedMotion(str(answer.get("error", f"MoveIt answered {answer}")))
        path = [
            PathPoint(
                float(point["time"]),
                np.array(point["positions"]),
                np.array(point["velocities"]),
                np.array(point["accelerations"]),
            )
            for point in answer["path"]
        ]
        return self._follow(path, now)
