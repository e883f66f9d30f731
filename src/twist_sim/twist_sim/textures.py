"""Procedural texture families, generated with numpy from a seed.

Training and held-out looks come from *different families*, not merely from different seeds: what
a student scores on held-out textures is then a statement about surfaces it has never seen the
like of. Thirty training textures leave a clear gap to held-out looks, a few hundred close it.

Hue carries the task (blue cube, red goal), so every texture passes through
`limit_saturation`: strongly red and strongly blue pixels are turned pale, all other colours may
stay as they are. No table can then hold something that looks like the cube or like the goal.

Arrays: textures are (S, S, 3) uint8 RGB, fields (S, S) float32 in [0, 1].
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "held_out"]
Image = NDArray[np.uint8]
Field = NDArray[np.floating]
Family = Callable[[np.random.Generator, int], Image]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

_CAP_HUES = (0.0, 14.0, 32.0, 50.0, 160.0, 188.0, 262.0, 290.0, 320.0, 345.0, 360.0)
_CAP_SATURATIONS = (0.2, 0.2, 0.55, 0.6, 0.6, 0.22, 0.22, 0.4, 0.35, 0.2, 0.2)


class TextureError(RuntimeError):
    """A texture folder cannot be used."""


@dataclass(frozen=True)
class TextureBank:
    """A set of square textures of one size.

    Attributes:
        pixels: (N, S, S, 3) uint8 RGB.
        families: name of the family of each texture; ``folder`` for a user's own image.
    """

    pixels: Image
    families: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.families)


def saturation_cap(hue: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Largest saturation a surface other than cube and goal may have, by hue in degrees."""
    return np.interp(np.mod(hue, 360.0), _CAP_HUES, _CAP_SATURATIONS)


def limit_saturation(image: Image) -> Image:
    """Lowers the HSV saturation of each pixel to `saturation_cap`; hue and value stay.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    hsv = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_RGB2HSV)
    cap = saturation_cap(hsv[..., 0]).astype(np.float32)
    hsv[..., 1] = np.minimum(hsv[..., 1], cap)
    rgb = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return np.clip(np.rint(rgb * 255.0), 0, 255).astype(np.uint8)


def draw_surface_colour(
    rng: np.random.Generator, value: tuple[float, float] = (0.25, 1.0)
) -> NDArray[np.float64]:
    """One RGB colour in [0, 1] within the saturation cap; half of the draws are nearly grey."""
    hue = rng.uniform(0.0, 360.0)
    cap = float(saturation_cap(hue))
    saturation = cap * (rng.uniform(0.0, 0.35) if rng.random() < 0.5 else rng.uniform(0.3, 1.0))
    return hsv_to_rgb(hue, saturation, rng.uniform(*value))


def hsv_to_rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    """RGB in [0, 1] of hue (degrees), saturation and value (both in [0, 1])."""
    k = (np.array([5.0, 3.0, 1.0]) + hue / 60.0) % 6.0
    return value - value * saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)


def rgb_to_hsv(rgb: NDArray[np.floating] | tuple[float, ...]) -> tuple[float, float, float]:
    """Hue (degrees), saturation and value of one RGB colour in [0, 1]."""
    pixel = np.asarray(rgb, dtype=np.float32)[:3].reshape(1, 1, 3)
    hue, saturation, value = cv2.cvtColor(pixel, cv2.COLOR_RGB2HSV).reshape(3)
    return float(hue), float(saturation), float(value)


@functools.cache
def build_texture_bank(
    split: Split, *, count: int, size: int, seed: int, folder: Path | None = None
) -> TextureBank:
    """Generates `count` textures of the split's families, equally many of each.

    Args:
        split: which families; train and held-out families are disjoint.
        count: how many procedural textures.
        size: edge, pixels.
        seed: same seed, same pixels; the split is mixed into it.
        folder: a user's own images, appended to the bank.

    Raises:
        TextureError: `folder` is not a folder or holds no readable image.
    """
    families = FAMILIES[split]
    names = list(families)
    salt = {"train": 1, "held_out": 2}[split]
    pixels, labels = [], []
    for index in range(count):
        name = names[index % len(names)]
        rng = np.random.default_rng([seed, salt, index])
        pixels.append(limit_saturation(families[name](rng, size)))
        labels.append(name)
    for image in [] if folder is None else load_texture_folder(folder, size):
        pixels.append(image)
        labels.append("folder")
    return TextureBank(np.stack(pixels), tuple(labels))


@functools.cache
def object_texture_bank(*, count: int, size: int, seed: int) -> TextureBank:
    """Bright grey textures for cube, goal and peg: printed on a colour, they keep its hue."""
    pixels = []
    for index in range(count):
        rng = np.random.default_rng([seed, 3, index])
        field = _fbm(rng, size, int(rng.integers(2, 6)), 3)
        low = rng.uniform(0.6, 0.95)
        grey = np.rint(255 * (low + (1 - low) * field)).astype(np.uint8)
        pixels.append(np.repeat(grey[..., None], 3, axis=-1))
    return TextureBank(np.stack(pixels), ("object",) * count)


def load_texture_folder(folder: Path, size: int) -> list[Image]:
    """Reads every png and jpg below `folder` as a (size, size, 3) texture, sorted by path.

    Each image is cut to its central square. Red and blue are made pale (`limit_saturation`), or a
    photograph could hold something that looks like the cube.

    Raises:
        TextureError: not a folder, or no readable image in it.
    """
    if not folder.is_dir():
        raise TextureError(
            f"textures_folder {folder} is not a folder; give one that holds .png or .jpg images, "
            "or leave it out to use the procedural textures alone"
        )
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    images = []
    for path in paths:
        bgr = (
            cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
            if (path.is_file() and path.stat().st_size > 0)
            else None
        )
        if bgr is None:
            continue
        height, width = bgr.shape[:2]
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        square = bgr[top : top + edge, left : left + edge]
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
        images.append(limit_saturation(np.ascontiguousarray(square[..., ::-1])))
    if not images:
        raise TextureError(
            f"textures_folder {folder} holds no readable image: {len(paths)} .png or .jpg files "
            "found, none of which could be decoded; add images or leave textures_folder out"
        )
    return images


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


def _fbm(
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
    field = _fbm(rng, size, int(rng.integers(2, 7)), 5)
    return _blend(field, *_two_colours(rng))


def _blotches(rng: np.random.Generator, size: int) -> Image:
    field = _fbm(rng, size, int(rng.integers(3, 8)), 3)
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
    warp = _fbm(rng, size, 2, 3)
    centre = rng.uniform(-1.5, 0.5)
    radius = np.sqrt((u * rng.uniform(1, 4) - centre) ** 2 + (0.25 * v) ** 2)
    rings = np.mod(radius * rng.uniform(5, 14) + warp * rng.uniform(0.5, 2.0), 1.0)
    hue, dark = rng.uniform(22, 42), rng.uniform(0.3, 0.7)
    colour = hsv_to_rgb(hue, rng.uniform(0.2, 0.6), rng.uniform(0.45, 1.0))
    return _blend(rings.astype(np.float32), colour * dark, colour)


def _planks(rng: np.random.Generator, size: int) -> Image:
    count = int(rng.integers(3, 8))
    fibre = _fbm(rng, size, 4, 3, aspect=12.0)
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
        turbulence += 0.5**octave * np.abs(2 * _fbm(rng, size, 3 * 2**octave, 1) - 1)
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
