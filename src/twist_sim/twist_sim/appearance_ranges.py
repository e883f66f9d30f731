"""Ranges that looks are drawn from: the ``randomisation`` section of a task card, checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Range = tuple[float, float]

_ABOVE_ZERO = ("light_elevation", "focal_scale", "texture_repeat", "exposure", "gamma")
"""Ranges whose numbers are divided by, or drawn by their logarithm."""
_AT_MOST = {
    **dict.fromkeys(("ambient_share", "fill_share", "light_tint", "white_balance"), 1.0),
    **dict.fromkeys(("goal_saturation", "goal_value", "cube_saturation", "cube_value"), 1.0),
    **dict.fromkeys(("noise", "blotch"), 255.0),
    "light_elevation": 90.0,
    "camera_translation": 0.3,
    "camera_rotation": 45.0,
    "goal_hue": 120.0,
    "cube_hue": 720.0,
}
"""What is above these was written in another unit, or is no colour, light or camera."""
_APART = 60.0
"""Smallest distance between the hues of cube and goal, degrees."""


class AppearanceError(ValueError):
    """Randomisation ranges are malformed."""


@dataclass(frozen=True)
class AppearanceRanges:
    """Ranges that looks are drawn from, uniformly; angles in degrees, lengths in metres.

    Attributes:
        brightness: light on a horizontal surface, 1 shows a white table just white.
        ambient_share, fill_share: parts of the brightness that come from those lights.
        light_elevation: of the key light above the horizon.
        light_tint: largest relative deviation of a light's colour channels.
        camera_translation: largest camera offset along each axis.
        camera_rotation: largest camera rotation about each axis.
        focal_scale: factor on the focal length.
        exposure, gamma: of the camera.
        white_balance: largest relative deviation of a channel's gain.
        blur: full-frame pixels.
        noise, blotch: 8-bit counts.
        goal_hue: largest distance of the goal's hue from red.
        goal_saturation, goal_value: of the goal's colour.
        cube_hue: hue of the cube.
        cube_saturation, cube_value: of the cube's colour.
        texture_repeat: tiles per metre on table, floor and robot.
        table_margin: largest margins of the table, see `Appearance`; half of the tables have none.
    """

    brightness: Range = (0.8, 1.15)
    ambient_share: Range = (0.3, 0.6)
    fill_share: Range = (0.05, 0.2)
    light_elevation: Range = (35.0, 88.0)
    light_tint: float = 0.06
    camera_translation: float = 0.025
    camera_rotation: float = 2.0
    focal_scale: Range = (0.985, 1.015)
    exposure: Range = (0.8, 1.2)
    gamma: Range = (0.85, 1.2)
    white_balance: float = 0.1
    blur: Range = (0.0, 2.5)
    noise: Range = (0.0, 10.0)
    blotch: Range = (0.0, 2.5)
    goal_hue: float = 8.0
    goal_saturation: Range = (0.75, 1.0)
    goal_value: Range = (0.5, 1.0)
    cube_hue: Range = (195.0, 255.0)
    cube_saturation: Range = (0.6, 1.0)
    cube_value: Range = (0.4, 1.0)
    texture_repeat: Range = (0.8, 4.0)
    table_margin: tuple[float, float, float, float] = (0.55, 0.2, 0.28, 0.28)

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(n) and n >= 0 for n in numbers):
                raise AppearanceError(f"randomisation.{name} must be finite and >= 0, is {value}")
            if name in _ABOVE_ZERO and min(numbers) <= 0:
                raise AppearanceError(
                    f"randomisation.{name} must be above 0, found {list(numbers)}"
                )
            if name in _AT_MOST and max(numbers) > _AT_MOST[name]:
                raise AppearanceError(
                    f"randomisation.{name} must be at most {_AT_MOST[name]:g}, found "
                    f"{list(numbers)}; is it in another unit?"
                )
            if isinstance(value, tuple) and len(value) == 2 and value[0] > value[1]:
                raise AppearanceError(
                    f"randomisation.{name} must be [smallest, largest], found {list(value)}"
                )
        if self.ambient_share[1] + self.fill_share[1] > 1.0:
            raise AppearanceError(
                f"randomisation.ambient_share {list(self.ambient_share)} and fill_share "
                f"{list(self.fill_share)} are parts of one light; together they must be at most 1"
            )
        # The cube's interval lies between the goal's end and its beginning one turn later.
        turn = 360.0 * math.floor(self.cube_hue[0] / 360.0)
        low, high = (hue - turn for hue in self.cube_hue)
        nearest = max(0.0, min(low - self.goal_hue, 360.0 - self.goal_hue - high))
        if nearest < _APART:
            raise AppearanceError(
                f"randomisation.cube_hue {list(self.cube_hue)} comes within {nearest:.0f} degrees "
                f"of the goal's red (0 +- {self.goal_hue}); keep {_APART:.0f} or more, hue tells "
                "cube and goal apart"
            )

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> AppearanceRanges:
        """Ranges from the ``randomisation`` section of a task card; missing keys keep defaults.

        Raises:
            AppearanceError: an unknown key, or a value of the wrong shape.
        """
        known = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise AppearanceError(
                f"randomisation: unknown keys {unknown}; known are {sorted(known)}"
            )
        values: dict[str, Any] = {}
        for name, value in data.items():
            default = known[name].default
            wanted = len(default) if isinstance(default, tuple) else 1
            numbers = value if isinstance(value, (list, tuple)) else [value]
            good = len(numbers) == wanted and all(
                isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers
            )
            if not good:
                raise AppearanceError(
                    f"randomisation.{name}: expected "
                    f"{'a number' if wanted == 1 else f'{wanted} numbers'}, found {value!r}"
                )
            values[name] = float(numbers[0]) if wanted == 1 else tuple(float(n) for n in numbers)
        return cls(**values)
