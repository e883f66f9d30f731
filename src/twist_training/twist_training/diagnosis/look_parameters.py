"""One look as a row of numbers, to set errors against."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from twist_sim.appearance import Appearance
from twist_sim.colours import rgb_to_hsv

_SATURATED, _DARK = 250, 25


def look_parameters(look: Appearance) -> dict[str, float]:
    """Camera, light and paint of a look; lengths in cm, angles in degrees."""
    translation = 100.0 * np.asarray(look.camera.translation)
    rotation = np.degrees(np.asarray(look.camera.rotation))
    cube = rgb_to_hsv(look.cube.colour)
    goal = rgb_to_hsv(look.goal.colour)
    light = look.lighting
    sine = -light.key_direction[2]
    fill_sine = -light.fill_direction[2]
    on_table = np.asarray(light.ambient) + sine * np.asarray(light.key)
    on_table = on_table + fill_sine * np.asarray(light.fill)
    return {
        "camera right, cm": float(translation[0]),
        "camera down, cm": float(translation[1]),
        "camera forward, cm": float(translation[2]),
        "camera pitch, deg": float(rotation[0]),
        "camera yaw, deg": float(rotation[1]),
        "camera roll, deg": float(rotation[2]),
        "camera displacement, cm": float(np.linalg.norm(translation)),
        "camera turn, deg": float(np.linalg.norm(rotation)),
        "focal scale": look.camera.focal_scale,
        "exposure": look.effects.exposure,
        "light on the table": float(on_table.mean()),
        "light x exposure": float(on_table.mean()) * look.effects.exposure,
        "light elevation, deg": math.degrees(math.asin(min(1.0, sine))),
        "gamma": look.effects.gamma,
        "white balance, red over blue": look.effects.white_balance[0]
        / look.effects.white_balance[2],
        "blur, px": look.effects.blur,
        "noise, counts": look.effects.noise,
        "blotch, counts": look.effects.blotch,
        "cube hue, deg": cube[0],
        "cube saturation": cube[1],
        "cube value": cube[2],
        "goal hue, deg": (goal[0] + 180.0) % 360.0 - 180.0,
        "goal saturation": goal[1],
        "goal value": goal[2],
        "peg value": rgb_to_hsv(look.peg.colour)[2],
        "table is plain": float(look.table.texture is None),
        "robot is textured": float(look.robot.texture is not None),
        "texture repeat of the table": look.table.repeat,
    }


def picture_parameters(picture: NDArray[np.uint8]) -> dict[str, float]:
    """What a frame is like as a whole."""
    levels = picture.astype(np.float64)
    return {
        "mean level of the picture": float(levels.mean()),
        "saturated pixels, share": float((picture.max(axis=-1) >= _SATURATED).mean()),
        "dark pixels, share": float((picture.max(axis=-1) <= _DARK).mean()),
        "contrast of the picture": float(levels.mean(axis=-1).std()),
    }
