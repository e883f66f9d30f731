"""Colours of cube and goal where nobody has clicked on them: the middle of what the card draws."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from twist_evaluation.observer.colours import ColourModel, chroma_of

if TYPE_CHECKING:
    from twist_sim.task_card import TaskCard


def card_colours(card: TaskCard) -> ColourModel:
    """The model for the paints that the task card names; each picture adapts it.

    Good enough for the twin and for a first try. In the lab click once: `twist-colours`.

    Raises:
        ColourError: the card's colours are too alike.
    """
    ranges = card.randomisation
    cube = _painted(_middle(ranges, "cube_hue", 225.0), ranges, "cube")
    return ColourModel(cube, _painted(0.0, ranges, "goal"))


def _painted(hue: float, ranges: Mapping[str, Any], name: str) -> tuple[float, float]:
    saturation = _middle(ranges, f"{name}_saturation", 0.85)
    value = _middle(ranges, f"{name}_value", 0.7)
    colour = np.array(colorsys.hsv_to_rgb(hue / 360.0, saturation, value)) * 255.0
    x, y = chroma_of(colour)
    return float(x), float(y)


def _middle(ranges: Mapping[str, Any], key: str, default: float) -> float:
    value = ranges.get(key)
    return default if value is None else (float(value[0]) + float(value[1])) / 2
