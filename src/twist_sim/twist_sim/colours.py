"""Colours of surfaces: which ones nothing but cube and goal may have.

Hue carries the task (blue cube, red goal). Everything else keeps to `saturation_cap`: strongly red
and strongly blue are turned pale, all other colours may stay as they are.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_CAP_HUES = (0.0, 14.0, 32.0, 50.0, 160.0, 188.0, 262.0, 290.0, 320.0, 345.0, 360.0)
_CAP_SATURATIONS = (0.2, 0.2, 0.55, 0.6, 0.6, 0.22, 0.22, 0.4, 0.35, 0.2, 0.2)


def saturation_cap(hue: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Largest saturation a surface other than cube and goal may have, by hue in degrees."""
    return np.interp(np.mod(hue, 360.0), _CAP_HUES, _CAP_SATURATIONS)


def limit_saturation(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
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
