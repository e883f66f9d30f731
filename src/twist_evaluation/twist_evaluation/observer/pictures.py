"""What was measured, drawn into the picture it was measured in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_evaluation.observer.colours import Image
from twist_evaluation.observer.table_camera import TableCamera
from twist_evaluation.observer.table_observer import Observation

_CUBE, _GOAL, _LINE = (56, 189, 248), (250, 204, 21), (255, 255, 255)
_SHIFT = 4  # fractional bits of OpenCV's drawing


def draw_observation(frame: Image, camera: TableCamera, seen: Observation | None) -> Image:
    """A copy of the picture with fitted outlines, centres and the distance between them.

    Args:
        frame: (H, W, 3) uint8 RGB.
        camera: that took it.
        seen: None draws nothing but the picture.
    """
    picture = frame.copy()
    if seen is None:
        return picture
    for thing, colour in ((seen.goal, _GOAL), (seen.cube, _CUBE)):
        closed_line(picture, thing.outline, colour)
    ends = [(*thing.position, 0.0) for thing in (seen.goal, seen.cube)]
    first, last = (_fixed(point) for point in camera.project(ends))
    cv2.line(picture, first, last, _LINE, 1, cv2.LINE_AA, _SHIFT)
    for point, colour in ((first, _GOAL), (last, _CUBE)):
        cv2.circle(picture, point, 3 << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)
    label(picture, f"{seen.distance * 100:.1f} +- {2 * seen.deviation * 100:.1f} cm")
    return picture


def closed_line(picture: Image, points: NDArray[np.float64], colour: Sequence[int]) -> None:
    """Draws a closed line through (N, 2) pixels, with a dark rim so that it shows everywhere."""
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(picture, [fixed], True, (15, 23, 42), 3, cv2.LINE_AA, _SHIFT)
    cv2.polylines(picture, [fixed], True, tuple(colour), 1, cv2.LINE_AA, _SHIFT)


def label(picture: Image, text: str, row: int = 0) -> None:
    """Writes a line of ASCII text into the lower left corner, `row` lines above the lowest."""
    font, (left, bottom) = cv2.FONT_HERSHEY_SIMPLEX, (10, picture.shape[0] - 12 - 24 * row)
    (width, height), _ = cv2.getTextSize(text, font, 0.55, 1)
    # A dark ground, and no dark rim: thicker letters are also wider.
    cv2.rectangle(
        picture, (left - 5, bottom - height - 5), (left + width + 5, bottom + 6), (15, 23, 42), -1
    )
    cv2.putText(picture, text, (left, bottom), font, 0.55, (255, 255, 255), 1, cv2.LINE_AA)


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    column, row = np.round(point * (1 << _SHIFT)).astype(int)
    return int(column), int(row)
