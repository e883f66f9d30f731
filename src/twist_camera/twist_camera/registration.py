"""How far the background moved between two pictures of the same scene, in pixels.

Arm, cube and goal may have moved, the light may have changed; what tells where the camera looks is
everything else. So: both pictures are freed from brightness and contrast; a first shift comes from
phase correlation; textured points all over the reference are followed into the live picture; and
the motion that points in the largest *part of the picture* agree on is the camera's. A moved arm
has many points, but in one part of the picture.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_camera.charuco_board import Array, Image

_TILE = 40
"""Edge of the fields that points are spread over and counted by, pixels."""
_POINTS_PER_TILE = 6
_SEARCH_LEVELS = 3
_WINDOW = 21
_SHIFTS, _REACH = 3, 0.2
"""How many likely shifts are tried, and the largest, share of the picture."""
_THERE_AND_BACK = 0.3
"""A point that is followed to the live picture and back must come out this near, pixels."""
_TRIALS = 400
_FIELDS_FOR_PERSPECTIVE = 20
_AGREE, _FINAL_AGREE = 2.5, 1.0
"""How near a point must be to where a motion takes it, at first and in the end, pixels."""


class RegistrationError(RuntimeError):
    """The two pictures cannot be laid over each other; the message says what may be wrong."""


@dataclass(frozen=True, eq=False)
class Registration:
    """The background's motion from the reference to the live picture.

    Attributes:
        motion: projective, pixel (column, row, 1) of the reference to the live picture, (3, 3).
        points: that agree on it.
        followed: points that were recognised at all.
        fields: of the picture, 40 x 40 pixels, in which points agree.
        residual: median distance of the agreeing points from it, pixels.
    """

    motion: Array
    points: int
    followed: int
    fields: int
    residual: float

    def displacement(self, points: Array) -> Array:
        """How far the background at these pixels of the reference moved, (N, 2)."""
        moved = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ self.motion.T
        return moved[:, :2] / moved[:, 2:] - points

    def shift(self, points: Array) -> float:
        """The largest of these displacements, pixels."""
        return float(np.linalg.norm(self.displacement(points), axis=1).max())


def register(reference: Image, live: Image, *, fields_needed: int = 8) -> Registration:
    """Finds the background's motion.

    Args:
        reference: RGB, (H, W, 3), uint8.
        live: of the same size.
        fields_needed: in how many fields of the picture points have to agree.

    Raises:
        RegistrationError: other sizes, or too little is recognised.
    """
    if reference.shape != live.shape:
        raise RegistrationError(
            f"the reference has {reference.shape[1]}x{reference.shape[0]} pixels, the live picture "
            f"{live.shape[1]}x{live.shape[0]}; set the camera to the same profile, or save a new "
            "reference"
        )
    first, second = _flattened(reference), _flattened(live)
    start = _textured_points(first)
    results = [_from_shift(first, second, start, s) for s in _coarse_shifts(first, second)]
    usable = [result for result in results if result.fields >= fields_needed]
    if not usable:
        best = max(results, key=lambda result: result.fields)
        raise RegistrationError(
            "the background of the live picture is not that of the reference: "
            f"{best.followed} points were recognised, {best.points} of them in {best.fields} "
            f"fields agree (in {fields_needed} needed). Is the camera covered, dark, out of focus "
            "or moved far? Else save a new reference"
        )
    # On a surface whose pattern repeats, several motions fit its points; edges tell them apart.
    return max(usable, key=lambda result: _likeness(first, second, result.motion))


def _from_shift(
    first: NDArray[np.uint8], second: NDArray[np.uint8], start: NDArray[np.float32], shift: Array
) -> Registration:
    """The motion that is found when points are looked for near one shift."""
    found, good = _follow(first, second, start, shift)
    begin, found = start[good].astype(np.float64), found[good]
    fields = np.floor(begin / _TILE).astype(int)
    labels = fields[:, 0] * 1000 + fields[:, 1]
    agreeing = _largest_agreement(begin, found, labels)
    motion, agreeing = _refine(begin, found, labels, agreeing)
    result = Registration(
        motion, int(agreeing.sum()), len(begin), len(np.unique(labels[agreeing])), 0.0
    )
    if not agreeing.any():
        return result
    rest = np.linalg.norm(begin + result.displacement(begin) - found, axis=1)[agreeing]
    return dataclasses.replace(result, residual=float(np.median(rest)))


def _likeness(first: NDArray[np.uint8], second: NDArray[np.uint8], motion: Array) -> float:
    """How much of the live picture is the moved reference: correlation, mean over fields."""
    height, width = first.shape
    size = (width, height)
    moved = cv2.warpPerspective(first, motion, size, flags=cv2.INTER_LINEAR, borderValue=128)
    a, b = moved.astype(np.float32) - 128, second.astype(np.float32) - 128
    edge = (2 * _TILE, 2 * _TILE)
    product, energy_a, energy_b = (cv2.blur(x, edge) for x in (a * b, a * a, b * b))
    return float((product / np.sqrt((energy_a + 4.0) * (energy_b + 4.0))).mean())


def _flattened(image: Image) -> NDArray[np.uint8]:
    """Grey, with local mean and contrast taken out, so that light does not matter."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    mean = cv2.GaussianBlur(grey, (0, 0), 12.0)
    contrast = np.sqrt(cv2.GaussianBlur((grey - mean) ** 2, (0, 0), 24.0))
    # The floor keeps noise on plain surfaces from being blown up to texture.
    flat = (grey - mean) / (contrast + 4.0)
    return np.clip(128 + 40 * flat, 0, 255).astype(np.uint8)


