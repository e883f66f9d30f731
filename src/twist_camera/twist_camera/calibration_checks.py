"""What a calibration needs, what it says, and when it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twist_camera.calibration_fit import Factor
from twist_camera.charuco_board import Array, BoardSpec
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics


class CalibrationError(ValueError):
    """The pictures do not tell where the camera stands; the message says what to do."""


@dataclass(frozen=True)
class CalibrationRules:
    """What a calibration needs, and how well the robot is known.

    Attributes:
        views: fewest usable views of a board on the gripper.
        turn: smallest turning of the gripper about a second axis, root mean square, degrees.
        lens_coverage: smallest share of the picture that corners have to cover to estimate a lens.
        lens_tilt: smallest turning of the board for that, as `turn`.
        rms: largest reprojection error, root mean square, pixels.
        correction: largest change of what the robot reported, median over the views, in standard
            deviations.
        position_sigma: largest standard deviation of the camera's position, metres.
        angle_sigma: largest standard deviation of its orientation, degrees.
        robot_position: standard deviation of a reported or touched position, metres.
        robot_angle: standard deviation of a reported orientation, degrees.
        pixel: standard deviation of a corner in a picture, pixels.
        scale: how far the board's size and the lens' focal length may be from those told, share.
        scale_sigmas: and from how many standard deviations on a difference counts.
        board_height: of the printed side of a board on the table above the table (z = 0 of the base
            frame), metres.
        height: how far touched points may be from that, metres.
    """

    views: int = 10
    turn: float = 8.0
    lens_coverage: float = 0.4
    lens_tilt: float = 8.0
    rms: float = 1.0
    correction: float = 2.5
    position_sigma: float = 0.003
    angle_sigma: float = 0.5
    robot_position: float = 0.0007
    robot_angle: float = 0.1
    pixel: float = 0.15
    scale: float = 0.005
    scale_sigmas: float = 3.0
    board_height: float = 0.0
    height: float = 0.005


@dataclass(frozen=True, eq=False)
class Calibration:
    """The result.

    Attributes:
        intrinsics: the lens: the driver's, or estimated.
        base_to_camera: pose of the optical frame in the base frame.
        board: pose of the board on the end effector, or of its first placement on the table.
        rms: reprojection error over all corners, pixels.
        view_rms: the same by the name of the view.
        position_sigma: standard deviation of the camera's position, along its worst axis, metres.
        angle_sigma: standard deviation of its orientation, about its worst axis, degrees.
        coverage: share of the picture that corners cover.
        corners: how many were used.
        board_scale: size of the board over the size told, as the views tell it.
        lens_scale: focal length over the driver's, as the views tell it; None for an estimated one.
        unused: views that show too little of the board.
        correction: how far the reported poses or touched points had to be changed, median over the
            views, in the standard deviations that were assumed.
        suspects: views that fit much worse than the others.
    """

    intrinsics: CameraIntrinsics
    base_to_camera: RigidTransform
    board: RigidTransform
    rms: float
    view_rms: dict[str, float]
    position_sigma: float
    angle_sigma: float
    coverage: float
    corners: int
    board_scale: Factor
    lens_scale: Factor | None
    correction: float = 0.0
    unused: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()


def check_touches(
    name: str,
    spec: BoardSpec,
    numbers: Sequence[int],
    points: Array,
    placed: RigidTransform,
    rules: CalibrationRules,
) -> None:
    """Refuses touched points where no corners of a board on the table can be.

    Args:
        name: of the view, for messages.
        spec: the board as told.
        numbers: of the touched corners.
        points: where they were touched, base frame, metres, shape (N, 3).
        placed: pose of the board in the base frame that fits them best.
        rules: limits.

    Raises:
        CalibrationError: with what is wrong, and what to do.
    """
    on_board, allowed = spec.corners[list(numbers)], 5 * rules.robot_position
    miss = np.linalg.norm(placed.apply(on_board) - points, axis=1)
    if miss.max() > allowed:
        worst = numbers[int(miss.argmax())]
        centred = on_board - on_board.mean(axis=0)
        turned = centred @ placed.rotation.T
        scale = float((turned * (points - points.mean(axis=0))).sum() / (centred**2).sum())
        left = np.linalg.norm(scale * turned - (points - points.mean(axis=0)), axis=1).max()
        cause = "a corner was taken for another, or the tool's offset is wrong"
        if left <= 3 * rules.robot_position:
            cause = (
                f"they fit a board of {scale:.3f} times the size told (squares of "
                f"{spec.square * scale * 1000:.2f} mm): measure the print, and solve again with "
                f"--square-mm. If the size is right, {cause}"
            )
        raise CalibrationError(
            f"{name}: the touched points miss the board's corners by up to "
            f"{miss.max() * 1000:.1f} mm (corner {worst}); {cause}"
        )
    heights = points[:, 2] - rules.board_height
    off = float(heights[np.abs(heights).argmax()])
    if abs(off) > rules.height:
        raise CalibrationError(
            f"{name}: a touched corner lies {abs(off) * 1000:.1f} mm "
            f"{'above' if off > 0 else 'below'} where the board's printed side should be, "
            f"{rules.board_height * 1000:g} mm above the table (z = 0 of the base frame; "
            f"{rules.height * 1000:g} mm are allowed). The tool's offset is wrong along the tool, "
            "or the board is thicker than told (--board-height-mm)"
        )


def _check_scale(found: Calibration, spec: BoardSpec, rules: CalibrationRules) -> None:
    """Refuses a board or a lens of another size, whichever explains the views better."""
    board, lens = found.board_scale, found.lens_scale
    of_lens = lens is not None and lens.significance > board.significance
    likely = lens if lens is not None and of_lens else board
    # What neither explains has another cause; the checks after this one say so.
    explained = likely.rms <= rules.rms and likely.correction <= rules.correction
    wrong = abs(likely.value - 1.0) > rules.scale and likely.significance > rules.scale_sigmas
    if not (wrong and explained):
        return
    if of_lens:
        raise CalibrationError(
            f"the views fit a lens with {likely} times the focal length told (limit "
            f"{rules.scale:.1%}), which would put the camera that much too near or too far. Is the "
            "driver's calibration that of this camera at this frame size? Estimate the lens "
            "(--intrinsics estimate), or, should the board's size be the wrong one, measure the "
            "print and solve again with --square-mm"
        )
    raise CalibrationError(
        f"the views fit a board of {likely} times the size told (limit {rules.scale:.1%}): squares "
        f"of {spec.square * likely.value * 1000:.2f} mm, told were {spec.square * 1000:.2f}. "
        "Measure the print over as many squares as possible, and solve again with --square-mm and "
        "the edge of one. If the size is right: is the lens (--intrinsics estimate), and are the "
        "poses those of the frame that the board is fixed to?"
    )


def check_result(found: Calibration, spec: BoardSpec, rules: CalibrationRules) -> None:
    """Refuses what is not good enough.

    Args:
        found: the result.
        spec: the board as told.
        rules: limits.

    Raises:
        CalibrationError: with what is wrong, and what to do.
    """
    _check_scale(found, spec, rules)
    if found.rms > rules.rms:
        worst = ", ".join(
            f"{name} {rms:.1f}"
            for name, rms in sorted(found.view_rms.items(), key=lambda item: -item[1])[:3]
        )
        raise CalibrationError(
            f"the corners miss their places by {found.rms:.2f} pixels (limit {rules.rms:g}); worst "
            f"views: {worst}. Did the board slip, or the arm move while a picture was taken? Is "
            "the printed board the one told? Are the poses those of the same frame?"
        )
    if found.correction > rules.correction:
        raise CalibrationError(
            f"what the robot reported had to be changed by {found.correction:.1f} standard "
            f"deviations (limit {rules.correction:g}) to agree with the pictures. Did the board "
            "slip? Does the print have the size told (measure it)? Is the lens the one told "
            "(--intrinsics estimate)? Are the poses those of the same frame?"
        )
    if found.position_sigma > rules.position_sigma or found.angle_sigma > rules.angle_sigma:
        raise CalibrationError(
            f"the camera's pose is known to {found.position_sigma * 1000:.1f} mm and "
            f"{found.angle_sigma:.2f} degrees only (limits {rules.position_sigma * 1000:g} mm, "
            f"{rules.angle_sigma:g} degrees); take more views, nearer to the camera, more tilted"
        )
