"""The Panda at its table in MuJoCo: the true world of a task.

Frame: ``panda_link0`` is MuJoCo's world frame (z up, table top at z = 0). Units: SI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_sim.hand import FINGER_JOINTS, PADS, FingerDrive, FingerMemory
from twist_sim.kinematics import DifferentialIk
from twist_sim.layout import Fingers, Layout, ObjectDynamics
from twist_sim.panda import ARM_JOINTS, FLANGE
from twist_sim.scene_model import build_spec
from twist_sim.task_card import TaskCard

__all__ = [
    "SIM_STATE_GOAL",
    "SIM_STATE_OBJECT",
    "SIM_STATE_SIZE",
    "PandaScene",
    "SceneSnapshot",
    "build_spec",
]

Array = NDArray[np.float64]

SIM_STATE_SIZE = 18
"""Numbers in the simulator state: 7 joint positions (rad), object position (3, m), object
quaternion (w, x, y, z), goal x and y (m), both finger positions (m; zero without a hand)."""
SIM_STATE_OBJECT = slice(7, 14)
"""Where the object's pose is in the simulator state."""
SIM_STATE_GOAL = slice(14, 16)
"""Where the goal is in the simulator state."""

_SETTLE_SUBSTEPS = 30  # for the hand to take the weight of an object that starts held


@dataclass(frozen=True)
class SceneSnapshot:
    """Everything that a continued simulation depends on.

    Attributes:
        physics: MuJoCo's integration state.
        joint_targets: last commanded joint positions, radians, shape (7,).
        dynamics: the object's mass and friction.
        fingers: what the finger drive remembers; None without a hand.
    """

    physics: Array
    joint_targets: Array
    dynamics: ObjectDynamics
    fingers: FingerMemory | None = None


_BLOWN_UP = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)
"""MuJoCo's warnings of positions, velocities and accelerations that are out of bounds."""


class SimulationError(RuntimeError):
    """The simulated world has no sensible state any more."""


