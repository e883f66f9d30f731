"""One arm state for both Franka drivers: what their messages mean, without ROS.

franka_ros2 (FR3) sends ``franka_msgs/FrankaRobotState`` with poses and wrenches as ROS messages;
multipanda_ros2 and pixi_panda_ros2 (Panda) send ``franka_msgs/FrankaState`` with libfranka's arrays
as they are. Both come down to an `ArmState`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from twist_robot.rigid import (
    FloatArray,
    TransformError,
    from_column_major,
    from_quaternion,
    inverse,
)
from twist_robot.robot_mode import RobotMode, mode_of

_AXES = ("x", "y", "z")


class StateError(ValueError):
    """A driver's message that cannot be used."""


@dataclass(frozen=True)
class ArmState:
    """The arm at one moment.

    Attributes:
        stamp: (seconds, nanoseconds) of the driver's message.
        mode: what the arm's controller does.
        errors: names of the errors that are present.
        last_motion_errors: names of the errors that ended the last motion.
        ee: end-effector frame (as set in Desk) in the base frame, 4x4, metres.
        flange: flange in the base frame, 4x4, metres. URDFs call it ``panda_link8``, ``fr3_link8``.
        force: external force in newtons along the base frame's axes, (3,).
        torque: external torque in newton metres about the base frame's axes, (3,).
        contact: contact flags: x, y, z, about x, about y, about z.
        collision: collision flags, in the same order.
        success_rate: share of the last 100 commands that arrived, 0 to 1.
    """

    stamp: tuple[int, int]
    mode: RobotMode
    errors: tuple[str, ...]
    last_motion_errors: tuple[str, ...]
    ee: FloatArray
    flange: FloatArray
    force: FloatArray
    torque: FloatArray
    contact: tuple[bool, ...]
    collision: tuple[bool, ...]
    success_rate: float

    @property
    def contact_force(self) -> float:
        """Length of the external force, newtons."""
        return float(np.linalg.norm(self.force))


def of_franka_robot_state(message: Any) -> ArmState:
    """From ``franka_msgs/msg/FrankaRobotState`` (franka_ros2).

    Raises:
        StateError: a pose is no rigid transform, or a number not finite.
    """
    indicators = message.collision_indicators
    wrench = message.o_f_ext_hat_k.wrench
    return _state(
        message,
        ee=_transform("o_t_ee", lambda: _of_pose(message.o_t_ee.pose)),
        flange_to_ee=_transform("f_t_ee", lambda: _of_pose(message.f_t_ee.pose)),
        wrench=[*_vector(wrench.force), *_vector(wrench.torque)],
        contact=[
            *_vector(indicators.is_cartesian_linear_contact),
            *_vector(indicators.is_cartesian_angular_contact),
        ],
        collision=[
            *_vector(indicators.is_cartesian_linear_collision),
            *_vector(indicators.is_cartesian_angular_collision),
        ],
    )


def of_franka_state(message: Any) -> ArmState:
    """From ``franka_msgs/msg/FrankaState`` (multipanda_ros2, pixi_panda_ros2).

    Raises:
        StateError: a pose is no rigid transform, or a number not finite.
    """
    return _state(
        message,
        ee=_transform("o_t_ee", lambda: from_column_major(message.o_t_ee)),
        flange_to_ee=_transform("f_t_ee", lambda: from_column_major(message.f_t_ee)),
        wrench=list(message.o_f_ext_hat_k),
        contact=list(message.cartesian_contact),
        collision=list(message.cartesian_collision),
    )


@dataclass(frozen=True)
class Driver:
    """How a driver tells its state.

    Attributes:
        message: type in ``franka_msgs.msg``.
        convert: makes an `ArmState` of it.
        source: where the driver comes from, for a person.
    """

    message: str
    convert: Callable[[Any], ArmState]
    source: str


DRIVERS: Mapping[str, Driver] = {
    "franka_ros2": Driver("FrankaRobotState", of_franka_robot_state, "franka_ros2 (FR3)"),
    "multipanda": Driver(
        "FrankaState", of_franka_state, "pixi_panda_ros2 or multipanda_ros2 (Panda)"
    ),
}
"""The drivers by the name that a robot profile gives them."""


def _state(
    message: Any,
    *,
    ee: FloatArray,
    flange_to_ee: FloatArray,
    wrench: list[float],
    contact: list[float],
    collision: list[float],
) -> ArmState:
    rate = float(message.control_command_success_rate)
    if not all(math.isfinite(value) for value in (*wrench, rate)):
        raise StateError(f"the external wrench is {wrench}, the command success rate {rate}")
    return ArmState(
        stamp=(int(message.header.stamp.sec), int(message.header.stamp.nanosec)),
        mode=mode_of(int(message.robot_mode)),
        errors=_raised(message.current_errors),
        last_motion_errors=_raised(message.last_motion_errors),
        ee=ee,
        flange=ee @ inverse(flange_to_ee),
        force=np.array(wrench[:3], dtype=np.float64),
        torque=np.array(wrench[3:], dtype=np.float64),
        contact=tuple(bool(value) for value in contact),
        collision=tuple(bool(value) for value in collision),
        success_rate=rate,
    )


def _transform(field: str, make: Callable[[], FloatArray]) -> FloatArray:
    try:
        return make()
    except TransformError as error:
        raise StateError(f"{field}: {error}") from error


def _of_pose(pose: Any) -> FloatArray:
    p, q = pose.position, pose.orientation
    return from_quaternion((p.x, p.y, p.z), (q.w, q.x, q.y, q.z))


def _vector(message: Any) -> list[float]:
    return [float(getattr(message, axis)) for axis in _AXES]


def _raised(errors: Any) -> tuple[str, ...]:
    # The drivers do not have the same errors; whatever a driver knows is passed on by name.
    return tuple(name for name in errors.get_fields_and_field_types() if getattr(errors, name))
