"""Banks of textures: procedural ones from a seed, and a user's own images.

Training and held-out looks come from *different families*, not merely from different seeds: what
a student scores on held-out textures is then a statement about surfaces it has never seen the
like of. Thirty training textures leave a clear gap to held-out looks, a few hundred close it.

Hue carries the task (blue cube, red goal), so every texture passes through
`limit_saturation`: strongly red and strongly blue pixels are turned pale, all other colours may
stay as they are. No table can then hold something that looks like the cube or like the goal.

Arrays: textures are (S, S, 3) uint8 RGB, fields (S, S) float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_sim.colours import limit_saturation
from twist_sim.texture_families import FAMILIES, Split, value_noise

__all__ = [
    "Split",
    "TextureBank",
    "TextureError",
    "build_texture_bank",
    "check_texture_folder",
    "load_texture_folder",
    "object_texture_bank",
]

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


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


def object_texture_bank(*, count: int, size: int, seed: int) -> TextureBank:
    """Bright grey textures for cube, goal and peg: printed on a colour, they keep its hue."""
    pixels = []
    for index in range(count):
        rng = np.random.default_rng([seed, 3, index])
        field = value_noise(rng, size, int(rng.integers(2, 6)), 3)
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
    images = []
    for bgr in _readable_images(folder):
        height, width = bgr.shape[:2]
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        square = bgr[top : top + edge, left : left + edge]
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
        images.append(limit_saturation(np.ascontiguousarray(square[..., ::-1])))
    return images


def check_texture_folder(folder: Path) -> None:
    """Refuses what `load_texture_folder` would refuse; reads no more than the first image.

    Raises:
        TextureError: not a folder, or no readable image in it.
    """
    next(_readable_images(folder))


def _readable_images(folder: Path) -> Iterator[Image]:
    """Every image below `folder` that can be decoded, BGR, sorted by path; at least one."""
    if not folder.is_dir():
        raise TextureError(
            f"the textures folder {folder} is not a folder; give one that holds .png or .jpg "
            "images, or none to use the procedural textures alone"
        )
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    readable = 0
    for path in paths:
        bgr = (
            cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
            if (path.is_file() and path.stat().st_size > 0)
            else None
        )
        if bgr is not None:
            readable += 1
            yield bgr
    if not readable:
        raise TextureError(
            f"the textures folder {folder} holds no readable image: {len(paths)} .png or .jpg "
            "files found, none of which could be decoded; add images or give no folder"
        )
