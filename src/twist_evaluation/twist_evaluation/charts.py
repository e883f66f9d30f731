"""Charts as SVG text: small, sharp at any size, and nothing to download."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from twist_evaluation.trial_record import Scene, Track

_TRUE, _BELIEVED, _GRID, _TEXT, _AXIS = "#0f172a", "#2563eb", "#e8ecf2", "#64748b", "#cbd5e1"
_GOAL, _GOAL_FILL, _TOOL = "#e11d48", "#ffe4e9", "#94a3b8"
_FONT = 'font-family="inherit" font-size="11"'
_HALO = 'paint-order="stroke" stroke="#fff" stroke-width="4" stroke-linejoin="round"'


@dataclass(frozen=True)
class Series:
    """A line in a chart.

    Attributes:
        x: (N,) ascending.
        y: (N,) values; gaps where not finite.
        colour: of the line, CSS.
        name: shown when pointed at.
        width: of the line, pixels.
        opacity: of the line.
    """

    x: np.ndarray
    y: np.ndarray
    colour: str
    name: str = ""
    width: float = 1.5
    opacity: float = 1.0


@dataclass(frozen=True)
class Marker:
    """A labelled vertical line of a histogram, or horizontal line of a line chart."""

    value: float
    label: str
    colour: str = "#e11d48"


@dataclass(frozen=True)
class _Plane:
    """Maps data to the pixels of a chart with axes."""

    width: int
    height: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: int = 46
    right: int = 14
    top: int = 14
    bottom: int = 36

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        share = (value - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from `low` to `high` (steps of 1, 2 or 5 times a power of 10)."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def histogram(
    values: np.ndarray,
    *,
    x_label: str,
    markers: Sequence[Marker] = (),
    colour: str = "#6366f1",
    bins: int = 36,
    width: int = 560,
    height: int = 230,
) -> str:
    """Histogram of the finite `values`, in the unit of `x_label`, from zero or what is below."""
    data = np.asarray(values, dtype=np.float64)
    data = data[np.isfinite(data)]
    if not data.size:
        return _empty(width, height)
    # Rare extremes must not squeeze the rest into one bar: they are gathered in the last one.
    top = float(max(np.percentile(data, 99.5) * 1.25, *(m.value * 1.08 for m in markers), 1e-9))
    low = min(0.0, float(data.min()))  # a camera's clock may be a little ahead
    counts, edges = np.histogram(np.minimum(data, top), bins=bins, range=(low, top))
    plane = _Plane(width, height, (low, top), (0.0, float(counts.max()) * 1.12))
    bars = "".join(
        f'<rect x="{plane.x(a) + 0.6:.1f}" y="{plane.y(n):.1f}" '
        f'width="{max(0.5, plane.x(b) - plane.x(a) - 1.2):.1f}" '
        f'height="{plane.y(0) - plane.y(n):.1f}" rx="1.5" fill="{colour}" opacity="0.85">'
        f"<title>{a:.3g} to {b:.3g}: {n}</title></rect>"
        for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
        if n
    )
    lines = ""
    for row, marker in enumerate(sorted(markers, key=lambda m: m.value)):
        x = plane.x(marker.value)
        anchor = "end" if x > width * 0.6 else "start"
        offset = -5 if anchor == "end" else 5
        lines += (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plane.top}" y2="{plane.y(0):.1f}" '
            f'stroke="{marker.colour}" stroke-width="1.4" stroke-dasharray="4 3"/>'
            f'<text x="{x + offset:.1f}" y="{plane.top + 10 + 14 * row}" text-anchor="{anchor}" '
            f'fill="{marker.colour}" font-weight="600" {_FONT} {_HALO}>'
            f"{escape(marker.label)}</text>"
        )
    return _svg(width, height, _axes(plane, x_label, "count") + bars + lines)


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    markers: Sequence[Marker] = (),
    width: int = 560,
    height: int = 230,
) -> str:
    """Lines over a common x; y starts at zero or below and leaves out the rarest extremes."""
    points = [s for s in series if np.isfinite(s.y).any()]
    if not points:
        return _empty(width, height)
    every = np.concatenate([s.y[np.isfinite(s.y)] for s in points])
    top = max(float(np.percentile(every, 99.7)) * 1.15, *(m.value * 1.1 for m in markers), 1e-9)
    right = max(max(float(s.x.max()) for s in points), 1e-9)
    plane = _Plane(width, height, (0.0, right), (min(0.0, float(every.min())), top))
    body = "".join(_polyline(s, plane) for s in points)
    for marker in markers:
        y = plane.y(marker.value)
        body += (
            f'<line x1="{plane.left}" x2="{width - plane.right}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{marker.colour}" stroke-width="1.2" stroke-dasharray="4 3"/>'
            f'<text x="{width - plane.right}" y="{y - 4:.1f}" text-anchor="end" '
            f'fill="{marker.colour}" {_FONT} {_HALO}>{escape(marker.label)}</text>'
        )
    return _svg(width, height, _axes(plane, x_label, y_label) + body)


def table_map(truth: Track, belief: Track, scene: Scene, *, width: int = 260) -> str:
    """The table from above, as the camera faces it: the robot is above. One trial's paths.

    Shows the true and the believed path of the object, the tool's path, and the goal.
    """
    view = _TableView(scene, width)
    body = view.frame()
    goal = truth.goal if len(truth.goal) else belief.goal
    if len(goal) and scene.goal_radius > 0:
        body += view.goal(goal[-1])
    body += view.path(truth.tool, _TOOL, 1.0, "tool tip", dash="2 3")
    body += view.path(belief.object, _BELIEVED, 1.6, "believed path", dash="4 3")
    body += view.path(truth.object, _TRUE, 2.0, "true path")
    if len(truth.object):
        body += view.cube(truth.object[0], filled=False) + view.cube(truth.object[-1], filled=True)
    return _svg(width, view.height, body)


def paths_relative_to_goal(
    tracks: Sequence[tuple[Track, str, str]], scene: Scene, *, width: int = 420
) -> str:
    """All true paths of the object with the goals laid on top of one another; robot above.

    Args:
        tracks: (true states, colour, name) of each trial.
        scene: sizes.
        width: pixels; the chart is square.
    """
    paths = [(t.object - t.goal[-1:], colour, name) for t, colour, name in tracks if len(t.object)]
    reach = max([scene.goal_radius * 2, *(float(np.abs(p).max()) for p, _, _ in paths)]) * 1.08
    plane = _Plane(width, width, (-reach, reach), (-reach, reach))
    ticks = nice_ticks(-reach * 100, reach * 100, 6)
    body = ""
    for tick in ticks:
        x, y = plane.x(tick / 100), plane.y(-tick / 100)
        body += (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plane.top}" y2="{width - plane.bottom}" '
            f'stroke="{_GRID}"/><line x1="{plane.left}" x2="{width - plane.right}" y1="{y:.1f}" '
            f'y2="{y:.1f}" stroke="{_GRID}"/>'
            f'<text x="{x:.1f}" y="{width - plane.bottom + 15}" text-anchor="middle" '
            f'fill="{_TEXT}" {_FONT}>{tick:g}</text>'
            f'<text x="{plane.left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{_TEXT}" '
            f"{_FONT}>{tick:g}</text>"
        )
    body += _axis_labels(plane, "y from goal, cm", "x from goal, cm")
    radius = scene.goal_radius / reach * (width - plane.left - plane.right) / 2
    vertical = scene.goal_radius / reach * (width - plane.top - plane.bottom) / 2
    body += (
        f'<ellipse cx="{plane.x(0):.1f}" cy="{plane.y(0):.1f}" rx="{radius:.1f}" '
        f'ry="{vertical:.1f}" fill="{_GOAL_FILL}" stroke="{_GOAL}" stroke-width="1.4"/>'
    )
    for path, colour, name in paths:
        points = " ".join(f"{plane.x(y):.1f},{plane.y(-x):.1f}" for x, y in _thin(path))
        x, y = path[-1]
        body += (
            f'<g><title>{escape(name)}</title><polyline points="{points}" fill="none" '
            f'stroke="{colour}" stroke-width="1.5" opacity="0.6" stroke-linejoin="round"/>'
            f'<circle cx="{plane.x(y):.1f}" cy="{plane.y(-x):.1f}" r="4" fill="{colour}" '
            'stroke="#fff" stroke-width="1.2"/></g>'
        )
    return _svg(width, width, body)


def interval_bar(estimate: float, low: float, high: float, *, colour: str = "#16a34a") -> str:
    """A rate in [0, 1] with its interval on a scale from 0 to 100 %."""
    left, span, y = 16, 364, 20
    marks = "".join(
        f'<text x="{left + span * p / 100}" y="44" text-anchor="middle" fill="{_TEXT}" '
        f"{_FONT}>{p} %</text>"
        for p in (0, 25, 50, 75, 100)
    )
    dot = (
        f'<circle cx="{left + span * estimate:.1f}" cy="{y}" r="7" fill="{colour}" '
        'stroke="#fff" stroke-width="2"/>'
        if math.isfinite(estimate)
        else ""
    )
    return _svg(
        400,
        50,
        f'<rect x="{left}" y="{y - 4}" width="{span}" height="8" rx="4" fill="{_GRID}"/>'
        f'<rect x="{left + span * low:.1f}" y="{y - 4}" width="{span * (high - low):.1f}" '
        f'height="8" rx="4" fill="{colour}" opacity="0.4"/>{dot}{marks}',
    )


def sparkline(values: np.ndarray, *, width: int = 220, height: int = 34) -> str:
    """A tiny line without axes, from zero to the largest value."""
    finite = values[np.isfinite(values)]
    if finite.size < 2:
        return ""
    top = float(finite.max()) or 1.0
    xs = np.linspace(2, width - 2, finite.size)
    points = " ".join(
        f"{x:.1f},{height - 3 - (height - 6) * v / top:.1f}"
        for x, v in zip(xs, finite, strict=True)
    )
    return _svg(
        width,
        height,
        f'<polyline points="{points}" fill="none" stroke="#8b5cf6" stroke-width="1.4" '
        'stroke-linejoin="round"/>',
    )


class _TableView:
    """The workspace from above: base frame x points down, y to the right; the robot is above."""

    def __init__(self, scene: Scene, width: int) -> None:
        margin = 0.03
        self._scene = scene
        self._x_top = scene.lower[0] - margin
        self._y_left = scene.lower[1] - margin
        self._scale = width / (scene.upper[1] - scene.lower[1] + 2 * margin)
        self._width = width
        self.height = round((scene.upper[0] - scene.lower[0] + 2 * margin) * self._scale)

    def _at(self, position: np.ndarray) -> tuple[float, float]:
        return (
            (float(position[1]) - self._y_left) * self._scale,
            (float(position[0]) - self._x_top) * self._scale,
        )

    def frame(self) -> str:
        left, top = self._at(np.array(self._scene.lower))
        right, bottom = self._at(np.array(self._scene.upper))
        grid = ""
        for i in range(1, 10):
            offset = i * 0.1 * self._scale
            if left + offset < right:
                x = left + offset
                grid += f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
            if top + offset < bottom:
                y = top + offset
                grid += f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        return (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}" rx="6" fill="#fafbfd" stroke="{_AXIS}"/>'
            f'<g stroke="{_GRID}">{grid}</g>'
        )

    def goal(self, position: np.ndarray) -> str:
        x, y = self._at(position)
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{self._scene.goal_radius * self._scale:.1f}" '
            f'fill="{_GOAL_FILL}" stroke="{_GOAL}" stroke-width="1.4"><title>goal, radius '
            f"{self._scene.goal_radius * 100:g} cm</title></circle>"
        )

    def path(
        self, positions: np.ndarray, colour: str, width: float, name: str, dash: str = ""
    ) -> str:
        if len(positions) < 2:
            return ""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._at, _thin(positions)))
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        return (
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-linejoin="round" stroke-linecap="round"{dashes}><title>{name}</title>'
            "</polyline>"
        )

    def cube(self, position: np.ndarray, *, filled: bool) -> str:
        x, y = self._at(position)
        edge = self._scene.object_size * self._scale
        fill = f'fill="{_TRUE}" fill-opacity="0.85"' if filled else 'fill="#fff"'
        return (
            f'<rect x="{x - edge / 2:.1f}" y="{y - edge / 2:.1f}" width="{edge:.1f}" '
            f'height="{edge:.1f}" rx="2.5" {fill} stroke="{_TRUE}" stroke-width="1.4">'
            f"<title>cube at the {'end' if filled else 'start'}</title></rect>"
        )


def _polyline(series: Series, plane: _Plane) -> str:
    top = plane.y_range[1]
    points = " ".join(
        f"{plane.x(x):.1f},{plane.y(min(y, top)):.1f}"
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(y)
    )
    return (
        f'<polyline points="{points}" fill="none" stroke="{series.colour}" '
        f'stroke-width="{series.width}" opacity="{series.opacity}" stroke-linejoin="round">'
        f"<title>{escape(series.name)}</title></polyline>"
    )


def _axes(plane: _Plane, x_label: str, y_label: str) -> str:
    parts = []
    for tick in nice_ticks(*plane.y_range, 4):
        y = plane.y(tick)
        parts.append(
            f'<line x1="{plane.left}" x2="{plane.width - plane.right}" y1="{y:.1f}" '
            f'y2="{y:.1f}" stroke="{_GRID}"/><text x="{plane.left - 6}" y="{y + 4:.1f}" '
            f'text-anchor="end" fill="{_TEXT}" {_FONT}>{tick:g}</text>'
        )
    for tick in nice_ticks(*plane.x_range, 7):
        parts.append(
            f'<text x="{plane.x(tick):.1f}" y="{plane.height - plane.bottom + 15}" '
            f'text-anchor="middle" fill="{_TEXT}" {_FONT}>{tick:g}</text>'
        )
    base = plane.height - plane.bottom
    parts.append(
        f'<line x1="{plane.left}" x2="{plane.width - plane.right}" y1="{base}" y2="{base}" '
        f'stroke="{_AXIS}"/>'
    )
    return "".join(parts) + _axis_labels(plane, x_label, y_label)


def _axis_labels(plane: _Plane, x_label: str, y_label: str) -> str:
    middle_x = (plane.left + plane.width - plane.right) / 2
    middle_y = (plane.top + plane.height - plane.bottom) / 2
    return (
        f'<text x="{middle_x:.0f}" y="{plane.height - 5}" text-anchor="middle" fill="{_TEXT}" '
        f"{_FONT}>{escape(x_label)}</text>"
        f'<text transform="translate(12 {middle_y:.0f}) rotate(-90)" text-anchor="middle" '
        f'fill="{_TEXT}" {_FONT}>{escape(y_label)}</text>'
    )


def _thin(positions: np.ndarray, limit: int = 240) -> np.ndarray:
    """At most about `limit` rows, the last one kept."""
    step = max(1, len(positions) // limit)
    return np.concatenate([positions[:-1:step], positions[-1:]])


def _empty(width: int, height: int) -> str:
    return _svg(
        width,
        height,
        f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle" fill="{_TEXT}" {_FONT}>'
        "nothing was recorded</text>",
    )


def _svg(width: float, height: float, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" '
        f'style="width:100%;max-width:{width * 1.6:g}px;height:auto">{body}</svg>'
    )
