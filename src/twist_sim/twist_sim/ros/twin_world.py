"""The simulated world behind the twin: arm under joint position control, hand, object. No ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_sim.layout import Layout, draw_dynamics, draw_layout
from twist_sim.panda import FLANGE
from twist_sim.ros.gripper_motion import FingerCommand
from twist_sim.ros.panda_arm import VELOCITY_LIMITS
from twist_sim.scene import PandaScene
from twist_sim.task_card import TaskCard

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """True state of the world; metres, base frame.

    Attributes:
        tool_position: tool tip, (3,).
        object_position: object centre, (3,).
        object_quaternion: (w, x, y, z), (4,).
        goal_position: (3,).
        distance: between object and goal as the success rule counts it.
        success: whether the task's success rule holds.
        finger_width: between the finger pads; NaN without a hand.
        grasped: whether both fingers press on the object.
    """

    tool_position: FloatArray
    object_position: FloatArray
    object_quaternion: FloatArray
    goal_position: FloatArray
    distance: float
    success: bool
    finger_width: float
    grasped: bool


class TwinWorld:
    """A robot that goes to commanded joint positions no faster than its joints may turn.

    Args:
        card: the task.
    """

    def __init__(self, card: TaskCard) -> None:
        self.card = card
        self._scene = PandaScene(card)
        # MuJoCo's implicit integrators leave saturated actuators out of their derivative: a stiff
        # joint that saturates once then chatters between its force limits and never settles.
        # Ordinary motion stays below the limits, so lifting them changes nothing else.
        self._scene.model.actuator_forcelimited[:] = 0
        self._flange = int(self._scene.model.body(FLANGE).id)
        self.timestep = card.physics.timestep
        """Physics step, seconds."""
        self._largest_turn = np.array(VELOCITY_LIMITS) * self.timestep
        self._setpoint = self._scene.joint_positions
        self._target = self._setpoint.copy()
        self.reset(seed=0, trial=0)

    @property
    def joint_positions(self) -> FloatArray:
        """Measured joints, radians, shape (7,)."""
        return self._scene.joint_positions

    @property
    def joint_velocities(self) -> FloatArray:
        """Measured joint velocities, rad/s, shape (7,)."""
        return self._scene.joint_velocities

    @property
    def finger_positions(self) -> FloatArray:
        """Measured fingers, metres from closed, shape (2,); empty without a hand."""
        return self._scene.finger_positions

    @property
    def finger_width(self) -> float:
        """Distance between the finger pads, metres; 0 without a hand."""
        return self._scene.finger_width

    @property
    def tool_position(self) -> FloatArray:
        """Tool tip, metres, base frame, shape (3,)."""
        return self._scene.tool_position

    @property
    def flange_pose(self) -> tuple[FloatArray, FloatArray]:
        """``panda_link8`` in the base frame: position (3,) metres, quaternion (w, x, y, z)."""
        data = self._scene.data
        return data.xpos[self._flange].copy(), data.xquat[self._flange].copy()

    @property
    def contact_force(self) -> FloatArray:
        """See `PandaScene.contact_force`."""
        return self._scene.contact_force

    @property
    def render_state(self) -> FloatArray:
        """What a renderer needs to draw this moment."""
        return self._scene.get_state()

    def truth(self) -> Truth:
        """The true state, and what the task's rules say about it."""
        scene, rules = self._scene, self.card.task_rules
        state = rules.privileged_state(scene)
        return Truth(
            tool_position=scene.tool_position,
            object_position=scene.object_position,
            object_quaternion=scene.object_quaternion,
            goal_position=scene.goal_position,
            distance=float(rules.distance(state)),
            success=bool(rules.success(state)),
            finger_width=scene.finger_width if len(scene.finger_positions) else math.nan,
            grasped=scene.grasped,
        )

    def reset(self, seed: int, trial: int) -> Layout:
        """Arm home at rest, objects where trial `trial` of seed `seed` starts.

        The arm is put there at once, which only a simulated arm can do.

        Raises:
            ValueError: seed or trial is negative.
        """
        layout = draw_layout(self.card, seed, trial)
        self._scene.reset(layout, draw_dynamics(self.card, seed, trial))
        self._setpoint = self._scene.home_joints.copy()
        self._target = self._setpoint.copy()
        return layout

    def go_home(self) -> None:
        """Puts the arm home at rest and leaves the objects where they are.

        A real arm moves there; what it hides of the table meanwhile, a judge does not look at.
        """
        self._scene.put_arm_home()
        self._setpoint = self._scene.home_joints.copy()
        self._target = self._setpoint.copy()

    def go_to(self, joints: FloatArray) -> None:
        """Commands joint positions, radians, shape (7,); they have been checked."""
        self._target = joints

    def drive_fingers(self, command: FingerCommand) -> None:
        """Drives the fingers from now on.

        Raises:
            ValueError: the tool is no hand.
        """
        self._scene.command_gripper(
            close=command.grasping,
            width=command.width,
            speed=command.speed,
            force=command.force,
        )

    def hold(self) -> None:
        """Commands what has been reached of the last command."""
        self._target = self._setpoint.copy()

    def advance(self, steps: int) -> None:
        """Simulates `steps` physics steps."""
        while steps > 0:
            change = self._target - self._setpoint
            if not change.any():
                self._scene.step_joint_targets(self._setpoint, steps)
                return
            self._setpoint = self._setpoint + np.clip(
                change, -self._largest_turn, self._largest_turn
            )
            self._scene.step_joint_targets(self._setpoint, 1)
            steps -= 1
