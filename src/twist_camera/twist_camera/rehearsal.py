"""A calibration without camera and robot: rendered views of a board, with known truth.

For trying the commands out before the lab, and for measuring how exact a calibration is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from twist_camera.board_rendering import BoardRenderer, PictureFaults
from twist_camera.charuco_board import BoardSpec, Image
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics

_EDGE = 12
"""Corners keep so many pixels away from the picture's edge."""


@dataclass(frozen=True)
class RehearsalFaults:
    """How wrong robot and camera are.

    Attributes:
        robot_position: standard deviation of a reported position, metres.
        robot_angle: standard deviation of a reported orientation, degrees.
        touch: standard deviation of a touched point, metres.
        picture: what the camera adds.
    """

    robot_position: float = 0.0005
    robot_angle: float = 0.05
    touch: float = 0.0005
    picture: PictureFaults = field(default_factory=PictureFaults)


@dataclass(frozen=True, eq=False)
class RehearsedView:
    """One rendered view.

    Attributes:
        image: RGB.
        base_to_ee: as the robot reports it, or None for a board on the table.
        placement: of the board on the table.
        touched: as `twist_camera.calibration.Sample`.
    """

    image: Image
    base_to_ee: RigidTransform | None = None
    placement: int = 0
    touched: tuple[tuple[int, tuple[float, float, float]], ...] = ()


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """A stand-in for a lab.

    Attributes:
        spec: the board.
        intrinsics: the camera's true lens.
        base_to_camera: its true pose.
        faults: how wrong robot and camera are.
        seed: of poses and faults.
    """

    spec: BoardSpec
    intrinsics: CameraIntrinsics
    base_to_camera: RigidTransform
    faults: RehearsalFaults = field(default_factory=RehearsalFaults)
    seed: int = 0

    def on_hand(self, views: int, *, tilt: float = 30.0) -> Iterator[RehearsedView]:
        """Views of a board on the gripper.

        Args:
            views: how many.
            tilt: largest tilt of the board against the camera, degrees.
        """
        rng = np.random.default_rng([self.seed, 1])
        renderer = BoardRenderer(self.spec, self.intrinsics, oversampling=2)
        mount = RigidTransform.from_vectors(rng.uniform(-1.5, 1.5, 3), rng.uniform(-0.1, 0.1, 3))
        sigmas = np.repeat([np.radians(self.faults.robot_angle), self.faults.robot_position], 3)
        for _ in range(views):
            board = self._facing(rng, np.radians(tilt))
            arm = self.base_to_camera @ board @ mount.inverse()
            image = renderer.render(board, rng, self.faults.picture)
            yield RehearsedView(image, arm.moved(rng.normal(0.0, sigmas)))

    def on_table(self, placements: int, touches: int = 6) -> Iterator[RehearsedView]:
        """Views of a board that lies on the table, z = 0.

        Args:
            placements: how often the board is put somewhere else.
            touches: how many of its corners the tool touches.
        """
        rng = np.random.default_rng([self.seed, 2])
        renderer = BoardRenderer(self.spec, self.intrinsics, oversampling=2)
        corners = self.spec.corners
        for placement in range(placements):
            placed = self._lying(rng)
            numbers = rng.permutation(len(corners))[: touches - 3].tolist()
            columns = self.spec.columns - 1
            ends = [0, columns - 1, len(corners) - 1]
            numbers = [*ends, *(n for n in numbers if n not in ends)]
            points = placed.apply(corners[numbers])
            points = points + rng.normal(0.0, self.faults.touch, points.shape)
            image = renderer.render(
                self.base_to_camera.inverse() @ placed, rng, self.faults.picture
            )
            yield RehearsedView(
                image,
                None,
                placement,
                tuple(
                    (int(n), (float(p[0]), float(p[1]), float(p[2])))
                    for n, p in zip(numbers, points, strict=True)
                ),
            )

    def _facing(self, rng: np.random.Generator, tilt: float) -> RigidTransform:
        """A pose in the optical frame with all corners in the picture."""
        for _ in range(1000):
            direction = rng.uniform(0, 2 * np.pi)
            lean = rng.uniform(0.3, 1.0) * tilt
            lean_vector = lean * np.array([np.cos(direction), np.sin(direction), 0.0])
            turn = RigidTransform.from_vectors([0, 0, rng.uniform(-0.6, 0.6)], np.zeros(3))
            rotation = RigidTransform.from_vectors(lean_vector, np.zeros(3)) @ turn
            depth = rng.uniform(0.4, 0.8)
            pixel = rng.uniform((0, 0), (self.intrinsics.width, self.intrinsics.height))
            ray = (pixel - (self.intrinsics.cx, self.intrinsics.cy)) / (
                self.intrinsics.fx,
                self.intrinsics.fy,
            )
            middle = np.array([*self.spec.size, 0.0]) / 2
            origin = np.array([*ray, 1.0]) * depth - rotation.apply(middle)
            pose = RigidTransform(rotation.rotation, origin)
            if self._whole(pose):
                return pose
        raise ValueError(f"the board {self.spec.name} does not fit into the picture")

    def _lying(self, rng: np.random.Generator) -> RigidTransform:
        for _ in range(1000):
            flat = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
            turn = RigidTransform.from_vectors([0, 0, rng.uniform(-np.pi, np.pi)], np.zeros(3))
            rotation = turn @ flat
            middle = np.array([*self.spec.size, 0.0]) / 2
            centre = np.array([rng.uniform(0.35, 0.7), rng.uniform(-0.25, 0.25), 0.0])
            pose = RigidTransform(rotation.rotation, centre - rotation.apply(middle))
            if self._whole(self.base_to_camera.inverse() @ pose):
                return pose
        raise ValueError("the camera does not see a board on the table")

    def _whole(self, pose: RigidTransform) -> bool:
        width, height = self.spec.size
        rim = np.array([(0, 0, 0), (width, 0, 0), (width, height, 0), (0, height, 0)])
        local = pose.apply(rim)
        if local[:, 2].min() < 0.1:
            return False
        pixels = self.intrinsics.project(local[:, :2] / local[:, 2:])
        size = np.array([self.intrinsics.width, self.intrinsics.height])
        return bool((pixels > _EDGE).all() and (pixels < size - _EDGE).all())


def shifted_camera(
    base_to_camera: RigidTransform, rng: np.random.Generator, metres: float, degrees: float
) -> RigidTransform:
    """A camera that was put up by eye: moved by up to so much along and about each axis."""
    change = np.concatenate(
        [np.radians(rng.uniform(-degrees, degrees, 3)), rng.uniform(-metres, metres, 3)]
    )
    return base_to_camera.moved(change)


def real_lens(nominal: CameraIntrinsics, rng: np.random.Generator) -> CameraIntrinsics:
    """A lens as one specimen of a camera has it."""
    focal = nominal.fx * rng.uniform(0.985, 1.015)
    return dataclasses.replace(
        nominal,
        fx=focal,
        fy=focal * rng.uniform(0.998, 1.002),
        cx=nominal.cx + rng.uniform(-8, 8),
        cy=nominal.cy + rng.uniform(-8, 8),
        distortion_model="plumb_bob",
        distortion=(
            *(float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1))),
            *(float(rng.uniform(-0.001, 0.001)), float(rng.uniform(-0.001, 0.001)), 0.0),
        ),
    )
