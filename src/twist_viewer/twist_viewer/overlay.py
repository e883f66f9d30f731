"""The shapes drawn over the camera's image, through the camera's model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from twist_policy.contract import CameraModel
from twist_sim.camera_geometry import project
from twist_viewer.shapes import Colour, FloatArray, Kind, Shape

_LEGEND = (
    ("measured_tool", "measured tool"),
    ("target", "target"),
    ("leash", "leash"),
    ("believed_tool", "believed tool, imagined path"),
    ("believed_object", "believed cube, imagined path"),
    ("believed_goal", "believed goal"),
)
_SCALE = 2
"""Shapes are drawn this much larger and shrunk, which smooths their edges."""


def draw_overlay(
    frame: NDArray[np.uint8], shapes: Sequence[Shape], camera: CameraModel, *, legend: bool = True
) -> NDArray[np.uint8]:
    """Draws shapes over a frame.

    Args:
        frame: rgb, (H, W, 3), of the camera's size.
        shapes: in the base frame; later ones cover earlier ones, and opaque ones translucent
            ones. What is behind the camera is left out.
        camera: pose and intrinsics.
        legend: whether the colours are explained in a corner.

    Returns:
        A new image, uint8, (H, W, 3).
    """
    height, width = frame.shape[:2]
    layer = Image.new("RGBA", (width * _SCALE, height * _SCALE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    # What is translucent comes first: drawing replaces what is below, it does not blend.
    for shape in sorted(shapes, key=lambda shape: shape.colour[3] == 1.0):
        _DRAW[shape.kind](pen, shape, camera)
    layer = layer.resize((width, height), Image.Resampling.BOX)
    picture = Image.fromarray(frame).convert("RGBA")
    picture.alpha_composite(layer)
    picture = picture.convert("RGB")
    writing = ImageDraw.Draw(picture, "RGBA")  # blends; on an RGBA picture it would replace
    texts = [shape for shape in shapes if shape.kind is Kind.TEXT]
    _caption(writing, texts, width)
    if legend:
        _explain(writing, {shape.name: shape.colour for shape in shapes}, height)
    return np.asarray(picture)


def _rgba(colour: Colour, opacity: float | None = None) -> tuple[int, int, int, int]:
    red, green, blue, alpha = (round(255 * value) for value in colour)
    return red, green, blue, alpha if opacity is None else round(255 * opacity)


def _pixels(camera: CameraModel, points: FloatArray) -> list[tuple[float, float]]:
    """Where points fall, in the enlarged layer; NaN behind the camera."""
    return [(float(u) * _SCALE, float(v) * _SCALE) for u, v in project(camera, points)]


def _seen(*points: tuple[float, float]) -> bool:
    return bool(np.isfinite(points).all())


def _draw_segments(pen: ImageDraw.ImageDraw, shape: Shape, camera: CameraModel) -> None:
    pixels = _pixels(camera, shape.points)
    for begin, end in zip(pixels[::2], pixels[1::2], strict=True):
        if _seen(begin, end):
            pen.line([begin, end], fill=_rgba(shape.colour), width=_SCALE)


def _draw_path(pen: ImageDraw.ImageDraw, shape: Shape, camera: CameraModel) -> None:
    pixels = _pixels(camera, shape.points)
    for begin, end in itertools.pairwise(pixels):
        if _seen(begin, end):
            pen.line([begin, end], fill=_rgba(shape.colour), width=2 * _SCALE)


def _draw_sphere(pen: ImageDraw.ImageDraw, shape: Shape, camera: CameraModel) -> None:
    (centre,) = _pixels(camera, shape.points)
    if not _seen(centre):
        return
    distance = float(np.linalg.norm(shape.points[0] - np.asarray(camera.position)))
    radius = max(shape.size / 2 * camera.fx / distance, 3.0) * _SCALE
    box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
    solid = shape.colour[3] == 1.0
    pen.ellipse(
        box,
        fill=_rgba(shape.colour, None if solid else shape.colour[3] / 2),
        outline=_rgba((0.0, 0.0, 0.0, 1.0)) if solid else _rgba(shape.colour, 0.9),
        width=_SCALE,
    )


def _draw_nothing(pen: ImageDraw.ImageDraw, shape: Shape, camera: CameraModel) -> None:
    """Texts come at the end, at full resolution."""


_DRAW = {
    Kind.SEGMENTS: _draw_segments,
    Kind.PATH: _draw_path,
    Kind.SPHERE: _draw_sphere,
    Kind.TEXT: _draw_nothing,
}


def _caption(pen: ImageDraw.ImageDraw, texts: Sequence[Shape], width: int) -> None:
    font = ImageFont.load_default(15)
    row = 0
    for text in texts:
        pen.rectangle((0, row, width, row + 22), fill=(0, 0, 0, 150))
        pen.text((8, row + 2), text.text, fill=_rgba(text.colour), font=font)
        row += 22


def _explain(pen: ImageDraw.ImageDraw, colours: dict[str, Colour], height: int) -> None:
    font = ImageFont.load_default(12)
    lines = [(label, colours[name]) for name, label in _LEGEND if name in colours]
    if not lines:
        return
    top = height - 16 * len(lines) - 8
    pen.rectangle((0, top, 206, height), fill=(0, 0, 0, 130))
    for index, (label, colour) in enumerate(lines):
        row = top + 4 + 16 * index
        pen.ellipse((8, row + 3, 18, row + 13), fill=_rgba(colour, 1.0))
        pen.text((26, row), label, fill=(255, 255, 255, 255), font=font)
