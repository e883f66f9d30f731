"""Surfaces of no split: families that are in neither `train` nor `held_out`, and strong colours."""

from __future__ import annotations

import functools
import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_sim.colours import hsv_to_rgb, limit_saturation
from twist_sim.texture_families import FAMILIES, value_noise
from twist_sim.textures import TextureBank

Image = NDArray[np.uint8]

_SEED = 40_411


def _bricks(rng: np.random.Generator, size: int) -> Image:
    """Running bond with mortar, every brick in a tone of its own."""
    rows, across = int(rng.integers(6, 14)), int(rng.integers(3, 7))
    y, x = np.mgrid[0:size, 0:size] / size
    row = np.floor(y * rows)
    column = np.floor(x * across + 0.5 * (row % 2))
    inside = (np.mod(y * rows, 1.0) > 0.12) & (np.mod(x * across + 0.5 * (row % 2), 1.0) > 0.06)
    tones = rng.uniform(0.55, 1.0, (rows, across + 2))
    colour = hsv_to_rgb(rng.uniform(10, 50), rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.95))
    mortar = np.full(3, rng.uniform(0.4, 0.9))
    tone = tones[row.astype(int), column.astype(int)]
    return _bytes(np.where(inside[..., None], tone[..., None] * colour, mortar))


def _print(rng: np.random.Generator, size: int) -> Image:
    """Lines of marks in columns, like a printed page."""
    paper = rng.uniform(0.75, 1.0) * np.array([1.0, 1.0, rng.uniform(0.85, 1.0)])
    image = np.empty((size, size, 3))
    image[:] = paper
    pitch = int(rng.integers(5, 10))
    for top in range(pitch // 2, size - pitch, pitch):
        left = 4
        while left < size - 4:
            width = int(rng.integers(2, 12))
            if rng.random() < 0.85:
                image[top : top + pitch // 2, left : min(left + width, size - 4)] = rng.uniform(
                    0.05, 0.4
                )
            left += width + int(rng.integers(1, 4))
    return _bytes(image)


def _colour_noise(rng: np.random.Generator, size: int) -> Image:
    """Three independent fields of noise with the spectrum of photographs (1/f)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1.0
    channels = []
    for _ in range(3):
        phase = np.exp(2j * math.pi * rng.random((size, size)))
        field = np.fft.ifft2(phase / frequency ** rng.uniform(0.9, 1.3)).real
        low, high = np.quantile(field, [0.02, 0.98])
        channels.append(np.clip((field - low) / max(high - low, 1e-9), 0.0, 1.0))
    return _bytes(np.stack(channels, axis=-1) * rng.uniform(0.5, 1.0))


def _rings(rng: np.random.Generator, size: int) -> Image:
    """Stains: overlapping rings and drops on a plain ground."""
    image = np.empty((size, size, 3), np.float32)
    image[:] = hsv_to_rgb(rng.uniform(0, 360), rng.uniform(0.0, 0.3), rng.uniform(0.4, 1.0))
    for _ in range(int(rng.integers(6, 22))):
        centre = [int(v) for v in rng.integers(0, size, 2)]
        tone = float(rng.uniform(0.15, 0.9))
        thickness = int(rng.integers(1, 5)) if rng.random() < 0.7 else -1
        cv2.circle(
            image,
            (centre[0], centre[1]),
            int(rng.integers(2, size // 4)),
            (tone, tone * float(rng.uniform(0.8, 1.0)), tone * float(rng.uniform(0.6, 1.0))),
            thickness,
        )
    return _bytes(image)


def _camouflage(rng: np.random.Generator, size: int) -> Image:
    """Three tones of one hue in hard-edged areas."""
    field = value_noise(rng, size, int(rng.integers(3, 9)), 2)
    hue, saturation = rng.uniform(40, 160), rng.uniform(0.1, 0.5)
    palette = np.array([hsv_to_rgb(hue, saturation, v) for v in np.sort(rng.uniform(0.2, 1.0, 3))])
    return _bytes(palette[np.digitize(field, np.quantile(field, [0.35, 0.7]))])


_NEW = (_bricks, _print, _colour_noise, _rings, _camouflage)


@functools.cache
def new_texture_bank(kind: Literal["new", "vivid"], *, count: int, size: int) -> TextureBank:
    """`count` textures of size x size pixels.

    Args:
        kind: ``new``: families of no split, red and blue made pale as everywhere. ``vivid``: the
            held-out families turned to one strong hue each, red and blue among them.
        count: how many; of each family equally many.
        size: edge, pixels.
    """
    pixels, labels = [], []
    for index in range(count):
        rng = np.random.default_rng([_SEED, {"new": 1, "vivid": 2}[kind], index])
        if kind == "new":
            family = _NEW[index % len(_NEW)]
            pixels.append(limit_saturation(family(rng, size)))
            labels.append(family.__name__.strip("_"))
            continue
        names = list(FAMILIES["held_out"])
        name = names[index % len(names)]
        grey = cv2.cvtColor(FAMILIES["held_out"][name](rng, size), cv2.COLOR_RGB2GRAY)
        colour = hsv_to_rgb(rng.uniform(0, 360), rng.uniform(0.6, 1.0), rng.uniform(0.6, 1.0))
        pixels.append(_bytes(grey[..., None] / max(int(grey.max()), 1) * colour))
        labels.append(f"vivid {name}")
    return TextureBank(np.stack(pixels), tuple(labels))


def _bytes(rgb: NDArray[np.floating]) -> Image:
    return np.clip(np.rint(255.0 * np.asarray(rgb)), 0, 255).astype(np.uint8)
