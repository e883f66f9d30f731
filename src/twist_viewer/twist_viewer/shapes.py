"""What is shown, as plain shapes in the base frame: the same for RViz, Foxglove and the overlay."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import PolicyContract

FloatArray = NDArray[np.float64]
Colour = tuple[float, float, float, float]
"""Red, green, blue, opacity; each in [0, 1]."""

BOX_COLOUR: Colour = (0.75, 0.78, 0.82, 0.9)
LEASH_COLOUR: Colour = (1.0, 0.85, 0.2, 0.25)
TARGET_COLOUR: Colour = (1.0, 0.75, 0.0, 1.0)
TOOL_COLOUR: Colour = (1.0, 1.0, 1.0, 1.0)
EE_COLOUR: Colour = (0.0, 0.85, 0.95, 1.0)
OBJECT_COLOUR: Colour = (0.2, 1.0, 0.45, 1.0)
GOAL_COLOUR: Colour = (1.0, 0.3, 0.85, 1.0)
TEXT_COLOUR: Colour = (1.0, 1.0, 1.0, 1.0)
WARNING_COLOUR: Colour = (1.0, 0.35, 0.25, 1.0)

_CIRCLE = 32
_LINE = 0.003
"""Width of lines, metres."""


class Kind(enum.Enum):
    """How a shape's points are meant."""

    SEGMENTS = "pairs of points, a straight line between the two of each pair"
    PATH = "one line through all points"
    SPHERE = "one point, the centre; size is the diameter"
    TEXT = "one point, where the text stands; size is the letters' height"


@dataclass(frozen=True)
class Shape:
    """One thing to show.

    Attributes:
        name: what it is; unique.
        kind: how `points` are meant.
        points: metres, base frame, (N, 3).
        size: diameter, letters' height or line width, metres.
        colour: see `Colour`.
        text: of a ``TEXT``.
    """

    name: str
    kind: Kind
    points: FloatArray
    size: float
    colour: Colour
    text: str = ""


@dataclass(frozen=True)
class Step:
    """What is shown of a twist_msgs/PolicyStep: metres, base frame, (3,) each."""

    step: int
    measured: FloatArray
    target: FloatArray
    surprise: float
    speed_scale: float
    limited_by: tuple[str, ...]


@dataclass(frozen=True)
class Believed:
    """What is shown of a twist_msgs/Belief: metres, base frame; NaN where the policy tells nothing.

    Attributes:
        ee: tool tip, (3,).
        object: object's centre, (3,).
        goal: goal's centre, (3,).
        ee_path: imagined tool tips, (N, 3).
        object_path: imagined object centres, (N, 3).
        yaw: of the object about +z, radians; a cube's repeats every quarter turn.
    """

    ee: FloatArray
    object: FloatArray
    goal: FloatArray
    ee_path: FloatArray
    object_path: FloatArray
    yaw: float = 0.0


class ShapeBuilder:
    """Makes the shapes of one task.

    Args:
        contract: workspace and leash.
        object_size: edge of the cube, metres.
        goal_radius: of the disc, metres; None for a task without one.
        surprise_limit: nats above which the text turns red.
    """

    def __init__(
        self,
        contract: PolicyContract,
        object_size: float,
        goal_radius: float | None,
        surprise_limit: float = 60.0,
    ) -> None:
        self._leash = contract.leash
        self._lower = np.array(contract.workspace.lower)
        self._upper = np.array(contract.workspace.upper)
        self._object_size = object_size
        self._goal_radius = goal_radius
        self._surprise_limit = surprise_limit

    def fixed(self) -> list[Shape]:
        """What does not change: the workspace box."""
        centre, size = (self._lower + self._upper) / 2, self._upper - self._lower
        return [Shape("workspace", Kind.SEGMENTS, _box_edges(centre, size, 0.0), _LINE, BOX_COLOUR)]

    def of_step(self, step: Step) -> list[Shape]:
        """Measured tool, target, the leash between them, and surprise in words."""
        slowed = f", {step.speed_scale:.0%} speed" if step.speed_scale < 1 else ""
        if step.speed_scale == 0:
            slowed = ", dry run"
        limits = f", limited by {', '.join(step.limited_by)}" if step.limited_by else ""
        alarming = not step.surprise < self._surprise_limit
        return [
            Shape("measured_tool", Kind.SPHERE, step.measured[None], 0.012, TOOL_COLOUR),
            Shape("target", Kind.SPHERE, step.target[None], 0.016, TARGET_COLOUR),
            Shape("leash", Kind.SPHERE, step.measured[None], 2 * self._leash, LEASH_COLOUR),
            Shape(
                "surprise",
                Kind.TEXT,
                np.array([[self._lower[0], self._upper[1], self._upper[2] + 0.04]]),
                0.025,
                WARNING_COLOUR if alarming else TEXT_COLOUR,
                f"step {step.step}, surprise {step.surprise:.1f} nats{slowed}{limits}",
            ),
        ]

    def of_belief(self, belief: Believed) -> list[Shape]:
        """Believed tool, object and goal, and the imagined paths; what is not told is left out."""
        shapes = [
            Shape("believed_tool", Kind.SPHERE, belief.ee[None], 0.012, EE_COLOUR),
            Shape(
                "believed_object",
                Kind.SEGMENTS,
                _box_edges(belief.object, np.full(3, self._object_size), belief.yaw),
                _LINE,
                OBJECT_COLOUR,
            ),
            Shape("imagined_tool_path", Kind.PATH, belief.ee_path, _LINE, EE_COLOUR),
            Shape("imagined_object_path", Kind.PATH, belief.object_path, _LINE, OBJECT_COLOUR),
        ]
        if self._goal_radius is not None:
            ring = _circle(belief.goal, self._goal_radius)
            shapes.append(Shape("believed_goal", Kind.PATH, ring, _LINE, GOAL_COLOUR))
        return [shape for shape in shapes if len(shape.points) and np.isfinite(shape.points).all()]


def yaw_of(names: Sequence[str], values: ArrayLike) -> float:
    """The object's yaw out of a belief's numbers; 0 when they hold none.

    Block push and block lift tell the sine and cosine of four times the yaw.

    Args:
        names: of the numbers, as in twist_msgs/Belief.
        values: the numbers.
    """
    table = dict(zip(names, np.asarray(values, dtype=np.float64).tolist(), strict=False))
    sine = table.get("object_yaw_sin_cos_4.0")
    cosine = table.get("object_yaw_sin_cos_4.1")
    if sine is None or cosine is None or not math.isfinite(sine + cosine):
        return 0.0
    return math.atan2(sine, cosine) / 4


def _box_edges(centre: ArrayLike, size: ArrayLike, yaw: float) -> FloatArray:
    """The 12 edges as 24 points, (24, 3)."""
    corners = np.array(
        [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    ) * np.asarray(size)
    sine, cosine = math.sin(yaw), math.cos(yaw)
    corners = corners @ np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    pairs = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b) in (1, 2, 4)]
    edges: FloatArray = np.asarray(centre) + corners[np.array(pairs).ravel()]
    return edges


def _circle(centre: ArrayLike, radius: float) -> FloatArray:
    angles = np.linspace(0.0, 2 * np.pi, _CIRCLE + 1)
    flat = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    ring: FloatArray = np.asarray(centre) + radius * flat
    return ring
