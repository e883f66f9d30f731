"""Sub-pixel edges along a predicted outline, and the fit of the outline's parameters to them.

The contour is predicted from the camera model, and the true edge is searched along its normals
(Harris and Stennett 1990, "RAPID"). Where it is hidden, or another thing's, it is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_evaluation.observer.colours import ColourModel, Image, has_colour

Array = NDArray[np.float64]

_REACH = 9.0  # pixels to either side of the predicted outline
_STEP = 0.5
_PLATEAU = 3.0  # pixels over which the colour of a side is averaged
_SMALLEST_CONTRAST = 18.0  # 8-bit counts between both sides
_TUKEY = 4.685
_SMALLEST_SCALE = 0.12  # pixels: no edge is found better than that
_ROUNDS = 8
_CORRELATED = 4.0
"""Neighbouring samples of an outline share their pixels; this many count as one."""


class Outline(Protocol):
    """A convex outline that depends on parameters, shape (P,)."""

    def points(self, parameters: Array) -> Array:
        """Pixels, shape (N, 2); always the same points of the thing."""

    def normals(self, parameters: Array) -> Array:
        """Outward unit normals at the points, shape (N, 2)."""


@dataclass(frozen=True)
class EdgeFit:
    """Parameters of an outline, fitted to the picture's edges.

    Attributes:
        parameters: shape (P,).
        covariance: shape (P, P).
        used: share of the outline whose edge was seen, in [0, 1].
        residual: robust standard deviation of the edges from the outline, pixels.
    """

    parameters: Array
    covariance: Array
    used: float
    residual: float


def edge_offsets(
    frame: NDArray[np.float32], points: Array, normals: Array, colours: ColourModel, name: str
) -> tuple[Array, NDArray[np.bool_]]:
    """How far outside the predicted points the true edge lies.

    Args:
        frame: (H, W, 3) RGB.
        points: (N, 2) pixels on the predicted outline.
        normals: (N, 2) unit vectors, outward.
        colours: of cube and goal.
        name: whose outline it is: ``cube`` or ``goal``.

    Returns:
        Offsets (N,) along the normals, pixels, and (N,) whether an edge between the thing and
        something else was seen.
    """
    reach = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    where = points[:, None] + reach[None, :, None] * normals[:, None]
    profiles = cv2.remap(
        frame,
        where[..., 0].astype(np.float32),
        where[..., 1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).reshape(len(points), len(reach), 3)
    offsets, seen = np.zeros(len(points)), np.zeros(len(points), dtype=bool)
    # The edge may lie anywhere within the reach: sides are taken around each possible place, first
    # around the one where the thing's own colour ends.
    own = has_colour(profiles.reshape(-1, 3), colours, name).reshape(len(points), len(reach))
    for index in range(len(points)):
        offset = _edge(profiles[index], own[index], reach)
        if offset is not None:
            offsets[index], seen[index] = offset, True
    return offsets, seen


def _edge(profile: NDArray[np.float32], own: NDArray[np.bool_], reach: Array) -> float | None:
    """Where a profile's colour ends: half-way between the colours of both sides."""
    ends = np.flatnonzero(own[:-1] & ~own[1:])
    if not len(ends):
        return None
    rough = int(ends[np.argmin(np.abs(reach[ends]))])
    margin, plateau = round(2.0 / _STEP), round(_PLATEAU / _STEP)
    inside = slice(max(0, rough - margin - plateau), max(1, rough - margin + 1))
    outside = slice(
        min(len(reach) - 2, rough + margin + 1), min(len(reach), rough + margin + plateau + 1)
    )
    if not own[inside].mean() > 0.7 or own[outside].mean() > 0.3:
        return None
    first, last = profile[inside].mean(axis=0), profile[outside].mean(axis=0)
    change = last - first
    contrast = float(np.linalg.norm(change))
    if contrast < _SMALLEST_CONTRAST:
        return None
    share = (profile - first) @ change / contrast**2
    crossing = np.flatnonzero((share[:-1] < 0.5) & (share[1:] >= 0.5))
    if not len(crossing):
        return None
    place = int(crossing[np.argmin(np.abs(crossing - rough))])
    part = (0.5 - share[place]) / (share[place + 1] - share[place])
    return float(reach[place] + part * _STEP)


def fit_outline(
    frame: Image,
    outline: Outline,
    start: Array,
    colours: ColourModel,
    name: str,
    *,
    steps: Array,
    hidden: Callable[[Array], NDArray[np.bool_]] | None = None,
    least_seen: float = 0.25,
) -> EdgeFit | None:
    """Fits an outline's parameters to the edges of the picture, robustly (Tukey's biweight).

    Args:
        frame: (H, W, 3) uint8 RGB.
        outline: for given parameters.
        start: parameters to start from, shape (P,).
        colours: of cube and goal.
        name: whose outline it is.
        steps: for numerical derivatives, shape (P,).
        hidden: which of (N, 2) points cannot be seen.
        least_seen: smallest share of the outline that has to be seen.

    Returns:
        None when too little of the outline is seen.
    """
    picture = cv2.GaussianBlur(frame, (0, 0), 0.7).astype(np.float32)
    parameters = np.array(start, dtype=np.float64)
    used, scale, information = 0.0, 1.0, np.zeros((len(parameters),) * 2)
    for _ in range(_ROUNDS):
        points, normals = outline.points(parameters), outline.normals(parameters)
        offsets, seen = edge_offsets(picture, points, normals, colours, name)
        if hidden is not None:
            seen &= ~hidden(points)
        used = float(seen.mean())
        if used < least_seen or seen.sum() < 3 * len(parameters):
            return None
        jacobian = np.stack(
            [
                ((outline.points(parameters + delta) - points) * normals).sum(axis=1) / step
                for delta, step in zip(np.diag(steps), steps, strict=True)
            ],
            axis=1,
        )[seen]
        residuals = offsets[seen]
        scale = max(_SMALLEST_SCALE, 1.4826 * float(np.median(np.abs(residuals))))
        ratio = residuals / (_TUKEY * scale)
        weights = np.where(np.abs(ratio) < 1, (1 - ratio**2) ** 2, 0.0)
        information = jacobian.T @ (weights[:, None] * jacobian)
        change = np.linalg.lstsq(information, jacobian.T @ (weights * residuals), rcond=None)[0]
        parameters = parameters + change
        if np.all(np.abs(change) < 0.01 * steps):
            break
    try:
        covariance = np.asarray(scale**2 * _CORRELATED * np.linalg.inv(information))
    except np.linalg.LinAlgError:
        return None
    return EdgeFit(np.asarray(parameters), covariance.astype(np.float64), used, scale)
