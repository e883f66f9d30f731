"""The table's grid drawn over a picture, to judge a calibration by eye."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from twist_camera.camera_file import CameraFile
from twist_camera.charuco_board import Array, Image
from twist_policy.contract import PolicyContract

_GRID, _AXES, _BOX = (255, 255, 0), ((255, 40, 40), (40, 220, 40), (80, 80, 255)), (255, 0, 255)
_LOWER, _UPPER = (0.2, -0.4), (0.8, 0.4)
"""What part of the table gets a grid, metres, base frame (x, y)."""
_PITCH = 0.1
_SCALE = 2


def table_overlay(
    image: Image, camera: CameraFile, contract: PolicyContract | None = None
) -> Image:
    """Draws a grid of 10 cm on z = 0 with its coordinates, and where the policy looks and works.

    Args:
        image: RGB, (H, W, 3), as the camera took it.
        camera: calibrated.
        contract: adds the workspace box and, for comparison, where the camera trained with would
            see the grid's corners.

    Returns:
        RGB, twice as large.

    Raises:
        ValueError: the picture has another size than the camera.
    """
    height, width = image.shape[:2]
    if (width, height) != (camera.intrinsics.width, camera.intrinsics.height):
        raise ValueError(
            f"the picture has {width}x{height} pixels, the camera was calibrated at "
            f"{camera.intrinsics.width}x{camera.intrinsics.height}"
        )
    canvas = cv2.resize(image, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_LINEAR)
    xs = np.arange(_LOWER[0], _UPPER[0] + 1e-9, _PITCH)
    ys = np.arange(_LOWER[1], _UPPER[1] + 1e-9, _PITCH)
    for x in xs:
        _line(canvas, camera, (x, ys[0], 0), (x, ys[-1], 0), _GRID)
    for y in ys:
        _line(canvas, camera, (xs[0], y, 0), (xs[-1], y, 0), _GRID)
    for x in xs:
        for y in ys:
            _label(canvas, camera, (x, y, 0), f"{x:.1f}, {round(y, 1) + 0.0:.1f}")
    for axis, colour in enumerate(_AXES):
        end = np.array([xs[0], 0.0, 0.0])
        start = end.copy()
        end[axis] += _PITCH
        _line(canvas, camera, start, end, colour, 3)
    if contract is not None:
        _box(canvas, camera, contract)
        crop = contract.image
        near = np.array([crop.crop_x, crop.crop_y]) * _SCALE
        far = near + crop.crop_size * _SCALE
        cv2.rectangle(canvas, near.tolist(), far.tolist(), (255, 255, 255), 1)
    return canvas


def _pixels(camera: CameraFile, points: Array) -> Array:
    # Pixel centres of the small picture at whole numbers to those of the large one.
    return (camera.project(points) + 0.5) * _SCALE - 0.5


def _line(
    canvas: Image,
    camera: CameraFile,
    start: Array | tuple[float, float, float],
    end: Array | tuple[float, float, float],
    colour: tuple[int, int, int],
    thickness: int = 1,
) -> None:
    # A straight line is none behind a lens: drawn in pieces.
    share = np.linspace(0.0, 1.0, 41)[:, None]
    points = np.asarray(start) * (1 - share) + np.asarray(end) * share
    pixels = _pixels(camera, points)
    far = 4 * max(canvas.shape[:2])
    for a, b in pairwise(pixels):
        if np.isfinite([*a, *b]).all() and np.abs([*a, *b]).max() < far:
            p, q = (tuple(int(v) for v in np.rint(point)) for point in (a, b))
            cv2.line(canvas, p, q, colour, thickness, cv2.LINE_AA)


def _label(canvas: Image, camera: CameraFile, point: tuple[float, float, float], text: str) -> None:
    pixel = _pixels(camera, np.array([point]))[0]
    if not np.isfinite(pixel).all():
        return
    height, width = canvas.shape[:2]
    if 0 <= pixel[0] < width and 0 <= pixel[1] < height:
        place = (int(pixel[0]) + 3, int(pixel[1]) - 4)
        font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.45
        # Thicker letters are wider ones: the outline is the same text, a pixel beside.
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            beside = (place[0] + dx, place[1] + dy)
            cv2.putText(canvas, text, beside, font, size, (0, 0, 0), 1, cv2.LINE_AA)
        cv2.putText(canvas, text, place, font, size, (255, 255, 255), 1, cv2.LINE_AA)


def _box(canvas: Image, camera: CameraFile, contract: PolicyContract) -> None:
    low, high = contract.workspace.lower, contract.workspace.upper
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        for z in (low[2], high[2]):
            _line(canvas, camera, (ax, ay, z), (bx, by, z), _BOX)
        _line(canvas, camera, (ax, ay, low[2]), (ax, ay, high[2]), _BOX)
