"""Views of a board, with corners computed instead of rendered."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from twist_camera.calibration import Sample
from twist_camera.charuco_board import Detection
from twist_camera.rehearsal import Rehearsal
from twist_camera.rigid_transform import RigidTransform


def views_on_hand(
    lab: Rehearsal, count: int, *, tilt: float = 30.0, pixel: float = 0.1, one_axis: bool = False
) -> list[Sample]:
    """Views as `Rehearsal.on_hand` makes them, with corners computed instead of rendered."""
    rng = np.random.default_rng([lab.seed, 3])
    mount = RigidTransform.from_vectors(rng.uniform(-1.5, 1.5, 3), rng.uniform(-0.1, 0.1, 3))
    sigmas = np.repeat([np.radians(lab.faults.robot_angle), lab.faults.robot_position], 3)
    samples = []
    for number in range(count):
        board = lab._facing(rng, np.radians(tilt))
        if one_axis:
            turn = RigidTransform.from_vectors([0.0, 0.04 * number - 0.3, 0.0], np.zeros(3))
            board = RigidTransform(turn.rotation, np.array([-0.12, -0.08, 0.6 + 0.01 * number]))
        arm = (lab.base_to_camera @ board @ mount.inverse()).moved(rng.normal(0.0, sigmas))
        samples.append(Sample(f"view {number}", seen(lab, board, rng, pixel), arm))
    return samples


def views_on_table(
    lab: Rehearsal, count: int, *, pixel: float = 0.1, offset: ArrayLike = (0.0, 0.0, 0.0)
) -> list[Sample]:
    """Placements as `Rehearsal.on_table` makes them, touched at the board's four outer corners.

    Args:
        lab: camera and faults.
        count: how many.
        pixel: noise of the corners.
        offset: error of the tool's offset, base frame, metres: the tool is held one way.
    """
    rng = np.random.default_rng([lab.seed, 4])
    columns, last = lab.spec.columns - 1, len(lab.spec.corners) - 1
    numbers = [0, columns - 1, last - columns + 1, last]
    samples = []
    for placement in range(count):
        placed = lab._lying(rng)
        points = placed.apply(lab.spec.corners[numbers]) + np.asarray(offset)
        points = points + rng.normal(0.0, lab.faults.touch, points.shape)
        touched = tuple(
            (n, (float(x), float(y), float(z)))
            for n, (x, y, z) in zip(numbers, points, strict=True)
        )
        detection = seen(lab, lab.base_to_camera.inverse() @ placed, rng, pixel)
        samples.append(Sample(f"placement {placement}", detection, None, placement, touched))
    return samples


def seen(
    lab: Rehearsal, board: RigidTransform, rng: np.random.Generator, pixel: float
) -> Detection:
    """The corners of a board at a pose in the optical frame."""
    local = board.apply(lab.spec.corners)
    pixels = lab.intrinsics.project(local[:, :2] / local[:, 2:])
    return Detection(
        np.arange(len(local)), pixels + rng.normal(0.0, pixel / np.sqrt(2), pixels.shape)
    )
