"""What a real colour camera does to a picture: blur, exposure, white balance, gamma, noise.

All strengths are stated in pixels of the *full* camera frame. A crop that was rendered at a lower
resolution is the full frame seen through coarser pixels, so the effects are converted with the
pixel pitch (full-frame pixels per picture pixel): a blur of s frame pixels is a blur of s / pitch
picture pixels, and noise that is independent from pixel to pixel averages out, its deviation
falls to sigma / pitch. Correlated noise (what demosaicing and compression leave) lives on a grid
of `BLOTCH_PIXELS` frame pixels and survives the resize; it is drawn on that grid in both cases.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BLOTCH_PIXELS = 8.0
"""Grid of the correlated noise, full-frame pixels."""

_POOL_SIZE = 1 << 21
_SMALLEST_BLUR = 0.25


@dataclass(frozen=True)
class CameraEffects:
    """Strengths of the effects on one frame.

    Attributes:
        blur: standard deviation of the optical blur, full-frame pixels.
        exposure: gain.
        white_balance: gains of red, green and blue.
        gamma: exponent on the [0, 1] values, 1 leaves them alone.
        noise: standard deviation of the noise of each full-frame pixel, 8-bit counts.
        blotch: standard deviation of the correlated noise, 8-bit counts.
    """

    blur: float = 0.0
    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    noise: float = 0.0
    blotch: float = 0.0


def apply_camera_effects(
    image: NDArray[np.uint8],
    effects: CameraEffects,
    rng: np.random.Generator,
    pixel_pitch: float = 1.0,
) -> NDArray[np.uint8]:
    """Applies the effects in the order light meets them: optics, gain, tone curve, noise.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        effects: their strengths.
        rng: source of the noise.
        pixel_pitch: full-frame pixels per pixel of `image`.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    blur = effects.blur / pixel_pitch
    if blur > _SMALLEST_BLUR:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), dtype=np.uint8)
    toned = cv2.LUT(image, _tone_table(effects))
    height, width = image.shape[:2]
    if effects.blotch > 0:
        rows = max(2, round(height * pixel_pitch / BLOTCH_PIXELS))
        columns = max(2, round(width * pixel_pitch / BLOTCH_PIXELS))
        grid = _noise(rng, (rows, columns, 3)) * np.float32(effects.blotch)
        blotches = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        toned = cv2.add(toned, blotches)
    # addWeighted rounds and saturates, so nothing wraps around at black or white.
    noise = _noise(rng, (height, width, 3))
    result = cv2.addWeighted(toned, 1.0, noise, effects.noise / pixel_pitch, 0.0, dtype=cv2.CV_8U)
    return np.asarray(result, dtype=np.uint8)


def _tone_table(effects: CameraEffects) -> NDArray[np.float32]:
    gains = effects.exposure * np.asarray(effects.white_balance, dtype=np.float64)
    levels = np.minimum(np.arange(256)[:, None] / 255.0 * gains, 1.0)
    return (255.0 * levels**effects.gamma).astype(np.float32)[None]


@functools.cache
def _noise_pool() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(_POOL_SIZE, dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Unit normal numbers from a random place of a fixed pool: 20 times cheaper than drawing."""
    count = shape[0] * shape[1] * shape[2]
    if count > _POOL_SIZE:
        return rng.standard_normal(shape, dtype=np.float32)
    start = int(rng.integers(0, _POOL_SIZE - count + 1))
    return _noise_pool()[start : start + count].reshape(shape)
