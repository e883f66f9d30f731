"""How far a camera may differ from what was trained with, and from what it was."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

import yaml


class LimitsError(ValueError):
    """A file of limits is missing or malformed."""


@dataclass(frozen=True)
class CameraLimits:
    """One file of limits; ``limits.yaml`` of this package is the usual one.

    Attributes:
        position: between calibrated and contract's optical centre, metres.
        angle: between the two orientations, degrees.
        picture: shift of the table's points at the crop's centre and corners, pixels.
        reference: the same between the stored reference view and the live one, pixels.
    """

    position: float
    angle: float
    picture: float
    reference: float


def load_limits(path: Path | None = None) -> CameraLimits:
    """Reads limits; None reads the usual ones.

    Raises:
        LimitsError: not readable, a key missing or unknown, or no positive number.
    """
    source = files("twist_camera") / "limits.yaml" if path is None else path
    try:
        data = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise LimitsError(f"cannot read the limits {source}: {error}") from error
    names = {item.name for item in fields(CameraLimits)}
    if not isinstance(data, dict) or data.keys() != names:
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise LimitsError(f"{source} must hold {sorted(names)}, found {found}")
    for key, value in data.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise LimitsError(f"{source}: {key} must be a positive number, found {value!r}")
    return CameraLimits(**{key: float(value) for key, value in data.items()})
