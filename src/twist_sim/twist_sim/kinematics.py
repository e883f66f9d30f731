"""Differential inverse kinematics of the Panda, independent of any scene."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import Quaternion, Vector3
from twist_sim.panda import add_arm
from twist_sim.task_card import TaskCard, TaskCardError

Array = NDArray[np.float64]


class KinematicsError(RuntimeError):
    """A pose cannot be reached, or an input is not a pose or configuration."""


class DifferentialIk:
    """Damped least squares for all six degrees of freedom, pulled home in the null space.

    One iteration is dq = n + J^T (J J^T + damping I)^-1 (err - J n), with n = pull (home - q):
    the pull acts only where it does not move the tip (Nakamura and Hanafusa 1986; Wampler 1986).
    Each object has kinematics of its own, so one can be used beside a running simulation. Not
    safe for use from several threads at once.

    Args:
        tip_offset: the controlled point in the ``panda_link8`` frame, metres; zeros control
            ``panda_link8`` itself.
        home: configuration that the null space is pulled to, radians, 7 numbers.
        damping: added to the diagonal of J J^T.
        iterations: steps per call of `solve`.
        home_pull: share of the way home per iteration.
    """

    def __init__(
        self,
        tip_offset: Vector3,
        home: Sequence[float],
        *,
        damping: float = 1e-4,
        iterations: int = 2,
        home_pull: float = 0.1,
    ) -> None:
        spec = mujoco.MjSpec()
        flange = add_arm(spec, visuals=False)
        flange.add_site(name="tip", pos=tip_offset)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site("tip").id
        self._home = _configuration(home)
        self._damping = np.eye(6) * damping
        self._iterations = iterations
        self._home_pull = home_pull
        self._jacobian = np.zeros((6, 7))
        self._error = np.zeros(6)
        self.lower: Array = self._model.jnt_range[:, 0].copy()
        """Lower joint limits, radians, shape (7,)."""
        self.upper: Array = self._model.jnt_range[:, 1].copy()
        """Upper joint limits, radians, shape (7,)."""

    @classmethod
    def from_card(cls, card: TaskCard, *, tip_offset: Vector3 | None = None) -> DifferentialIk:
        """Inverse kinematics of a task card's tool tip, or of another point of its flange.

        Raises:
            TaskCardError: the card's home joints are outside the arm's limits.
        """
        ik = cls(
            card.tool.offset if tip_offset is None else tip_offset,
            card.home.joints,
            damping=card.physics.ik_damping,
            iterations=card.physics.ik_iterations,
            home_pull=card.physics.ik_home_pull,
        )
        home = np.array(card.home.joints)
        for joint in np.flatnonzero((home < ik.lower) | (home > ik.upper)):
            raise TaskCardError(
                f"{card.source}: home.joints: joint {joint + 1} must be within "
                f"{ik.lower[joint]:.3f} and {ik.upper[joint]:.3f} radians, found {home[joint]}"
            )
        return ik

    def home(self, card: TaskCard) -> Array:
        """Joint positions whose tip is at the card's home, radians, shape (7,).

        Raises:
            TaskCardError: there are none.
        """
        home = card.home
        try:
            return self.solve_exactly(home.joints, home.tool_position, home.tool_orientation)
        except KinematicsError as error:
            raise TaskCardError(f"{card.source}: home: {error}") from None

    def forward(self, joints: ArrayLike) -> tuple[Array, Array]:
        """Tip position (metres, shape (3,)) and quaternion (w, x, y, z) in the base frame."""
        self._place(_configuration(joints))
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, self._data.site_xmat[self._site])
        return self._data.site_xpos[self._site].copy(), quaternion

    def jacobian(self, joints: ArrayLike) -> Array:
        """Linear (rows 0-2) and angular (rows 3-5) Jacobian in the base frame, shape (6, 7)."""
        self._place(_configuration(joints))
        return self._update_jacobian().copy()

    def solve(
        self, joints: ArrayLike, position: ArrayLike, orientation: Quaternion | Array
    ) -> Array:
        """Joint positions whose tip is closer to a pose: the configured count of iterations.

        Args:
            joints: where to start, radians, shape (7,). Starting from the last result rather
                than from measured positions keeps commands smooth.
            position: of the tip, metres, base frame, shape (3,).
            orientation: of ``panda_link8``, base frame, (w, x, y, z).

        Returns:
            Joint positions within the joint limits, radians, shape (7,).

        Raises:
            KinematicsError: an input is not finite or of a wrong shape.
        """
        q = _configuration(joints)
        target = _finite(position, 3, "tip position")
        quaternion = _finite(orientation, 4, "tip orientation")
        for _ in range(self._iterations):
            q = self._iterate(q, target, quaternion, self._home_pull)
        return q

    def solve_exactly(
        self, joints: ArrayLike, position: ArrayLike, orientation: Quaternion | Array
    ) -> Array:
        """Iterates until the tip is within 1e-5 m and 1e-4 rad of a pose.

        Raises:
            KinematicsError: it does not get there; the message says how far off it stays.
        """
        q = _configuration(joints)
        target = _finite(position, 3, "tip position")
        quaternion = _finite(orientation, 4, "tip orientation")
        pull = self._home_pull
        for _ in range(500):
            # The pull fades: with damping, it would hold the tip slightly off.
            q = self._iterate(q, target, quaternion, pull)
            pull *= 0.95
            self._place(q)
            self._update_error(target, quaternion)
            linear, angular = np.linalg.norm(self._error[:3]), np.linalg.norm(self._error[3:])
            if linear < 1e-5 and angular < 1e-4:
                return q
        raise KinematicsError(
            f"no joint positions found for the tip at {target.round(4).tolist()} with orientation "
            f"{quaternion.round(4).tolist()}: still off by {linear:.4f} m and {angular:.4f} rad; "
            "choose a pose within the arm's reach"
        )

    def _place(self, joints: Array) -> None:
        self._data.qpos[:] = joints
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)

    def _update_jacobian(self) -> Array:
        mujoco.mj_jacSite(
            self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site
        )
        return self._jacobian

    def _update_error(self, target: Array, quaternion: Array) -> None:
        """Pose error in the base frame: metres, then the rotation vector in radians."""
        current, inverse, difference = np.empty(4), np.empty(4), np.empty(4)
        np.subtract(target, self._data.site_xpos[self._site], out=self._error[:3])
        mujoco.mju_mat2Quat(current, self._data.site_xmat[self._site])
        mujoco.mju_negQuat(inverse, current)
        mujoco.mju_mulQuat(difference, quaternion, inverse)
        mujoco.mju_quat2Vel(self._error[3:], difference, 1.0)

    def _iterate(self, joints: Array, target: Array, quaternion: Array, home_pull: float) -> Array:
        self._place(joints)
        self._update_error(target, quaternion)
        jacobian = self._update_jacobian()
        pull = (self._home - joints) * home_pull
        task = np.linalg.solve(jacobian @ jacobian.T + self._damping, self._error - jacobian @ pull)
        result: Array = np.clip(joints + pull + jacobian.T @ task, self.lower, self.upper)
        return result


def check_reach(card: TaskCard) -> None:
    """Whether the arm gets to a card's home and to every corner of its workspace.

    Raises:
        TaskCardError: it does not, with the key.
    """
    ik = DifferentialIk.from_card(card)
    home, workspace = ik.home(card), card.workspace
    for corner in itertools.product(*zip(workspace.lower, workspace.upper, strict=True)):
        try:
            ik.solve_exactly(home, corner, card.home.tool_orientation)
        except KinematicsError as error:
            raise TaskCardError(f"{card.source}: workspace: {error}") from None


def _configuration(joints: ArrayLike) -> Array:
    return _finite(joints, 7, "joint positions")


def _finite(value: ArrayLike, size: int, name: str) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise KinematicsError(f"{name}: expected {size} finite numbers, found {array.tolist()}")
    return array
