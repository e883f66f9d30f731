"""The Panda at its table in MuJoCo: the true world of a task.

Frame: ``panda_link0`` is MuJoCo's world frame (z up, table top at z = 0). Units: SI.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_sim.kinematics import DifferentialIk
from twist_sim.layout import Layout, ObjectDynamics
from twist_sim.panda import ARM_JOINTS
from twist_sim.scene_model import build_spec
from twist_sim.task_card import TaskCard

__all__ = ["SIM_STATE_SIZE", "PandaScene", "SceneSnapshot", "build_spec"]

Array = NDArray[np.float64]

SIM_STATE_SIZE = 16
"""Numbers in the simulator state: 7 joint positions (rad), object position (3, m), object
quaternion (w, x, y, z), goal x and y (m)."""


@dataclass(frozen=True)
class SceneSnapshot:
    """Everything that a continued simulation depends on.

    Attributes:
        physics: MuJoCo's integration state.
        joint_targets: last commanded joint positions, radians, shape (7,).
        dynamics: the object's mass and friction.
    """

    physics: Array
    joint_targets: Array
    dynamics: ObjectDynamics


class PandaScene:
    """The simulated world of one task, stepped by control periods or by substeps.

    Args:
        card: the task.

    Raises:
        RobotDataError: the Panda's meshes are missing.
        KinematicsError: the card's home pose cannot be reached.
    """

    def __init__(self, card: TaskCard) -> None:
        self.card = card
        self.model: mujoco.MjModel = build_spec(card).compile()
        self.data = mujoco.MjData(self.model)
        self._scratch = mujoco.MjData(self.model)
        self._ik = DifferentialIk.from_card(card)
        self.home_joints: Array = self._ik.solve_exactly(
            card.home.joints, card.home.tool_position, card.home.tool_orientation
        )
        """Joint positions whose tool tip is at the card's home, radians, shape (7,)."""
        self._orientation = np.array(card.home.tool_orientation)
        self._cube_qpos = int(self.model.joint("cube").qposadr[0])
        self._arm = slice(int(self.model.joint(ARM_JOINTS[0]).qposadr[0]), None)
        self._arm = slice(self._arm.start, self._arm.start + 7)
        self._tip = int(self.model.site("tool_tip").id)
        self._goal = int(self.model.body("goal").mocapid[0])
        self._cube_body = int(self.model.body("cube").id)
        self._cube_pair = int(self.model.pair("cube_table").id)
        self._unit_inertia = (
            self.model.body_inertia[self._cube_body] / self.model.body_mass[self._cube_body]
        )
        self._substeps = card.substeps
        self._ramp_substeps = max(1, round(card.physics.ramp * card.substeps))
        self._joint_targets = self.home_joints.copy()
        self._dynamics = ObjectDynamics(sum(card.object.mass) / 2, sum(card.object.friction) / 2)
        self._set_dynamics(self._dynamics)
        self._go_home()

    @property
    def tool_position(self) -> Array:
        """Tool tip, metres, base frame, shape (3,)."""
        return self.data.site_xpos[self._tip].copy()

    @property
    def joint_positions(self) -> Array:
        """Arm joints, radians, shape (7,)."""
        return self.data.qpos[self._arm].copy()

    @property
    def joint_velocities(self) -> Array:
        """Arm joints, rad/s, shape (7,)."""
        return self.data.qvel[:7].copy()

    @property
    def joint_targets(self) -> Array:
        """Last commanded joint positions, radians, shape (7,)."""
        return self._joint_targets.copy()

    @property
    def object_position(self) -> Array:
        """Centre of the cube, metres, base frame, shape (3,)."""
        return self.data.qpos[self._cube_qpos : self._cube_qpos + 3].copy()

    @property
    def object_quaternion(self) -> Array:
        """Orientation of the cube, base frame, (w, x, y, z)."""
        return self.data.qpos[self._cube_qpos + 3 : self._cube_qpos + 7].copy()

    @property
    def object_pose(self) -> Array:
        """Position (metres) and quaternion (w, x, y, z) of the cube, shape (7,)."""
        return self.data.qpos[self._cube_qpos : self._cube_qpos + 7].copy()

    @property
    def goal_position(self) -> Array:
        """Centre of the goal disc, metres, base frame, shape (3,)."""
        return self.data.mocap_pos[self._goal].copy()

    @property
    def dynamics(self) -> ObjectDynamics:
        """Mass and friction of the cube in this episode."""
        return self._dynamics

    def reset(self, layout: Layout, dynamics: ObjectDynamics | None = None) -> None:
        """Puts the arm home at rest and places object and goal.

        Args:
            layout: where object and goal are.
            dynamics: the object's mass and friction; the middle of the card's ranges when None.
        """
        if dynamics is None:
            dynamics = ObjectDynamics(
                sum(self.card.object.mass) / 2, sum(self.card.object.friction) / 2
            )
        mujoco.mj_resetData(self.model, self.data)
        self._set_dynamics(dynamics)
        self.place(layout)
        self._go_home()

    def place(self, layout: Layout) -> None:
        """Places object (at rest) and goal without touching the arm."""
        start = self._cube_qpos
        self.data.qpos[start : start + 3] = layout.object_position
        self.data.qpos[start + 3 : start + 7] = (
            *(np.cos(layout.object_yaw / 2), 0.0),
            *(0.0, np.sin(layout.object_yaw / 2)),
        )
        self.data.qvel[7:13] = 0.0
        self.data.mocap_pos[self._goal] = layout.goal_position
        self._update_poses()

    def apply_target(self, tool_target: ArrayLike) -> None:
        """Moves the tool tip towards a target for one control period, orientation held.

        Args:
            tool_target: of the tool tip, metres, base frame, shape (3,).

        Raises:
            KinematicsError: the target is not three finite numbers.
        """
        start = self._joint_targets
        goal = self._ik.solve(start, tool_target, self._orientation)
        model, data, step = self.model, self.data, (goal - start) / self._ramp_substeps
        control = start.copy()
        for _ in range(self._ramp_substeps):
            control += step
            data.ctrl[:] = control
            mujoco.mj_step(model, data)
        self._joint_targets = goal
        data.ctrl[:] = goal
        mujoco.mj_step(model, data, nstep=self._substeps - self._ramp_substeps)
        mujoco.mj_kinematics(model, data)

    def step_joint_targets(self, joint_targets: ArrayLike, substeps: int = 1) -> None:
        """Holds joint targets for some substeps; for controllers that run faster than the policy.

        Args:
            joint_targets: radians, shape (7,).
            substeps: how many simulation substeps.
        """
        self._joint_targets = np.array(joint_targets, dtype=np.float64)
        self.data.ctrl[:] = self._joint_targets
        mujoco.mj_step(self.model, self.data, nstep=substeps)
        mujoco.mj_kinematics(self.model, self.data)

    def get_state(self) -> Array:
        """The simulator state that rendering needs, shape (SIM_STATE_SIZE,), float64."""
        state = np.empty(SIM_STATE_SIZE)
        state[:7] = self.data.qpos[self._arm]
        state[7:14] = self.data.qpos[self._cube_qpos : self._cube_qpos + 7]
        state[14:] = self.data.mocap_pos[self._goal, :2]
        return state

    def set_state(self, state: ArrayLike) -> None:
        """Restores `get_state`'s configuration at rest; velocities become zero.

        Raises:
            ValueError: not SIM_STATE_SIZE finite numbers.
        """
        values = np.asarray(state, dtype=np.float64)
        if values.shape != (SIM_STATE_SIZE,) or not np.isfinite(values).all():
            raise ValueError(
                f"a simulator state has {SIM_STATE_SIZE} finite numbers, found {values.tolist()}"
            )
        self.data.qpos[self._arm] = values[:7]
        self.data.qpos[self._cube_qpos : self._cube_qpos + 7] = values[7:14]
        self.data.qvel[:] = 0.0
        self.data.mocap_pos[self._goal, :2] = values[14:]
        self._joint_targets = values[:7].copy()
        self.data.ctrl[:] = self._joint_targets
        self._update_poses()

    def snapshot(self) -> SceneSnapshot:
        """Everything needed to continue exactly from here; `restore` is its inverse."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, physics, kind)
        return SceneSnapshot(physics, self._joint_targets.copy(), self._dynamics)

    def restore(self, snapshot: SceneSnapshot) -> None:
        """Continues from a snapshot of a scene with the same card."""
        self._set_dynamics(snapshot.dynamics)
        mujoco.mj_setState(
            self.model, self.data, snapshot.physics, mujoco.mjtState.mjSTATE_INTEGRATION
        )
        self._joint_targets = snapshot.joint_targets.copy()
        self._update_poses()

    def _go_home(self) -> None:
        self.data.qpos[self._arm] = self.home_joints
        self.data.qvel[:7] = 0.0
        self._joint_targets = self.home_joints.copy()
        self.data.ctrl[:] = self.home_joints
        self._update_poses()

    def _update_poses(self) -> None:
        """Brings everything that is drawn or measured in line with the configuration."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _set_dynamics(self, dynamics: ObjectDynamics) -> None:
        self._dynamics = dynamics
        self.model.body_mass[self._cube_body] = dynamics.mass
        self.model.body_inertia[self._cube_body] = self._unit_inertia * dynamics.mass
        # The joint-space inertia of a free cube is a model constant: without this, solver and
        # integrator would disagree about its mass, and pushing it would diverge.
        mujoco.mj_setConst(self.model, self._scratch)
        self.model.pair_friction[self._cube_pair, :2] = dynamics.friction
