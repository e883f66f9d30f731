"""The Panda as the Servo stand-in and the twin know it: geometry, names and limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twist_sim.kinematics import DifferentialIk
from twist_sim.panda import ARM_JOINTS
from twist_sim.ros.cartesian import rotation_from_quaternion
from twist_sim.ros.servo_logic import JointLimits
from twist_sim.task_card import TaskCard

FloatArray = NDArray[np.float64]

# Franka Emika, "Robot and interface specifications", Panda: limits in the joint space.
VELOCITY_LIMITS = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
"""Largest joint velocities, rad/s."""
ACCELERATION_LIMITS = (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0)
"""Largest joint accelerations, rad/s^2."""


class PandaArm:
    """Kinematics of the IK tip ``panda_link8``; implements `servo_logic.ArmKinematics`.

    Args:
        card: task card whose home posture the arm keeps to.

    Raises:
        RobotDataError: the Panda's description is not installed.
    """

    def __init__(self, card: TaskCard) -> None:
        self._ik = DifferentialIk.from_card(card, tip_offset=(0.0, 0.0, 0.0))
        self.base_frame = card.base_frame
        self.joint_names = list(ARM_JOINTS)
        self.posture: FloatArray = np.array(card.home.joints)
        """Joint positions that the redundant joint is drawn to, radians, shape (7,)."""
        self.limits = JointLimits(
            lower=self._ik.lower,
            upper=self._ik.upper,
            velocity=np.array(VELOCITY_LIMITS),
            acceleration=np.array(ACCELERATION_LIMITS),
        )

    def tip_pose(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Position (3,) in metres and rotation matrix (3, 3) of the tip in the base frame."""
        position, (w, x, y, z) = self._ik.forward(positions)
        return position, rotation_from_quaternion(x, y, z, w)

    def tip_jacobian(self, positions: FloatArray) -> FloatArray:
        """(6, 7): linear then angular velocity of the tip per joint velocity, base frame."""
        return self._ik.jacobian(positions)
