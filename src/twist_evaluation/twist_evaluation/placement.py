"""Where a person puts cube and goal before a trial: the picture to follow, and the check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from twist_evaluation.observer.colours import Image
from twist_evaluation.observer.pictures import closed_line, label
from twist_evaluation.observer.shapes import cube_corners, disc_points, silhouette
from twist_evaluation.observer.table_camera import TableCamera
from twist_evaluation.observer.table_observer import Measured, SceneSizes
from twist_evaluation.trial_stand import ObjectLayout

PLACE_TOLERANCE = 0.01
"""Metres that cube and goal may lie beside their places."""
YAW_TOLERANCE = math.radians(10.0)

_CUBE, _GOAL = (56, 189, 248), (250, 204, 21)
_EDGES = (
    (0, 1),
    (1, 2),
    (2, 3),
    (3, 0),
    (4, 5),
    (5, 6),
    (6, 7),
    (7, 4),
    *((i, i + 4) for i in range(4)),
)


@dataclass(frozen=True)
class PlacementCheck:
    """How the objects lie compared to the layout.

    Attributes:
        cube_error: metres between the cube and its place.
        goal_error: metres between the goal and its place; 0 where there is none.
        yaw_error: radians that the cube is turned too far, counter-clockwise from above; a quarter
            turn is none.
        advice: what to do, one line per thing that is out of tolerance; empty when all is well.
    """

    cube_error: float
    goal_error: float
    yaw_error: float
    advice: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether everything is where it should be."""
        return not self.advice


def draw_placement(
    frame: Image,
    camera: TableCamera,
    sizes: SceneSizes,
    layout: ObjectLayout,
    lines: Sequence[str] = (),
) -> Image:
    """The live picture with a ghost of cube and disc where they have to be put.

    Args:
        frame: (H, W, 3) uint8 RGB.
        camera: that took it.
        sizes: of cube and goal.
        layout: of the trial.
        lines: of ASCII text to write into it.
    """
    picture = frame.copy()
    disc = None
    if sizes.goal_radius is not None:
        disc = camera.project(disc_points(layout.goal_position, sizes.goal_radius))
    corners = cube_corners(layout.object_position, layout.object_yaw, sizes.cube)
    ghost = picture.copy()
    if disc is not None:
        cv2.fillPoly(ghost, [np.round(disc).astype(np.int32)], _GOAL)
    cv2.fillPoly(ghost, [np.round(silhouette(camera, corners)).astype(np.int32)], _CUBE)
    picture = np.asarray(cv2.addWeighted(ghost, 0.35, picture, 0.65, 0.0), dtype=np.uint8)
    if disc is not None:
        closed_line(picture, disc, _GOAL)
    pixels = camera.project(corners)
    for first, last in _EDGES:
        closed_line(picture, pixels[[first, last]], _CUBE)
    for row, text in enumerate(reversed(lines)):
        label(picture, text, row)
    return picture


def check_placement(
    layout: ObjectLayout, cube: Measured, goal: Measured | None, camera: TableCamera
) -> PlacementCheck:
    """Compares what is seen with the layout, and says which way to move what is wrong.

    Directions are those of the picture, which is what the operator looks at.

    Args:
        layout: where the objects belong.
        cube: as measured.
        goal: as measured; None where the task has none.
        camera: that measured them.
    """
    advice = []
    errors = {"cube": 0.0, "goal": 0.0}
    things = [("cube", cube, layout.object_position)]
    if goal is not None:
        things.append(("goal", goal, layout.goal_position))
    for name, thing, place in things:
        target = np.asarray(place[:2], dtype=np.float64)
        move = target - np.asarray(thing.position)
        error = float(np.linalg.norm(move))
        errors[name] = error
        if error > PLACE_TOLERANCE:
            way = _in_picture(camera, thing.position, target)
            advice.append(f"move the {name} {error * 100:.1f} cm {way}")
    quarter = math.pi / 2
    turned = (cube.yaw - layout.object_yaw + quarter / 2) % quarter - quarter / 2
    if abs(turned) > YAW_TOLERANCE:
        way = "clockwise" if turned > 0 else "counter-clockwise"
        advice.append(
            f"turn the cube {abs(math.degrees(turned)):.0f} degrees {way}, seen from above"
        )
    return PlacementCheck(errors["cube"], errors["goal"], turned, tuple(advice))


def _in_picture(camera: TableCamera, start: Sequence[float], end: np.ndarray) -> str:
    """The direction of a move as the picture shows it."""
    first, last = camera.project([(*start, 0.0), (float(end[0]), float(end[1]), 0.0)])
    right, down = last - first
    words = []
    # Two words where the move is well off both axes.
    if abs(down) > 0.4 * abs(right):
        words.append("down" if down > 0 else "up")
    if abs(right) > 0.4 * abs(down):
        words.append("right" if right > 0 else "left")
    return f"{' and '.join(words)} in the picture"
