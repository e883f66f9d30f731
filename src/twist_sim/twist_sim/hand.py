"""The Panda's hand: fingers in the scene, and how they follow gripper commands."""

from __future__ import annotations

import mujoco
import numpy as np

from twist_policy.contract import GripperSpec
from twist_sim.panda import add_link_mesh
from twist_sim.task_card import HAND_WIDTH, Hand

FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
PADS = ("finger_left", "finger_right")
"""Geoms that touch: the finger tips, as the URDF's last collision box."""

_HAND_MASS, _HAND_CENTRE = 0.73, (-0.01, 0.0, 0.03)  # kg, metres; from the URDF
_HAND_INERTIA = (0.001, 0.0025, 0.0017, 0.0, 0.0, 0.0)
_FINGER_MASS, _FINGER_RANGE = 0.015, (0.0, HAND_WIDTH / 2)
_FINGER_START = 0.0584  # of the finger's frame along the hand's z
_PAD_CENTRE, _PAD_HALF = (0.0, 0.00758, 0.04525), (0.00875, 0.0076, 0.00925)
# The spindle's inertia as the fingers feel it: stiff enough a drive for 5 ms steps.
_FINGER_ARMATURE, _STIFFNESS, _DAMPING = 0.3, 2000.0, 60.0


def add_hand(spec: mujoco.MjSpec, flange: mujoco.MjsBody) -> None:
    """Adds hand and fingers to the flange.

    Geoms ``robot_hand`` and ``robot_finger_left`` / ``right`` are for the eye; ``finger_left`` and
    ``finger_right`` touch, where the scene pairs them with something, and are invisible.

    Raises:
        RobotDataError: the hand's meshes are missing.
    """
    eighth = np.pi / 8
    hand = flange.add_body(name="panda_hand", quat=(np.cos(eighth), 0.0, 0.0, -np.sin(eighth)))
    hand.gravcomp = 1.0
    hand.mass, hand.ipos, hand.fullinertia = _HAND_MASS, _HAND_CENTRE, _HAND_INERTIA
    hand.explicitinertial = True
    add_link_mesh(spec, hand, "hand", "robot_hand")
    for side, joint, pad in zip((1.0, -1.0), FINGER_JOINTS, PADS, strict=True):
        name = f"robot_{pad}"
        turn = (1.0, 0.0, 0.0, 0.0) if side > 0 else (0.0, 0.0, 0.0, 1.0)
        finger = hand.add_body(name=f"panda_{pad}", pos=(0.0, 0.0, _FINGER_START), quat=turn)
        finger.gravcomp = 1.0
        finger.mass, finger.inertia = _FINGER_MASS, (2.4e-6, 2.4e-6, 7.5e-7)
        finger.explicitinertial = True
        finger.add_joint(
            name=joint,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0.0, 1.0, 0.0),
            range=_FINGER_RANGE,
            limited=True,
            armature=_FINGER_ARMATURE,
        )
        add_link_mesh(spec, finger, "finger", name)
        finger.add_geom(
            name=pad,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=_PAD_CENTRE,
            size=_PAD_HALF,
            contype=0,
            conaffinity=0,
            mass=0.0,
            rgba=(0.0, 0.0, 0.0, 0.0),
            group=3,
        )
        actuator = spec.add_actuator(
            name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT, forcelimited=False
        )
        actuator.set_to_position(kp=_STIFFNESS, kv=_DAMPING)


FingerMemory = tuple[bool, float, float, float, float, float]


class FingerDrive:
    """Where the fingers are driven to, substep by substep, after a gripper command.

    The fingers wait for the latency, then move at the gripper's speed, and push no harder than
    its force: an object between them stops them. The force is bounded through the distance
    between setpoint and finger, not by a limited actuator, which implicit integrators do not
    see and answer with chatter.

    Args:
        hand: of the task card.
        timestep: of a simulation substep, seconds.
    """

    def __init__(self, hand: Hand, timestep: float) -> None:
        self.spec: GripperSpec = hand.gripper
        self._latency = hand.latency
        self._timestep = timestep
        self.reset(self.spec.open_width, closed=False)

    def reset(self, width: float, *, closed: bool) -> None:
        """The fingers rest `width` metres apart, long after an opening or closing command."""
        self.closed = closed
        self._goal = 0.0 if closed else self.spec.open_width / 2
        self._setpoint = width / 2
        self._elapsed = self.spec.command_time
        self._use(None, None)

    def command(
        self,
        *,
        close: bool,
        width: float | None = None,
        speed: float | None = None,
        force: float | None = None,
    ) -> None:
        """Starts a command: closing until something resists, or opening.

        Args:
            close: whether to close.
            width: metres to go to; the open width, or nothing between the fingers, when None.
            speed: change of the width, metres per second; the card's when None.
            force: largest force of the fingers, newtons; the card's when None.
        """
        self.closed = close
        self._use(speed, force)
        self._goal = (0.0 if close else self.spec.open_width / 2) if width is None else width / 2
        self._elapsed = 0.0

    def _use(self, speed: float | None, force: float | None) -> None:
        self._stride = (self.spec.speed if speed is None else speed) / 2 * self._timestep
        self._reach = (self.spec.force if force is None else force) / _STIFFNESS

    @property
    def busy(self) -> float:
        """Share of the command's time that is left, in [0, 1]."""
        return max(0.0, 1.0 - self._elapsed / self.spec.command_time)

    def advance(self, fingers: np.ndarray) -> np.ndarray:
        """The two actuators' setpoints for the next substep.

        Args:
            fingers: both finger positions, metres, shape (2,).
        """
        self._elapsed += self._timestep
        if self._elapsed > self._latency:
            change = self._goal - self._setpoint
            self._setpoint += min(max(change, -self._stride), self._stride)
        setpoints: np.ndarray = np.clip(
            self._setpoint, fingers - self._reach, fingers + self._reach
        )
        return setpoints

    def memory(self) -> FingerMemory:
        """What a snapshot has to keep; `recall` is its inverse."""
        return (
            *(self.closed, self._goal, self._setpoint, self._elapsed),
            *(self._stride, self._reach),
        )

    def recall(self, memory: FingerMemory) -> None:
        """Goes back to what `memory` returned."""
        self.closed, self._goal, self._setpoint, self._elapsed = memory[:4]
        self._stride, self._reach = memory[4:]
