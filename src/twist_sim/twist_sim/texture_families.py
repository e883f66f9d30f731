"""Families of procedural textures: functions of a random generator and a size.

Training and held-out families are disjoint (`FAMILIES`). Textures are (S, S, 3) uint8 RGB, fields
(S, S) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_sim.colours import draw_surface_colour, hsv_to_rgb

Split = Literal["train", "held_out"]
Image = NDArray[np.uint8]
Field = NDArray[np.floating]
Family = Callable[[np.random.Generator, int], Image]


# --- fields ------------------------------------------------------------------------------------


def _grid(size: int) -> tuple[Field, Field]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x, y


def _rotated(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    x, y = _grid(size)
    angle = rng.uniform(0, math.pi)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return np.asarray(c * x + s * y), np.asarray(c * y - s * x)


def _normalised(field: Field) -> Field:
    low, high = float(field.min()), float(field.max())
    return (field - low) / max(high - low, 1e-6)


def value_noise(
    rng: np.random.Generator, size: int, cells: int, octaves: int, aspect: float = 1.0
) -> Field:
    """Value noise: random grids of doubling resolution, smoothly enlarged and added."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        rows = max(2, min(size, round(cells * 2**octave)))
        columns = max(2, min(size, round(cells * aspect * 2**octave)))
        grid = rng.random((rows, columns), dtype=np.float32)
        total += 0.5**octave * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return _normalised(total)


def _soft_step(field: Field, edge: float, softness: float) -> Field:
    return np.clip((field - edge) / max(softness, 1e-3) + 0.5, 0.0, 1.0).astype(np.float32)


def _blend(field: Field, low: NDArray[np.floating], high: NDArray[np.floating]) -> Image:
    rgb = low + field[..., None] * (np.asarray(high) - low)
    return np.clip(np.rint(rgb * 255.0), 0, 255).astype(np.uint8)


