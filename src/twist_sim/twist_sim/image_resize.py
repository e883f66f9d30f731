"""The resize between a rendered crop and the student's input."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray


def downscale(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Area-correct resize by a whole factor.

    The same filter as ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``, which
    the student applies to camera frames: a triangle two output pixels wide. They differ by
    rounding, and in the outermost row and column by the treatment of the border.

    Args:
        image: (n * size, n * size, 3) uint8.
        size: edge of the result, pixels.

    Returns:
        (size, size, 3) uint8.

    Raises:
        ValueError: the image is not square or its edge not a multiple of `size`.
    """
    height, width = image.shape[:2]
    if height != width or height % size:
        raise ValueError(f"expected a square image of n x {size} pixels, found {width}x{height}")
    factor = height // size
    if factor == 1:
        return image
    kernel, anchor = _triangle(factor)
    smooth = cv2.sepFilter2D(
        image, -1, kernel, kernel, anchor=(anchor, anchor), borderType=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(smooth[::factor, ::factor])


@functools.cache
def _triangle(factor: int) -> tuple[NDArray[np.float64], int]:
    """Weights of the pixels around output pixel 0, and the index of input pixel 0 among them."""
    centre = (factor - 1) / 2
    first = int(np.floor(centre - factor)) + 1
    offsets = np.arange(first, factor - first)
    weights = 1.0 - np.abs(offsets - centre) / factor
    return weights / weights.sum(), -first
