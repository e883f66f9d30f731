"""What colour cube and goal are: fitted from one click each, kept in a file.

Colours are compared as chroma, which says what a surface is painted with and not how brightly a
face is lit: ``x = (R - G) / (R + G + B + c)``, ``y = (2 B - R - G) / (R + G + B + c)``. The
constant keeps the noise of dark pixels from looking like colour.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Chroma = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DARK = 40.0  # 8-bit counts, summed over the channels
_SMOOTHING = 1.2  # pixels
_WINDOW = 3  # pixels around a click that surely belong to the thing clicked
_LARGEST_SPREAD = 0.6  # of the distance between two colours: a pixel beyond belongs to neither
_SMALLEST_CHROMA = 0.10
_SMALLEST_SEPARATION = 0.15
_FORMAT_VERSION = 1


class ColourError(RuntimeError):
    """Colours cannot be told apart or read; the message names cause and cure."""


@dataclass(frozen=True)
class ColourModel:
    """Chroma (x, y) of the cube, of the goal, and of what is around them.

    Attributes:
        cube: of the cube.
        goal: of the goal.
        table: of most of the picture; each picture is asked anew, see `adapt`.

    Raises:
        ColourError: the two are too alike, or one is too grey to be told from a table.
    """

    cube: tuple[float, float]
    goal: tuple[float, float]
    table: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name, value in (("cube", self.cube), ("goal", self.goal)):
            strength = float(np.hypot(*value))
            if not strength >= _SMALLEST_CHROMA:
                raise ColourError(
                    f"the {name} has hardly any colour (chroma {strength:.2f}, at least "
                    f"{_SMALLEST_CHROMA} is needed): was the click on it? Grey, white and black "
                    "things cannot be told from a table; paint it, or light it better"
                )
        apart = float(np.hypot(self.cube[0] - self.goal[0], self.cube[1] - self.goal[1]))
        if not apart >= _SMALLEST_SEPARATION:
            raise ColourError(
                f"cube and goal are too alike (chroma {apart:.2f} apart, at least "
                f"{_SMALLEST_SEPARATION} is needed): click on each of them, or paint one anew"
            )


def chroma(frame: Image) -> Chroma:
    """(H, W, 2) chroma of a (H, W, 3) uint8 RGB picture, slightly smoothed."""
    smooth = np.asarray(cv2.GaussianBlur(frame, (0, 0), _SMOOTHING), dtype=np.float32)
    return chroma_of(smooth)


def chroma_of(colours: NDArray[np.floating]) -> Chroma:
    """(..., 2) chroma of (..., 3) RGB in 8-bit counts."""
    red, green, blue = np.moveaxis(np.asarray(colours, dtype=np.float32), -1, 0)
    total = red + green + blue + _DARK
    return np.stack([(red - green) / total, (2 * blue - red - green) / total], axis=-1)


def fit_colours(
    frame: Image, cube_click: tuple[float, float], goal_click: tuple[float, float]
) -> ColourModel:
    """Fits the model from one pixel on the cube and one on the goal.

    Args:
        frame: (H, W, 3) uint8 RGB.
        cube_click: (column, row) of a pixel on the cube.
        goal_click: (column, row) of a pixel on the goal.

    Raises:
        ColourError: a click is outside the picture, or the colours are of no use.
    """
    picture = chroma(frame)
    seeds = ColourModel(_around(picture, cube_click, "cube"), _around(picture, goal_click, "goal"))
    # A click sees one face; the region around it has them all.
    return adapt(picture, seeds)


def adapt(picture: Chroma, model: ColourModel) -> ColourModel:
    """The model moved to the colours that the picture really has; `model` where it has none."""
    x, y = np.median(picture[::4, ::4].reshape(-1, 2), axis=0)
    model = dataclasses.replace(model, table=(float(x), float(y)))
    moved = []
    for name, mask in zip(("cube", "goal"), masks(picture, model), strict=True):
        inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
        count, labels, areas, _ = cv2.connectedComponentsWithStats(inner)
        if count < 2:
            moved.append(getattr(model, name))
            continue
        largest = labels == 1 + int(np.argmax(areas[1:, cv2.CC_STAT_AREA]))
        moved.append(tuple(float(v) for v in np.median(picture[largest], axis=0)))
    try:
        return dataclasses.replace(model, cube=moved[0], goal=moved[1])
    except ColourError:
        return model


def masks(picture: Chroma, model: ColourModel) -> tuple[Mask, Mask]:
    """Which pixels have the cube's colour, and which the goal's; never both.

    A pixel belongs to a colour that it is nearer to than to grey, to the table and to the other
    colour.
    """
    distances = []
    for colour in (model.cube, model.goal, model.table, (0.0, 0.0)):
        difference = picture - np.asarray(colour, dtype=np.float32)
        distances.append(np.einsum("hwc,hwc->hw", difference, difference))
    cube, goal = distances[:2]
    other = np.minimum(distances[2], distances[3])
    return (
        (cube < other) & (cube < goal) & (cube < _reach(model.cube)),
        (goal < other) & (goal < cube) & (goal < _reach(model.goal)),
    )


def has_colour(colours: NDArray[np.floating], model: ColourModel, name: str) -> NDArray[np.bool_]:
    """Whether each of (N, 3) RGB colours is the ``cube``'s or the ``goal``'s; shape (N,)."""
    cube, goal = masks(chroma_of(colours)[None], model)
    return (cube if name == "cube" else goal)[0]


def save_colours(model: ColourModel, path: Path) -> None:
    """Writes a model.

    Raises:
        OSError: the file cannot be written.
    """
    document = {"format_version": _FORMAT_VERSION, "cube": model.cube, "goal": model.goal}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read_colours(path: Path) -> ColourModel:
    """Reads a model.

    Raises:
        ColourError: the file is missing, malformed, or its colours are of no use.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format_version"] != _FORMAT_VERSION:
            raise ValueError(f"format version {document['format_version']}")
        pairs = [tuple(float(v) for v in document[name]) for name in ("cube", "goal")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("a colour has two numbers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ColourError(
            f"no colours can be read from {path} ({type(error).__name__}: {error}); make it with "
            "`twist-colours`"
        ) from None
    return ColourModel(pairs[0], pairs[1])  # type: ignore[arg-type]


def _reach(colour: tuple[float, float]) -> float:
    """Square of the largest distance from a colour at which a pixel still belongs to it."""
    return float(np.hypot(*colour) * _LARGEST_SPREAD) ** 2


def _around(picture: Chroma, click: tuple[float, float], name: str) -> tuple[float, float]:
    height, width = picture.shape[:2]
    column, row = round(click[0]), round(click[1])
    if not (0 <= column < width and 0 <= row < height):
        raise ColourError(f"the click on the {name}, {click}, is outside the picture")
    window = picture[
        max(0, row - _WINDOW) : row + _WINDOW + 1, max(0, column - _WINDOW) : column + _WINDOW + 1
    ]
    x, y = np.median(window.reshape(-1, 2), axis=0)
    return float(x), float(y)