def _two_colours(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = draw_surface_colour(rng), draw_surface_colour(rng)
    return first, first + rng.uniform(0.25, 1.0) * (second - first)


def _grain(rng: np.random.Generator, size: int, strength: float) -> Field:
    return rng.uniform(-strength, strength, (size, size)).astype(np.float32)


# --- training families -------------------------------------------------------------------------


def _plain(rng: np.random.Generator, size: int) -> Image:
    colour = draw_surface_colour(rng, (0.4, 1.0))
    return _blend(0.5 + _grain(rng, size, 0.5), colour * rng.uniform(0.85, 1.0), colour)


def _cloud(rng: np.random.Generator, size: int) -> Image:
    field = value_noise(rng, size, int(rng.integers(2, 7)), 5)
    return _blend(field, *_two_colours(rng))


def _blotches(rng: np.random.Generator, size: int) -> Image:
    field = value_noise(rng, size, int(rng.integers(3, 8)), 3)
    field = _soft_step(field, rng.uniform(0.35, 0.65), rng.uniform(0.02, 0.3))
    return _blend(field, *_two_colours(rng))


def _stripes(rng: np.random.Generator, size: int) -> Image:
    u, _ = _rotated(rng, size)
    wave = 0.5 + 0.5 * np.sin(2 * math.pi * rng.uniform(2, 12) * u + rng.uniform(0, 6))
    field = _soft_step(wave, rng.uniform(0.25, 0.75), rng.uniform(0.05, 1.0))
    return _blend(field, *_two_colours(rng))


def _plaid(rng: np.random.Generator, size: int) -> Image:
    u, v = _rotated(rng, size)
    bands = [
        _soft_step(0.5 + 0.5 * np.sin(2 * math.pi * rng.uniform(2, 8) * axis), 0.5, 0.2)
        for axis in (u, v)
    ]
    return _blend((bands[0] + bands[1]) / 2, *_two_colours(rng))


def _checker(rng: np.random.Generator, size: int) -> Image:
    u, v = _rotated(rng, size)
    cells = rng.uniform(3, 14)
    field = np.mod(np.floor(u * cells) + np.floor(v * cells), 2).astype(np.float32)
    return _blend(np.clip(field + _grain(rng, size, 0.1), 0, 1), *_two_colours(rng))


def _wood(rng: np.random.Generator, size: int) -> Image:
    u, v = _rotated(rng, size)
    warp = value_noise(rng, size, 2, 3)
    centre = rng.uniform(-1.5, 0.5)
    radius = np.sqrt((u * rng.uniform(1, 4) - centre) ** 2 + (0.25 * v) ** 2)
    rings = np.mod(radius * rng.uniform(5, 14) + warp * rng.uniform(0.5, 2.0), 1.0)
    hue, dark = rng.uniform(22, 42), rng.uniform(0.3, 0.7)
    colour = hsv_to_rgb(hue, rng.uniform(0.2, 0.6), rng.uniform(0.45, 1.0))
    return _blend(rings.astype(np.float32), colour * dark, colour)


def _planks(rng: np.random.Generator, size: int) -> Image:
    count = int(rng.integers(3, 8))
    fibre = value_noise(rng, size, 4, 3, aspect=12.0)
    x, _ = _grid(size)
    index = np.minimum((x.T if rng.random() < 0.5 else x) * count, count - 1e-3).astype(int)
    tone = rng.uniform(0.3, 1.0, count).astype(np.float32)[index]
    field = np.clip(0.75 * tone + 0.25 * (fibre if index[0, 0] == index[-1, 0] else fibre.T), 0, 1)
    return _blend(field.astype(np.float32), *_two_colours(rng))


def _gradient(rng: np.random.Generator, size: int) -> Image:
    u, v = _rotated(rng, size)
    if rng.random() < 0.5:
        u = np.hypot(u - rng.uniform(0, 1), v - rng.uniform(-0.5, 0.5)).astype(np.float32)
    return _blend(_normalised(u), *_two_colours(rng))


def _speckle(rng: np.random.Generator, size: int) -> Image:
    coarse = int(size / rng.uniform(1.0, 4.0))
    noise = rng.random((coarse, coarse), dtype=np.float32)
    noise = cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    field = _soft_step(noise, rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.8))
    return _blend(field, *_two_colours(rng))


def _patches(rng: np.random.Generator, size: int) -> Image:
    image = np.empty((size, size, 3), np.uint8)
    image[:] = np.rint(255 * draw_surface_colour(rng))
    for _ in range(int(rng.integers(4, 18))):
        colour = [int(c) for c in 255 * draw_surface_colour(rng)]
        corner, extent = rng.integers(0, size, 2), rng.integers(size // 10, size // 2, 2)
        first, second = corner - extent // 2, corner + extent // 2
        cv2.rectangle(
            image,
            (int(first[0]), int(first[1])),
            (int(second[0]), int(second[1])),
            colour,
            thickness=-1,
        )
    return image


# --- held-out families -------------------------------------------------------------------------


def _voronoi(rng: np.random.Generator, size: int) -> Image:
    x, y = _grid(size)
    points = rng.random((int(rng.integers(12, 60)), 2)).astype(np.float32)
    # Distances on the torus, so that the texture tiles without a seam.
    dx = np.abs(x[None] - points[:, 0, None, None])
    dy = np.abs(y[None] - points[:, 1, None, None])
    distance = np.minimum(dx, 1 - dx) ** 2 + np.minimum(dy, 1 - dy) ** 2
    tones = rng.random(len(points)).astype(np.float32)
    return _blend(tones[np.argmin(distance, axis=0)], *_two_colours(rng))


def _weave(rng: np.random.Generator, size: int) -> Image:
    x, y = _grid(size)
    threads = int(rng.integers(8, 28))
    column, row = np.floor(x * threads), np.floor(y * threads)
    step = int(rng.integers(1, 3))
    over = np.mod(column + step * row, 2 * step) < step
    across = np.abs(np.mod(np.where(over, x, y) * threads, 1.0) - 0.5)
    field = (np.where(over, 0.7, 0.3) * (1.2 - across)).astype(np.float32)
    return _blend(np.clip(field + _grain(rng, size, 0.08), 0, 1), *_two_colours(rng))


def _marble(rng: np.random.Generator, size: int) -> Image:
    u, _ = _rotated(rng, size)
    turbulence = np.zeros((size, size), np.float32)
    for octave in range(4):
        turbulence += 0.5**octave * np.abs(2 * value_noise(rng, size, 3 * 2**octave, 1) - 1)
    phase = 2 * math.pi * (rng.uniform(1, 4) * u + rng.uniform(0.6, 1.6) * turbulence)
    veins = np.abs(np.sin(phase)).astype(np.float32) ** np.float32(rng.uniform(0.3, 1.0))
    return _blend(veins, *_two_colours(rng))


def _terrazzo(rng: np.random.Generator, size: int) -> Image:
    image = np.empty((size, size, 3), np.uint8)
    image[:] = np.rint(255 * draw_surface_colour(rng, (0.4, 1.0)))
    palette = [draw_surface_colour(rng) for _ in range(4)]
    for _ in range(int(rng.integers(60, 200))):
        centre = rng.uniform(0, size, 2)
        angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(4, 8))))
        radius = rng.uniform(0.006, 0.035) * size
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        colour = [int(c) for c in 255 * palette[int(rng.integers(4))]]
        cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], colour)
    return image


