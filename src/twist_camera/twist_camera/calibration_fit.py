"""Least squares over everything that is unknown in a calibration, and how certain it is then."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from twist_camera.charuco_board import Array, Detection
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics

_OUTLIER = 3.0
"""Residuals beyond so many standard deviations count less and less."""
_LENS_SCALE = np.array([100.0, 100.0, 100.0, 100.0, 0.1, 0.1, 0.01, 0.01])
"""Sizes of focal lengths, principal point, k1, k2, p1, p2: makes steps comparable."""
_STEP = 1e-6
"""Of differences: radians, metres, and shares of `_LENS_SCALE`."""
FactorName = Literal["board", "lens"]
_EVALUATIONS = 60
"""Good data need about ten."""


@dataclass(frozen=True, eq=False)
class View:
    """One picture.

    Attributes:
        detection: corners found.
        points: the same corners in the board frame, metres, shape (N, 3).
        reported: pose of the end effector, or of the board on the table, in the base frame.
        group: views of one group have the same (unknown) error of `reported`; -1: one of its own.
        touched: for a board on the table, touched corners in the board frame and in the base frame,
            both (M, 3), metres.
    """

    detection: Detection
    points: Array
    reported: RigidTransform
    group: int = -1
    touched: tuple[Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class FitProblem:
    """First guesses and standard deviations.

    Attributes:
        intrinsics: the lens.
        camera: ``base_T_camera``.
        views: pictures.
        board: ``ee_T_board`` of a board on the end effector; None when views report the board.
        pixel_sigma: of a corner in a picture, pixels.
        position_sigma: of a reported or touched position, metres.
        angle_sigma: of a reported orientation, radians.
    """

    intrinsics: CameraIntrinsics
    camera: RigidTransform
    views: tuple[View, ...]
    board: RigidTransform | None
    pixel_sigma: float
    position_sigma: float
    angle_sigma: float


@dataclass(frozen=True)
class Factor:
    """A number that should be 1, as the views tell it.

    Attributes:
        value: what fits best.
        sigma: its standard deviation.
        rms: reprojection error that is left with it, pixels.
        correction: what is left of the corrections with it, median over the views.
    """

    value: float
    sigma: float
    rms: float = 0.0
    correction: float = 0.0

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.sigma:.4f}"

    @property
    def significance(self) -> float:
        """Its distance from 1 in standard deviations."""
        return abs(self.value - 1.0) / max(self.sigma, 1e-9)


@dataclass(frozen=True, eq=False)
class FitResult:
    """What fits best.

    Attributes:
        intrinsics: the lens.
        camera: ``base_T_camera``.
        board: ``ee_T_board``, or ``base_T_board`` of the first view.
        errors: found minus expected pixels, by view, each (N, 2).
        corrections: how far what the robot reported for a view had to be changed, by view, in the
            standard deviations that were assumed.
        position_sigma: of the camera's position along its worst axis, metres.
        angle_sigma: of its orientation about its worst axis, radians.
        board_scale: size of the board over the size told, were it unknown too.
        lens_scale: focal length over that of the lens told, were it unknown instead; None when the
            lens is estimated anyway.
    """

    intrinsics: CameraIntrinsics
    camera: RigidTransform
    board: RigidTransform
    errors: list[Array]
    corrections: list[float]
    position_sigma: float
    angle_sigma: float
    board_scale: Factor
    lens_scale: Factor | None


class _Unknowns:
    """Where each unknown lies in the vector that is fitted.

    Everything is a small change of the first guess: the camera's pose (6), the board's on the end
    effector (6), the error of each reported pose (6 each), the lens (8), and where it is asked for
    one factor (1): the logarithm of the board's scale, or of the focal length's.
    """

    def __init__(self, problem: FitProblem, *, lens: bool, factor: FactorName | None) -> None:
        self._problem = problem
        self._lens = lens
        self._factor = factor
        labels = [
            view.group if view.group >= 0 else -1 - index
            for index, view in enumerate(problem.views)
        ]
        order = list(dict.fromkeys(labels))
        self.group_of = [order.index(label) for label in labels]
        self.groups = len(order)
        self._board_at = 6
        self.errors_at = 6 if problem.board is None else 12
        self._lens_at = self.errors_at + 6 * self.groups
        self._factor_at = self._lens_at + (8 if lens else 0)
        self.size = self._factor_at + (1 if factor else 0)

    def camera(self, x: Array) -> RigidTransform:
        return self._problem.camera.moved(x[:6])

    def mount(self, x: Array) -> RigidTransform:
        """Pose of the board in what is reported."""
        board = self._problem.board
        if board is None:
            return RigidTransform.identity()
        return board.moved(x[self._board_at : self._board_at + 6])

    def reported(self, x: Array, index: int) -> RigidTransform:
        at = self.errors_at + 6 * self.group_of[index]
        return self._problem.views[index].reported.moved(x[at : at + 6])

    def errors(self, x: Array) -> Array:
        """Of the reported poses, shape (groups, 6)."""
        return x[self.errors_at : self._lens_at].reshape(self.groups, 6)

    def factor(self, x: Array, name: FactorName) -> float:
        """By how much the board or the focal length is larger than told."""
        return float(np.exp(x[self._factor_at])) if self._factor == name else 1.0

    def intrinsics(self, x: Array) -> CameraIntrinsics:
        base = self._problem.intrinsics
        scale = self.factor(x, "lens")
        if scale != 1.0:
            base = dataclasses.replace(base, fx=base.fx * scale, fy=base.fy * scale)
        if not self._lens:
            return base
        change = x[self._lens_at : self._factor_at] * _LENS_SCALE
        k = (*base.distortion, *(0.0,) * 5)[:5]
        return dataclasses.replace(
            base,
            fx=max(base.fx + change[0], 1.0),
            fy=max(base.fy + change[1], 1.0),
            cx=base.cx + change[2],
            cy=base.cy + change[3],
            distortion_model="plumb_bob",
            distortion=tuple(
                float(v)
                for v in (
                    *(k[0] + change[4], k[1] + change[5]),
                    *(k[2] + change[6], k[3] + change[7], k[4]),
                )
            ),
        )


class _Residuals:
    """What is minimised: corners in pictures, and errors of what the robot reported."""

    def __init__(self, problem: FitProblem, unknowns: _Unknowns) -> None:
        self._problem = problem
        self._unknowns = unknowns
        views = problem.views
        self._points = np.concatenate([view.points for view in views])
        self._pixels = np.concatenate([view.detection.pixels for view in views])
        self._view_of = np.repeat(np.arange(len(views)), [len(view.points) for view in views])
        self._groups = np.array(unknowns.group_of)
        self._scale = np.repeat([problem.angle_sigma, problem.position_sigma], 3)

    def pixel_errors(self, x: Array) -> Array:
        """Found minus expected, shape (N, 2)."""
        unknowns = self._unknowns
        to_camera, mount = unknowns.camera(x).inverse(), unknowns.mount(x)
        local = [
            to_camera @ unknowns.reported(x, index) @ mount
            for index in range(len(self._problem.views))
        ]
        rotations = np.array([pose.rotation for pose in local])[self._view_of]
        shifts = np.array([pose.translation for pose in local])[self._view_of]
        on_board = self._points * unknowns.factor(x, "board")
        points = np.einsum("nij,nj->ni", rotations, on_board) + shifts
        rays = points[:, :2] / np.maximum(points[:, 2:], 1e-3)
        return self._pixels - unknowns.intrinsics(x).project(rays)

    def touch_errors(self, x: Array, group: int) -> Array:
        """Touched points of a placement minus where they should be, metres, shape (M, 3)."""
        index = self._unknowns.group_of.index(group)
        touched = self._problem.views[index].touched
        assert touched is not None
        on_board = touched[0] * self._unknowns.factor(x, "board")
        return self._unknowns.reported(x, index).apply(on_board) - touched[1]

    def __call__(self, x: Array) -> Array:
        """All of them in standard deviations."""
        pixels = (self.pixel_errors(x) / self._problem.pixel_sigma).ravel()
        if self._problem.board is not None:
            return np.concatenate([pixels, (self._unknowns.errors(x) / self._scale).ravel()])
        touches = [
            self.touch_errors(x, group).ravel() / self._problem.position_sigma
            for group in range(self._unknowns.groups)
        ]
        return np.concatenate([pixels, *touches])

    def jacobian(self, x: Array) -> Array:
        """By differences. Errors of all reported poses are varied at once: none meets another."""
        unknowns, here = self._unknowns, self(x)
        matrix = np.zeros((len(here), unknowns.size))
        first, count = unknowns.errors_at, unknowns.groups
        for column in (*range(first), *range(first + 6 * count, unknowns.size)):
            varied = x.copy()
            varied[column] += _STEP
            matrix[:, column] = (self(varied) - here) / _STEP
        group_of_row = self._group_of_row(len(here))
        rows = np.arange(len(here))
        for component in range(6):
            varied = x.copy()
            varied[first + component : first + 6 * count : 6] += _STEP
            matrix[rows, first + 6 * group_of_row + component] = (self(varied) - here) / _STEP
        return matrix

    def _group_of_row(self, rows: int) -> NDArray[np.int64]:
        pixels = np.repeat(self._groups[self._view_of], 2)
        if self._problem.board is not None:
            return np.concatenate([pixels, np.repeat(np.arange(self._unknowns.groups), 6)])
        touches = [
            np.full(self.touch_errors(np.zeros(self._unknowns.size), group).size, group)
            for group in range(self._unknowns.groups)
        ]
        return np.concatenate([pixels, *touches])

    def corrections(self, x: Array) -> list[float]:
        """Root mean square error of what the robot reported for each view, standard deviations."""
        if self._problem.board is not None:
            sizes = np.sqrt(((self._unknowns.errors(x) / self._scale) ** 2).mean(axis=1))
        else:
            sizes = np.array(
                [
                    np.sqrt((self.touch_errors(x, group) ** 2).mean())
                    / self._problem.position_sigma
                    for group in range(self._unknowns.groups)
                ]
            )
        return [float(sizes[group]) for group in self._groups]


def fit(problem: FitProblem, *, estimate_intrinsics: bool) -> FitResult:
    """Fits all unknowns to all corners; then tries a board, and a lens, of another size.

    Args:
        problem: first guesses.
        estimate_intrinsics: whether the lens is unknown too.
    """
    unknowns = _Unknowns(problem, lens=estimate_intrinsics, factor=None)
    residuals = _Residuals(problem, unknowns)
    x, covariance = _minimise(residuals, np.zeros(unknowns.size))
    mount = unknowns.mount(x)
    ends = np.cumsum([len(view.points) for view in problem.views])[:-1]

    def factor(name: FactorName) -> Factor:
        wider = _Unknowns(problem, lens=estimate_intrinsics, factor=name)
        left = _Residuals(problem, wider)
        best, spread = _minimise(left, np.append(x, 0.0))
        value = wider.factor(best, name)
        return Factor(
            value,
            value * float(np.sqrt(max(spread[-1, -1], 0.0))),
            float(np.sqrt((left.pixel_errors(best) ** 2).sum(axis=1).mean())),
            float(np.median(left.corrections(best))),
        )

    return FitResult(
        unknowns.intrinsics(x),
        unknowns.camera(x),
        mount if problem.board is not None else unknowns.reported(x, 0) @ mount,
        np.split(residuals.pixel_errors(x), ends),
        residuals.corrections(x),
        position_sigma=_worst(covariance[3:6, 3:6]),
        angle_sigma=_worst(covariance[:3, :3]),
        board_scale=factor("board"),
        lens_scale=None if estimate_intrinsics else factor("lens"),
    )


def _minimise(residuals: _Residuals, start: Array) -> tuple[Array, Array]:
    """The best vector of unknowns, and its covariance."""
    found = least_squares(
        residuals,
        start,
        jac=residuals.jacobian,
        loss="soft_l1",
        f_scale=_OUTLIER,
        x_scale="jac",
        max_nfev=_EVALUATIONS,
    )
    covariance = np.linalg.pinv(found.jac.T @ found.jac)
    # Corners that scatter more than expected make everything less certain, never more.
    count = len(found.fun) - len(start)
    return found.x, covariance * max(1.0, 2.0 * found.cost / max(count, 1))


def _worst(covariance: Array) -> float:
    """Standard deviation along the worst axis."""
    return float(np.sqrt(max(np.linalg.eigvalsh(covariance)[-1], 0.0)))
