"""Where cube and goal are in one picture: found by colour, measured by their outlines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_evaluation.observer.colours import ColourModel, Image, Mask, adapt, chroma, masks
from twist_evaluation.observer.edges import EdgeFit, fit_outline
from twist_evaluation.observer.shapes import (
    CubeOutline,
    DiscOutline,
    cube_corners,
    disc_points,
    filled,
    inside_polygon,
    silhouette,
)
from twist_evaluation.observer.table_camera import TableCamera

Array = NDArray[np.float64]

_CUBE_SEEN = 0.5
_DISC_SEEN = 0.25
_LARGEST_RESIDUAL = 2.0  # pixels
_LARGEST_DEVIATION = 0.006  # metres, standard deviation of a place
_OUTSIDE = 0.09  # metres outside of the workspace where things are still looked for
_TOO_SMALL = 0.3  # share of the expected area
_SECOND = 0.35  # share of the expected area at which something else counts as a candidate
_FLOOR = 0.0005  # metres: what no picture of this resolution can promise to stay below

CALIBRATED = 0.012
"""Standard deviation of a distance, as a share of it, that a good calibration leaves: measured with
errors of 3 mm and 0.5 degrees (benchmarks/judge.py)."""
NOT_CALIBRATED = 0.04
"""The same where the camera stands only about where the contract says: 1.5 cm and 1 degree."""


class ObserverRefusal(RuntimeError):
    """Cube and goal cannot be measured in this picture; the message says why."""


@dataclass(frozen=True)
class SceneSizes:
    """What is on the table; metres.

    Attributes:
        cube: edge of the cube.
        goal_radius: of the disc; None where the task has none.
        lower: smallest x, y at which either may lie.
        upper: largest x, y.
    """

    cube: float
    goal_radius: float | None
    lower: tuple[float, float]
    upper: tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """Where one thing is.

    Attributes:
        position: x, y of its centre, metres, base frame.
        covariance: of the position, square metres, shape (2, 2).
        seen: share of its outline that was seen, in [0, 1].
        yaw: radians in [-pi/4, pi/4), about +z; NaN for the disc.
        outline: (K, 2) pixels of the fitted outline.
    """

    position: tuple[float, float]
    covariance: Array
    seen: float
    yaw: float
    outline: Array


@dataclass(frozen=True)
class Observation:
    """Cube and goal in one picture.

    Attributes:
        cube: the cube.
        goal: the disc.
        distance: between the centres in the table plane, metres.
        deviation: standard deviation of the distance, metres.
    """

    cube: Measured
    goal: Measured
    distance: float
    deviation: float


class TableObserver:
    """Measures cube and goal in pictures of one calibrated camera.

    Args:
        camera: where the camera is.
        sizes: of cube and goal, and where they may lie.
        colours: fitted to them.
        scale_error: of distances, by how well the camera is known.
    """

    needs_clear_view = True

    def __init__(
        self,
        camera: TableCamera,
        sizes: SceneSizes,
        colours: ColourModel,
        scale_error: float = CALIBRATED,
    ) -> None:
        self.camera = camera
        self.sizes = sizes
        self.colours = colours
        self._scale_error = scale_error

    def observe(self, frame: Image) -> Observation:
        """Measures both.

        Args:
            frame: (H, W, 3) uint8 RGB, of the camera's size.

        Raises:
            ObserverRefusal: one is not seen, or not well enough, or there are two candidates.
        """
        cube, cube_mask, goal_mask, colours = self._cube(frame)
        goal = self._goal(frame, cube, cube_mask, goal_mask, colours)
        difference = np.subtract(cube.position, goal.position)
        distance = float(np.linalg.norm(difference))
        # Near zero the direction says nothing: the larger variance is the distance's then.
        total = cube.covariance + goal.covariance
        if distance > 0.005:
            along = difference / distance
            variance = float(along @ total @ along)
        else:
            variance = float(np.linalg.eigvalsh(total)[-1])
        deviation = math.sqrt(variance + _FLOOR**2 + (self._scale_error * distance) ** 2)
        return Observation(cube, goal, distance, deviation)

    def observe_cube(self, frame: Image) -> Measured:
        """Measures the cube alone, for tasks without a goal on the table.

        Raises:
            ObserverRefusal: as `observe`.
        """
        return self._cube(frame)[0]

    def _cube(self, frame: Image) -> tuple[Measured, Mask, Mask, ColourModel]:
        model = self.camera.model
        if frame.shape != (model.height, model.width, 3):
            raise ObserverRefusal(
                f"the picture is {frame.shape[1]}x{frame.shape[0]}, the camera was calibrated at "
                f"{model.width}x{model.height}: set the driver to that size"
            )
        picture = chroma(frame)
        colours = adapt(picture, self.colours)
        cube_mask, goal_mask = masks(picture, colours)
        regions = self._regions(cube_mask, self.sizes.cube / 2, "cube")
        start = self._rough_cube(regions[0], goal_mask)
        outline = CubeOutline.around(self.camera, self.sizes.cube, start)
        fit = self._refine_cube(frame, outline, start, colours)
        # The silhouette may have gained a corner on the way.
        again = CubeOutline.around(self.camera, self.sizes.cube, fit.parameters)
        if again.hull != outline.hull:
            fit = self._refine_cube(frame, again, fit.parameters, colours)
        place, yaw = fit.parameters[:2], float(fit.parameters[2])
        polygon = silhouette(self.camera, cube_corners(place, yaw, self.sizes.cube))
        self._require_alone(regions, filled(polygon, cube_mask.shape), "cube")
        folded = (yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4
        cube = Measured(_pair(place), fit.covariance[:2, :2], fit.used, folded, polygon)
        return cube, cube_mask, goal_mask, colours

    def _refine_cube(
        self, frame: Image, outline: CubeOutline, start: Array, colours: ColourModel
    ) -> EdgeFit:
        fit = fit_outline(
            frame,
            outline,
            start,
            colours,
            "cube",
            steps=np.array([1e-4, 1e-4, 2e-3]),
            least_seen=_CUBE_SEEN,
        )
        return _require_good(fit, "cube")

    def _goal(
        self,
        frame: Image,
        cube: Measured,
        cube_mask: Mask,
        goal_mask: Mask,
        colours: ColourModel,
    ) -> Measured:
        radius = self._goal_radius()
        regions = self._regions(
            goal_mask, 0.0, "goal", hidden=filled(cube.outline, goal_mask.shape)
        )
        start = self._rough_goal(regions[0], cube)
        outline = DiscOutline(self.camera, radius)
        fit = fit_outline(
            frame,
            outline,
            start,
            colours,
            "goal",
            steps=np.array([1e-4, 1e-4]),
            hidden=lambda points: inside_polygon(cube.outline, points, 4.0),
            least_seen=_DISC_SEEN,
        )
        fit = _require_good(fit, "goal")
        place = fit.parameters
        polygon = self.camera.project(disc_points(place, radius))
        self._require_alone(regions, filled(polygon, goal_mask.shape), "goal")
        return Measured(_pair(place), fit.covariance, fit.used, math.nan, polygon)

    def _goal_radius(self) -> float:
        if self.sizes.goal_radius is None:
            raise ObserverRefusal("this task has no goal on the table to measure")
        return self.sizes.goal_radius

    def _regions(
        self, mask: Mask, height: float, name: str, hidden: Mask | None = None
    ) -> list[Mask]:
        """Connected regions of a colour in the workspace, the largest first.

        Raises:
            ObserverRefusal: none is large enough.
        """
        count, labels, statistics, centres = cv2.connectedComponentsWithStats(
            cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        )
        places = self.camera.on_plane(centres, height)
        margin = _OUTSIDE
        lower = np.array(self.sizes.lower) - margin
        upper = np.array(self.sizes.upper) + margin
        near = np.all((places >= lower) & (places <= upper), axis=1)
        order = sorted(
            (index for index in range(1, count) if near[index]),
            key=lambda index: -statistics[index, cv2.CC_STAT_AREA],
        )
        if order:
            area = float(statistics[order[0], cv2.CC_STAT_AREA])
            expected = self._expected_area(places[order[0]], name)
            if hidden is not None:  # what the cube may be hiding of it
                area += float(hidden.sum()) * 0.7
            if area >= _TOO_SMALL * expected:
                return [np.asarray(labels == index) for index in order]
        found = "nothing" if not order else f"{area / expected:.0%} of its expected area"
        raise ObserverRefusal(
            f"the {name} is not seen: {found} of its colour lies in the workspace. Is it hidden by "
            "the arm, off the table, or lit differently than when its colour was clicked?"
        )

    def _expected_area(self, place: Array, name: str) -> float:
        if name == "cube":
            polygon = silhouette(self.camera, cube_corners(place, 0.4, self.sizes.cube))
        else:
            polygon = self.camera.project(disc_points(place, self._goal_radius()))
        return float(cv2.contourArea(polygon.astype(np.float32)))

    def _require_alone(self, regions: list[Mask], fitted: Mask, name: str) -> None:
        grown = cv2.dilate(fitted.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
        for region in regions:
            outside = region & ~grown
            if outside.sum() > _SECOND * fitted.sum():
                rows, columns = np.nonzero(outside)
                raise ObserverRefusal(
                    f"two candidates for the {name}: something else of its colour lies around "
                    f"pixel ({columns.mean():.0f}, {rows.mean():.0f}). Take it off the table"
                )

    def _rough_cube(self, region: Mask, goal_mask: Mask) -> Array:
        """(x, y, yaw) whose silhouette covers the region best."""
        rows, columns = np.nonzero(region)
        middle = (columns.mean(), rows.mean())
        place = self.camera.on_plane(middle, self.sizes.cube / 2)
        best, best_score = np.array([*place, 0.0]), -math.inf
        for turn in range(6):
            start = np.array([*place, turn * math.pi / 12])
            # The middle of the mask is the middle of the silhouette, not of the cube.
            for _ in range(2):
                polygon = silhouette(
                    self.camera, cube_corners(start[:2], start[2], self.sizes.cube)
                )
                shift = np.asarray(middle) - _centroid(polygon)
                moved = self.camera.project([*start[:2], self.sizes.cube / 2]) + shift
                start[:2] = self.camera.on_plane(moved, self.sizes.cube / 2)
            score = self._overlap(region, start)
            if score > best_score:
                best, best_score = start, score
        # A hidden part shifts the middle; a small search repairs that.
        step = np.array([0.008, 0.008, math.pi / 24])
        for _ in range(4):
            for axis in range(3):
                for sign in (-1.0, 1.0):
                    trial = best.copy()
                    trial[axis] += sign * step[axis]
                    score = self._overlap(region, trial)
                    if score > best_score:
                        best, best_score = trial, score
            step = step / 1.8
        return best

    def _overlap(self, region: Mask, parameters: Array) -> float:
        """Intersection over union of a region and a cube's silhouette."""
        polygon = silhouette(
            self.camera, cube_corners(parameters[:2], parameters[2], self.sizes.cube)
        )
        drawn = filled(polygon, region.shape)
        union = float((region | drawn).sum())
        return float((region & drawn).sum()) / union if union else 0.0

    def _rough_goal(self, region: Mask, cube: Measured) -> Array:
        """(x, y) of the circle of known radius through the region's free edge, on the table."""
        contours, _ = cv2.findContours(
            region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        edge = max(contours, key=len).reshape(-1, 2).astype(np.float64)
        free = edge[~inside_polygon(cube.outline, edge, 4.0)]
        rows, columns = np.nonzero(region)
        middle = self.camera.on_plane((columns.mean(), rows.mean()), 0.0)
        if len(free) < 8:
            return np.asarray(middle)
        points = self.camera.on_plane(free, 0.0)
        radius = self._goal_radius()
        starts = [middle]
        for angle in np.linspace(0, 2 * math.pi, 8, endpoint=False):
            starts.append(middle + 0.5 * radius * np.array([math.cos(angle), math.sin(angle)]))
        best, best_cost = np.asarray(middle), math.inf
        for start in starts:
            place = np.asarray(start, dtype=np.float64).copy()
            for _ in range(12):
                away = points - place
                reach = np.linalg.norm(away, axis=1)
                error = reach - radius
                weight = 1.0 / (1.0 + (error / 0.004) ** 2)
                unit = away / np.maximum(reach, 1e-9)[:, None]
                normal = unit.T @ (weight[:, None] * unit)
                place = place + np.linalg.lstsq(normal, unit.T @ (weight * error), rcond=None)[0]
            error = np.linalg.norm(points - place, axis=1) - radius
            cost = float(np.mean(np.minimum(np.abs(error), 0.01)))
            if cost < best_cost:
                best, best_cost = place, cost
        return best


def _require_good(fit: EdgeFit | None, name: str) -> EdgeFit:
    if fit is None:
        raise ObserverRefusal(
            f"too little of the {name}'s outline is seen: it is hidden by the arm or the cube, or "
            "does not stand out from what lies behind it"
        )
    deviation = math.sqrt(max(0.0, float(np.linalg.eigvalsh(fit.covariance[:2, :2])[-1])))
    if fit.residual > _LARGEST_RESIDUAL or not deviation < _LARGEST_DEVIATION:
        raise ObserverRefusal(
            f"what has the {name}'s colour does not have its shape: edges lie "
            f"{fit.residual:.1f} pixels beside the fitted outline, its place is known to "
            f"{deviation * 1000:.0f} mm. Does it stand upright, is its size the task card's, and "
            "is the camera where it was calibrated?"
        )
    return fit


def _centroid(polygon: Array) -> Array:
    moments = cv2.moments(polygon.astype(np.float32))
    if moments["m00"] < 1e-6:
        return np.asarray(polygon.mean(axis=0))
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"]


def _pair(values: Array) -> tuple[float, float]:
    return float(values[0]), float(values[1])