def _brushed(rng: np.random.Generator, size: int) -> Image:
    noise = rng.random((size, size), dtype=np.float32)
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=size / rng.uniform(6, 14), sigmaY=0.6)
    colour = draw_surface_colour(rng, (0.5, 1.0))
    field = _normalised(streaks)
    field = field if rng.random() < 0.5 else np.ascontiguousarray(field.T)
    return _blend(field, colour * rng.uniform(0.5, 0.85), colour)


def _chevrons(rng: np.random.Generator, size: int) -> Image:
    x, y = _grid(size)
    teeth, rows = int(rng.integers(3, 10)), int(rng.integers(3, 9))
    fold = np.abs(np.mod(x * teeth, 1.0) - 0.5)
    line = np.abs(np.mod(y * rows + fold * rng.uniform(0.5, 1.5), 1.0) - 0.5)
    field = _soft_step(line.astype(np.float32), rng.uniform(0.1, 0.35), 0.06)
    return _blend(np.clip(field + _grain(rng, size, 0.1), 0, 1), *_two_colours(rng))


def _scribble(rng: np.random.Generator, size: int) -> Image:
    image = np.empty((size, size, 3), np.uint8)
    image[:] = np.rint(255 * draw_surface_colour(rng, (0.4, 1.0)))
    for _ in range(int(rng.integers(6, 20))):
        steps = np.cumsum(rng.normal(0, size / 14, (24, 2)), axis=0) + rng.uniform(0, size, 2)
        colour = [int(c) for c in 255 * draw_surface_colour(rng)]
        thickness = int(rng.integers(1, max(2, size // 32)))
        cv2.polylines(image, [np.rint(steps).astype(np.int32)], False, colour, thickness)
    return image


FAMILIES: dict[Split, dict[str, Family]] = {
    "train": {
        "plain": _plain,
        "cloud": _cloud,
        "blotches": _blotches,
        "stripes": _stripes,
        "plaid": _plaid,
        "checker": _checker,
        "wood": _wood,
        "planks": _planks,
        "gradient": _gradient,
        "speckle": _speckle,
        "patches": _patches,
    },
    "held_out": {
        "voronoi": _voronoi,
        "weave": _weave,
        "marble": _marble,
        "terrazzo": _terrazzo,
        "brushed": _brushed,
        "chevrons": _chevrons,
        "scribble": _scribble,
    },
}
"""Texture families of each split, by name."""
