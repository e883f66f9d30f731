"""Messages with the fields of franka_msgs that the adapter reads, and those of its errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twist_robot.rigid import from_quaternion, quaternion_of

FLANGE = from_quaternion((0.45, -0.1, 0.35), (0.0, 0.9238795, 0.3826834, 0.0))
"""Flange in the base frame."""
TOOL = from_quaternion((0.0, 0.0, 0.1034), (0.9238795, 0.0, 0.0, -0.3826834))
"""End effector in the flange's frame: the hand's tool centre point, turned by 45 degrees."""
WRENCH = [1.0, 2.0, -2.0, 0.1, 0.2, 0.3]


class Errors(SimpleNamespace):
    """Like a generated message: lists its fields."""

    def get_fields_and_field_types(self) -> dict[str, str]:
        return dict.fromkeys(vars(self), "boolean")


def errors(*raised: str) -> Errors:
    names = ("joint_reflex", "cartesian_reflex", "communication_constraints_violation", *raised)
    return Errors(**{name: name in raised for name in names})


def _header() -> SimpleNamespace:
    return SimpleNamespace(stamp=SimpleNamespace(sec=12, nanosec=34), frame_id="")


def _common(**changes: Any) -> dict[str, Any]:
    return {
        "header": _header(),
        "robot_mode": 2,
        "current_errors": errors(),
        "last_motion_errors": errors(),
        "control_command_success_rate": 1.0,
        **changes,
    }


def franka_state(**changes: Any) -> SimpleNamespace:
    """The Panda's message."""
    fields = _common(
        o_t_ee=(FLANGE @ TOOL).flatten(order="F").tolist(),
        f_t_ee=TOOL.flatten(order="F").tolist(),
        o_f_ext_hat_k=list(WRENCH),
        cartesian_contact=[0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        cartesian_collision=[0.0] * 6,
    )
    return SimpleNamespace(**{**fields, **changes})


def franka_robot_state(**changes: Any) -> SimpleNamespace:
    """The FR3's message."""
    zero = vector(0.0, 0.0, 0.0)
    fields = _common(
        o_t_ee=pose(FLANGE @ TOOL),
        f_t_ee=pose(TOOL),
        o_f_ext_hat_k=SimpleNamespace(
            wrench=SimpleNamespace(force=vector(*WRENCH[:3]), torque=vector(*WRENCH[3:]))
        ),
        collision_indicators=SimpleNamespace(
            is_cartesian_linear_contact=vector(0.0, 0.0, 1.0),
            is_cartesian_angular_contact=zero,
            is_cartesian_linear_collision=zero,
            is_cartesian_angular_collision=zero,
        ),
    )
    return SimpleNamespace(**{**fields, **changes})


def vector(x: float, y: float, z: float) -> SimpleNamespace:
    return SimpleNamespace(x=x, y=y, z=z)


def pose(transform: NDArray[np.float64]) -> SimpleNamespace:
    w, x, y, z = quaternion_of(transform).tolist()
    return SimpleNamespace(
        pose=SimpleNamespace(
            position=vector(*transform[:3, 3].tolist()),
            orientation=SimpleNamespace(w=w, x=x, y=y, z=z),
        )
    )