class PandaScene:
    """The simulated world of one task, stepped by control periods or by substeps.

    Args:
        card: the task.

    Raises:
        RobotDataError: the Panda's meshes are missing.
        TaskCardError: the card's home pose cannot be reached.
    """

    def __init__(self, card: TaskCard) -> None:
        self.card = card
        self.on_substep: Callable[[], None] | None = None
        """Called after every simulation substep, e.g. to see the world as a late camera does."""
        self.model: mujoco.MjModel = build_spec(card).compile()
        self.data = mujoco.MjData(self.model)
        # A view, made once: looking a warning up costs a quarter of a substep.
        self._blown_up = self.data.warning.number[_BLOWN_UP]
        self._arm_root = int(self.model.body_rootid[self.model.body(FLANGE).id])
        self._scratch = mujoco.MjData(self.model)
        self._ik = DifferentialIk.from_card(card)
        self.home_joints: Array = self._ik.home(card)
        """Joint positions whose tool tip is at the card's home, radians, shape (7,)."""
        self._orientation = np.array(card.home.tool_orientation)
        self._cube_qpos = int(self.model.joint("cube").qposadr[0])
        arm = int(self.model.joint(ARM_JOINTS[0]).qposadr[0])
        self._arm = slice(arm, arm + 7)
        cube = int(self.model.joint("cube").dofadr[0])
        self._cube_dofs = slice(cube, cube + 6)
        self._tip = int(self.model.site("tool_tip").id)
        self._goal = int(self.model.body("goal").mocapid[0])
        self._cube_body = int(self.model.body("cube").id)
        self._cube_pair = int(self.model.pair("cube_table").id)
        self._drive: FingerDrive | None = None
        self._fingers = slice(0, 0)
        if card.tool.hand is not None:
            self._drive = FingerDrive(card.tool.hand, card.physics.timestep)
            start = int(self.model.joint(FINGER_JOINTS[0]).qposadr[0])
            self._fingers = slice(start, start + 2)
            self._pads = [int(self.model.geom(name).id) for name in PADS]
            self._cube_geom = int(self.model.geom("cube").id)
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
    def contact_force(self) -> Array:
        """What the arm and its tool touch presses on them with, newtons, base frame, (3,)."""
        model, data = self.model, self.data
        total, wrench = np.zeros(3), np.zeros(6)
        for index in range(data.ncon):
            contact = data.contact[index]
            first, second = model.body_rootid[model.geom_bodyid[contact.geom]] == self._arm_root
            if first == second:
                continue  # the arm with itself, or things among themselves
            mujoco.mj_contactForce(model, data, index, wrench)
            force = contact.frame.reshape(3, 3).T @ wrench[:3]  # on the second geom
            total += force if second else -force
        return total

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
    def finger_positions(self) -> Array:
        """Both fingers, metres from closed, shape (2,); empty without a hand."""
        return self.data.qpos[self._fingers].copy()

    @property
    def finger_width(self) -> float:
        """Distance between the finger pads, metres; 0 without a hand."""
        return float(self.data.qpos[self._fingers].sum())

    @property
    def gripper_closed(self) -> bool:
        """Whether the last gripper command was to close."""
        return self._drive is not None and self._drive.closed

    @property
    def gripper_busy(self) -> float:
        """Share of the last gripper command's time that is left, in [0, 1]."""
        return 0.0 if self._drive is None else self._drive.busy

    @property
    def grasped(self) -> bool:
        """Whether both finger pads touch the object while the gripper is to close."""
        if self._drive is None or not self._drive.closed:
            return False
        pairs = self.data.contact.geom
        on_cube = pairs[(pairs == self._cube_geom).any(axis=1)]
        return all((on_cube == pad).any() for pad in self._pads)

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

    def put_arm_home(self) -> None:
        """Puts the arm home at rest; objects, fingers and their command stay as they are."""
        self._set_joints(self.home_joints)
        self._update_poses()

    def place_tool(self, tool_position: ArrayLike, *, fingers: Fingers = "open") -> None:
        """Puts the arm at rest with its tool tip somewhere, as only a simulated arm can be put.

        Args:
            tool_position: of the tool tip, metres, base frame, shape (3,).
            fingers: open (as they are at home), closed around nothing, or holding the object,
                which must lie between them; some substeps are then simulated until the hand has
                taken the weight.

        Raises:
            KinematicsError: the position cannot be reached.
            ValueError: closed fingers, or holding, without a hand.
        """
        position = tuple(np.asarray(tool_position, dtype=np.float64).tolist())
        joints = self._ik.solve_exactly(self.home_joints, position, self._orientation)
        if self._drive is None and fingers != "open":
            raise ValueError(f"the tool of {self.card.task!r} is a peg; it closes no fingers")
        self._set_arm(joints, fingers)
        if fingers == "holding":
            self._simulate(joints, _SETTLE_SUBSTEPS)
            mujoco.mj_kinematics(self.model, self.data)

    def command_gripper(
        self,
        *,
        close: bool,
        width: float | None = None,
        speed: float | None = None,
        force: float | None = None,
    ) -> None:
        """Starts a gripper command; see `FingerDrive.command`.

        Raises:
            ValueError: the tool is no hand.
        """
        if self._drive is None:
            raise ValueError(f"the tool of {self.card.task!r} is a peg; it takes no commands")
        self._drive.command(close=close, width=width, speed=speed, force=force)

    def place(self, layout: Layout) -> None:
        """Places object (at rest) and goal without touching the arm."""
        start = self._cube_qpos
        self.data.qpos[start : start + 3] = layout.object_position
        self.data.qpos[start + 3 : start + 7] = (
            *(np.cos(layout.object_yaw / 2), 0.0),
            *(0.0, np.sin(layout.object_yaw / 2)),
        )
        self.data.qvel[self._cube_dofs] = 0.0
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
        step = (goal - start) / self._ramp_substeps
        control = start.copy()
        for _ in range(self._ramp_substeps):
            control += step
            self._simulate(control, 1)
        self._joint_targets = goal
        self._simulate(goal, self._substeps - self._ramp_substeps)
        mujoco.mj_kinematics(self.model, self.data)

    def step_joint_targets(self, joint_targets: ArrayLike, substeps: int = 1) -> None:
        """Holds joint targets for some substeps; for controllers that run faster than the policy.

        Args:
            joint_targets: radians, shape (7,).
            substeps: how many simulation substeps.
        """
        self._joint_targets = np.array(joint_targets, dtype=np.float64)
        self._simulate(self._joint_targets, substeps)
        mujoco.mj_kinematics(self.model, self.data)

    def _simulate(self, joint_targets: Array, substeps: int) -> None:
        """Holds joint targets for some substeps while the fingers follow their drive."""
        data = self.data
        data.ctrl[:7] = joint_targets
        if self._drive is None and self.on_substep is None:
            mujoco.mj_step(self.model, data, nstep=substeps)
        else:
            for _ in range(substeps):
                if self._drive is not None:
                    data.ctrl[7:] = self._drive.advance(data.qpos[self._fingers])
                mujoco.mj_step(self.model, data)
                if self.on_substep is not None:
                    self.on_substep()
        # MuJoCo puts a world that has blown up back to its zeros, counts it, and goes on.
        if self._blown_up.any():
            raise SimulationError(
                f"the simulation of {self.card.task!r} has blown up: positions, velocities or "
                "accelerations without bounds; use a smaller physics.timestep or stiffness, or a "
                "larger damping_ratio"
            )

    def get_state(self) -> Array:
        """The simulator state that rendering needs, shape (SIM_STATE_SIZE,), float64."""
        state = np.empty(SIM_STATE_SIZE)
        state[:7] = self.data.qpos[self._arm]
        state[SIM_STATE_OBJECT] = self.data.qpos[self._cube_qpos : self._cube_qpos + 7]
        state[SIM_STATE_GOAL] = self.data.mocap_pos[self._goal, :2]
        state[16:] = self.data.qpos[self._fingers] if self._drive is not None else 0.0
        return state

    def set_state(self, state: ArrayLike) -> None:
        """Restores `get_state`'s configuration at rest; velocities become zero.

        A hand whose fingers are not fully open counts as closed.

        Raises:
            ValueError: not SIM_STATE_SIZE finite numbers.
        """
        values = np.asarray(state, dtype=np.float64)
        if values.shape != (SIM_STATE_SIZE,) or not np.isfinite(values).all():
            raise ValueError(
                f"a simulator state has {SIM_STATE_SIZE} finite numbers, found {values.tolist()}"
            )
        self.data.qpos[self._cube_qpos : self._cube_qpos + 7] = values[SIM_STATE_OBJECT]
        self.data.qvel[:] = 0.0
        self.data.mocap_pos[self._goal, :2] = values[SIM_STATE_GOAL]
        self._set_arm(values[:7])
        if self._drive is not None:
            self.data.qpos[self._fingers] = values[16:]
            width = float(values[16:].sum())
            self._drive.reset(width, closed=width < 0.9 * self._drive.spec.open_width)
            self._update_poses()

    def snapshot(self) -> SceneSnapshot:
        """Everything needed to continue exactly from here; `restore` is its inverse."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, physics, kind)
        fingers = None if self._drive is None else self._drive.memory()
        return SceneSnapshot(physics, self._joint_targets.copy(), self._dynamics, fingers)

    def restore(self, snapshot: SceneSnapshot) -> None:
        """Continues from a snapshot of a scene with the same card."""
        self._set_dynamics(snapshot.dynamics)
        mujoco.mj_setState(
            self.model, self.data, snapshot.physics, mujoco.mjtState.mjSTATE_INTEGRATION
        )
        self._joint_targets = snapshot.joint_targets.copy()
        if self._drive is not None and snapshot.fingers is not None:
            self._drive.recall(snapshot.fingers)
        self._update_poses()

    def _go_home(self) -> None:
        self._set_arm(self.home_joints)

    def _set_arm(self, joints: Array, fingers: Fingers = "open") -> None:
        """Puts the arm somewhere at rest, its fingers, if it has any, open or closed."""
        self._set_joints(joints)
        if self._drive is not None:
            open_width, held_width = self._drive.spec.open_width, self.card.object.size
            width = {"open": open_width, "closed": 0.0, "holding": held_width}[fingers]
            self._drive.reset(width, closed=fingers != "open")
            self.data.qpos[self._fingers] = width / 2
            self.data.ctrl[7:] = width / 2
        self._update_poses()

    def _set_joints(self, joints: Array) -> None:
        self.data.qpos[self._arm] = joints
        self.data.qvel[:7] = 0.0
        self._joint_targets = joints.copy()
        self.data.ctrl[:7] = joints

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
