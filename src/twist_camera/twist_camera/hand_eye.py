"""First guess of where a fixed camera stands, from poses of a board on the gripper.

For every view i, ``base_T_ee[i] @ ee_T_board == base_T_camera @ camera_T_board[i]``; the right-hand
pose and the left-hand one are unknown and the same for all views. Both rotations are found together
as the null vector of a linear system (Li, Wang and Wu 2010; Shah 2013), then both translations by
least squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twist_camera.rigid_transform import RigidTransform, nearest_rotation, rotation_vector


def solve_hand_eye(
    base_to_ee: Sequence[RigidTransform], camera_to_board: Sequence[RigidTransform]
) -> tuple[RigidTransform, RigidTransform]:
    """Solves for both unknown poses.

    Args:
        base_to_ee: measured poses of the end effector in the base frame, at least three.
        camera_to_board: measured poses of the board in the optical frame, one for each.

    Returns:
        ``base_T_camera`` and ``ee_T_board``.
    """
    rows = [
        np.hstack([np.kron(np.eye(3), e.rotation), -np.kron(c.rotation.T, np.eye(3))])
        for e, c in zip(base_to_ee, camera_to_board, strict=True)
    ]
    null = np.linalg.svd(np.vstack(rows))[2][-1]
    # Matrices are stacked column by column.
    board, camera = null[:9].reshape(3, 3).T, null[9:].reshape(3, 3).T
    sign = np.sign(np.linalg.det(camera)) or 1.0
    board, camera = nearest_rotation(sign * board), nearest_rotation(sign * camera)
    left = [np.hstack([e.rotation, -np.eye(3)]) for e in base_to_ee]
    right = [
        camera @ c.translation - e.translation
        for e, c in zip(base_to_ee, camera_to_board, strict=True)
    ]
    shifts = np.linalg.lstsq(np.vstack(left), np.concatenate(right), rcond=None)[0]
    return RigidTransform(camera, shifts[3:]), RigidTransform(board, shifts[:3])


def turning(poses: Sequence[RigidTransform]) -> tuple[float, float]:
    """How much poses turn about their two most different axes.

    Returns:
        Root mean square angles about the first and the second principal axis, radians. When the
        second is small, all poses turn about one axis, and a camera's pose does not follow from
        them.
    """
    mean = nearest_rotation(np.sum([pose.rotation for pose in poses], axis=0))
    vectors = np.array([rotation_vector(mean.T @ pose.rotation) for pose in poses])
    spread = np.zeros(3)
    found = np.linalg.svd(vectors, compute_uv=False) / np.sqrt(len(poses))
    spread[: len(found)] = found
    return float(spread[0]), float(spread[1])