def _coarse_shifts(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> list[Array]:
    """No shift, and those that phase correlation finds most likely."""
    height, width = first.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    a, b = ((image - image.mean()) * window for image in (first, second))
    cross = np.conj(np.fft.rfft2(a)) * np.fft.rfft2(b)
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), (height, width))
    surface = cv2.GaussianBlur(np.fft.fftshift(surface), (0, 0), 1.5)
    middle = np.array([width // 2, height // 2])
    reach = (np.array([width, height]) * _REACH).astype(int)
    near = middle - reach
    surface = surface[near[1] : middle[1] + reach[1], near[0] : middle[0] + reach[0]]
    shifts = [np.zeros(2)]
    for _ in range(_SHIFTS):
        row, column = np.unravel_index(int(surface.argmax()), surface.shape)
        shifts.append(np.array([column, row], dtype=np.float64) - reach)
        surface[max(row - 6, 0) : row + 7, max(column - 6, 0) : column + 7] = -np.inf
    return shifts


def _textured_points(flat: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Corners, a few in each field of the picture, (N, 2)."""
    quality = cv2.cornerMinEigenVal(flat, 7)
    peaks = quality >= cv2.dilate(quality, np.ones((9, 9)))
    rim = _WINDOW // 2
    peaks[:rim] = peaks[-rim:] = False
    peaks[:, :rim] = peaks[:, -rim:] = False
    rows, columns = np.nonzero(peaks & (quality > 0.02 * np.percentile(quality, 99.5)))
    order = np.argsort(-quality[rows, columns])
    counts: dict[tuple[int, int], int] = {}
    chosen = []
    for index in order.tolist():
        field = (int(columns[index]) // _TILE, int(rows[index]) // _TILE)
        if counts.get(field, 0) < _POINTS_PER_TILE:
            counts[field] = counts.get(field, 0) + 1
            chosen.append((columns[index], rows[index]))
    return np.array(chosen, dtype=np.float32).reshape(-1, 2)


def _follow(
    first: NDArray[np.uint8], second: NDArray[np.uint8], start: NDArray[np.float32], shift: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Where points went, looked for near one shift, and whether that can be trusted."""
    if len(start) == 0:
        return np.zeros((0, 2)), np.zeros(0, bool)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 0.005)
    flow: dict[str, Any] = {
        "winSize": (_WINDOW, _WINDOW),
        "maxLevel": _SEARCH_LEVELS,
        "criteria": criteria,
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    guess = (start + shift).astype(np.float32)
    there, ok, _ = cv2.calcOpticalFlowPyrLK(first, second, start, guess, **flow)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
        second, first, there, (there - shift).astype(np.float32), **flow
    )
    height, width = first.shape
    inside = ((there >= 0) & (there < (width, height))).all(axis=1)
    close = np.linalg.norm(back - start, axis=1) < _THERE_AND_BACK
    return there.astype(np.float64), (ok.ravel() == 1) & (ok_back.ravel() == 1) & inside & close


def _largest_agreement(start: Array, found: Array, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Points that agree on one shift, turn and scale; of all such, those in the most fields."""
    best, best_score = np.zeros(len(start), bool), -1.0
    if len(start) < 3:
        return best
    rng = np.random.default_rng(0)  # the same pictures give the same answer
    z, w = start @ (1, 1j), found @ (1, 1j)
    for _ in range(_TRIALS):
        i, j = rng.choice(len(z), 2, replace=False)
        if abs(z[j] - z[i]) < 2 * _TILE:
            continue
        turn = (w[j] - w[i]) / (z[j] - z[i])
        if not 0.8 < abs(turn) < 1.25:
            continue
        agreeing = np.abs(w[i] + turn * (z - z[i]) - w) < _AGREE
        score = len(np.unique(labels[agreeing])) + 0.001 * float(agreeing.sum())
        if score > best_score:
            best, best_score = agreeing, score
    return best


def _refine(
    start: Array, found: Array, labels: NDArray[np.int64], agreeing: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """Least squares over the agreeing points, each field counting alike; more points may join."""
    motion = np.eye(3)
    for limit in (_AGREE, 1.5, _FINAL_AGREE, _FINAL_AGREE):
        fields = np.unique(labels[agreeing])
        if len(fields) < 3:
            break
        counts = np.array([(labels[agreeing] == field).sum() for field in fields])
        weights = 1.0 / counts[np.searchsorted(fields, labels[agreeing])]
        motion = _fit_motion(start[agreeing], found[agreeing], weights, len(fields))
        moved = np.concatenate([start, np.ones((len(start), 1))], axis=1) @ motion.T
        agreeing = np.linalg.norm(moved[:, :2] / moved[:, 2:] - found, axis=1) < limit
    return motion, agreeing


def _fit_motion(start: Array, found: Array, weights: Array, fields: int) -> Array:
    """A projective motion where enough of the picture supports it, else shift, turn and scale."""
    centre, scale = start.mean(axis=0), max(float(start.std()), 1.0)
    a, b = (start - centre) / scale, (found - centre) / scale
    root = np.tile(np.sqrt(weights), 2)
    ones, zeros = np.ones(len(a)), np.zeros(len(a))
    x, y, target = a[:, 0], a[:, 1], b.T.ravel()
    if fields >= _FIELDS_FOR_PERSPECTIVE:
        top = np.stack([x, y, ones, zeros, zeros, zeros, -b[:, 0] * x, -b[:, 0] * y], axis=1)
        low = np.stack([zeros, zeros, zeros, x, y, ones, -b[:, 1] * x, -b[:, 1] * y], axis=1)
    else:
        top = np.stack([x, -y, ones, zeros], axis=1)
        low = np.stack([y, x, zeros, ones], axis=1)
    system = np.concatenate([top, low]) * root[:, None]
    solution = np.linalg.lstsq(system, target * root, rcond=None)[0]
    if fields >= _FIELDS_FOR_PERSPECTIVE:
        local = np.append(solution, 1.0).reshape(3, 3)
    else:
        p, q, dx, dy = solution
        local = np.array([[p, -q, dx], [q, p, dy], [0, 0, 1]])
    outer = np.array([[scale, 0, centre[0]], [0, scale, centre[1]], [0, 0, 1]])
    return np.asarray(outer @ local @ np.linalg.inv(outer))
