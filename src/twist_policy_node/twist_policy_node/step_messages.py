"""Decisions and beliefs as messages."""

from __future__ import annotations

import math

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from numpy.typing import NDArray

from twist_msgs.msg import Belief, PolicyStep
from twist_policy.contract import ContractError, PolicyContract
from twist_policy_node.decision import Decision

_AXES = ("x", "y", "z")


def step_message(
    decision: Decision,
    *,
    frame_id: str,
    image_stamp: Time,
    decided: Time,
    published: Time,
    latency: float,
) -> PolicyStep:
    """The ~/step message of a decision.

    Args:
        decision: what was decided.
        frame_id: base frame.
        image_stamp: stamp of the frame, as the camera gave it.
        decided: ROS time of the decision.
        published: ROS time at which the command was first published.
        latency: seconds from image stamp to the first published command.
    """
    message = PolicyStep()
    message.header.stamp = decided
    message.header.frame_id = frame_id
    message.step = decision.step
    message.image_stamp = image_stamp
    message.publish_time = published
    message.camera_age = decision.started + decision.inference_time - decision.frame.captured
    message.inference_time = decision.inference_time
    message.latency = latency
    message.raw_action = np.asarray(decision.output.action, dtype=np.float32).tolist()
    message.delta = decision.gated.delta.tolist()
    message.target = decision.gated.target.tolist()
    message.measured = decision.measured.tolist()
    message.limited_by = list(decision.gated.limited_by)
    message.surprise = decision.output.surprise
    message.speed_scale = decision.speed_scale
    message.gripper_action = message.gripper_state = message.gripper_width = math.nan
    if decision.gripper is not None:
        message.gripper_action = decision.gripper.action
        message.gripper_state = decision.gripper.state
        message.gripper_width = decision.gripper.width
        message.gripper_result = decision.gripper.result.value
        if decision.gripper.goal is not None:
            message.gripper_command = decision.gripper.goal.command
    return message


class BeliefMessages:
    """Makes ~/belief messages for one contract."""

    def __init__(self, contract: PolicyContract, frame_id: str) -> None:
        self._frame_id = frame_id
        self._names: list[str] = []
        self._units: list[str] = []
        for field in contract.state:
            parts: tuple[str, ...] = ("",)
            if field.size == 3:
                parts = tuple(f".{axis}" for axis in _AXES)
            elif field.size > 1:
                parts = tuple(f".{i}" for i in range(field.size))
            self._names += [field.name + part for part in parts]
            self._units += [field.unit] * field.size
        self._ee = _position_slice(contract, "ee_position")
        self._object = _position_slice(contract, "object_position")
        self._goal = _position_slice(contract, "goal_position")

    def message(
        self, decision: Decision, image_stamp: Time, imagined: NDArray[np.float64] | None
    ) -> Belief:
        """The belief after a decision.

        Args:
            decision: holds the decoded state.
            image_stamp: stamp of the frame.
            imagined: decoded states ahead, (horizon, state_size), or None.
        """
        state = np.asarray(decision.output.belief, dtype=np.float64)
        message = Belief()
        message.header.stamp = image_stamp
        message.header.frame_id = self._frame_id
        message.step = decision.step
        message.names = self._names
        message.units = self._units
        message.values = state.astype(np.float32).tolist()
        message.ee_position = _point(state, self._ee)
        message.object_position = _point(state, self._object)
        message.goal_position = _point(state, self._goal)
        if imagined is not None:
            message.imagined_ee_path = _path(imagined, self._ee)
            message.imagined_object_path = _path(imagined, self._object)
        message.surprise = decision.output.surprise
        return message


def _position_slice(contract: PolicyContract, name: str) -> slice | None:
    """Where a position of two numbers (in the plane z = 0) or three lies; None without one."""
    try:
        part = contract.state_slice(name)
    except ContractError:
        return None
    return part if part.stop - part.start in (2, 3) else None


def _point(state: NDArray[np.float64], part: slice | None) -> Point:
    if part is None:
        return Point(x=math.nan, y=math.nan, z=math.nan)
    x, y, *height = state[part].tolist()
    return Point(x=x, y=y, z=height[0] if height else 0.0)


def _path(states: NDArray[np.float64], part: slice | None) -> list[Point]:
    return [] if part is None else [_point(state, part) for state in states]
