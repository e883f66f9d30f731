"""Domain randomisation: what one rendered picture looks like, and how looks are drawn.

An `Appearance` holds every drawn number of one look, so a picture is a function of (simulator
state, appearance, noise seed). Cube and goal stay apart by hue in every draw: the goal is red,
the cube blue, and everything else keeps to `textures.saturation_cap`.

Frames: directions in the base frame (z up), camera jitter in the camera's optical frame.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twist_sim.appearance_ranges import AppearanceError, AppearanceRanges
from twist_sim.camera_effects import CameraEffects
from twist_sim.colours import draw_surface_colour, hsv_to_rgb
from twist_sim.task_card import TaskCard
from twist_sim.texture_families import Split
from twist_sim.textures import TextureBank, build_texture_bank, object_texture_bank

__all__ = [
    "Appearance",
    "AppearanceError",
    "AppearanceRanges",
    "AppearanceSampler",
    "CameraJitter",
    "Lighting",
    "Surface",
    "nominal_appearance",
]

Vector3 = tuple[float, float, float]

ROBOT_TONES = 16
"""How many robot geoms get a brightness of their own; further ones reuse them in turn."""

_TEXTURE_SEED = 20210
_TRAIN_TEXTURES, _HELD_OUT_TEXTURES, _OBJECT_TEXTURES = 440, 140, 24
_TEXTURE_SIZE = 128


@dataclass(frozen=True)
class Surface:
    """Paint of one group of geoms.

    Attributes:
        colour: RGB in [0, 1]; multiplies the texture.
        texture: index in the sampler's bank (object bank for cube, goal and peg); None is plain.
        repeat: texture tiles per metre.
        glossy: whether a plain surface has highlights.
    """

    colour: Vector3
    texture: int | None = None
    repeat: float = 1.0
    glossy: bool = False


@dataclass(frozen=True)
class Lighting:
    """Two directional lights and an ambient one; RGB, 1 is full white on a facing surface.

    Attributes:
        key_direction, fill_direction: unit vectors the light travels along.
        key, fill, ambient: RGB intensities.
    """

    key_direction: Vector3
    key: Vector3
    fill_direction: Vector3
    fill: Vector3
    ambient: Vector3


@dataclass(frozen=True)
class CameraJitter:
    """How far the camera stands from where the task card says.

    Attributes:
        translation: metres along the optical axes (x right, y down, z forward).
        rotation: rotation vector in the optical frame, radians.
        focal_scale: factor on both focal lengths.
    """

    translation: Vector3 = (0.0, 0.0, 0.0)
    rotation: Vector3 = (0.0, 0.0, 0.0)
    focal_scale: float = 1.0


@dataclass(frozen=True)
class Appearance:
    """One complete look of the scene and of the camera.

    Attributes:
        table, floor, robot, peg, cube, goal: paint. The floor is all that shows behind the table.
        table_margins: how far the table's edges lie inside the card's: towards the robot, the
            camera, the image's right and its left, metres.
        robot_tones: brightness of the single robot parts.
        lighting: see `Lighting`.
        camera: see `CameraJitter`.
        effects: what the camera does to the picture.
    """

    table: Surface
    table_margins: tuple[float, float, float, float]
    floor: Surface
    robot: Surface
    robot_tones: tuple[float, ...]
    peg: Surface
    cube: Surface
    goal: Surface
    lighting: Lighting
    camera: CameraJitter
    effects: CameraEffects


def nominal_appearance() -> Appearance:
    """The undisturbed look: grey table, white robot, blue cube, red goal, an ideal camera."""
    return Appearance(
        table=Surface((0.72, 0.70, 0.66)),
        table_margins=(0.0, 0.0, 0.0, 0.0),
        floor=Surface((0.45, 0.45, 0.47)),
        robot=Surface((0.92, 0.92, 0.92)),
        robot_tones=(1.0,) * ROBOT_TONES,
        peg=Surface((0.25, 0.25, 0.25)),
        cube=Surface((0.10, 0.28, 0.85)),
        goal=Surface((0.85, 0.10, 0.10)),
        lighting=Lighting(
            key_direction=_unit((-0.4, 0.3, -0.85)),
            key=(0.55, 0.55, 0.55),
            fill_direction=_unit((0.3, -0.6, -0.5)),
            fill=(0.12, 0.12, 0.12),
            ambient=(0.38, 0.38, 0.38),
        ),
        camera=CameraJitter(),
        effects=CameraEffects(),
    )


class AppearanceSampler:
    """Draws looks of one split.

    The stream of `draw` depends on (split, seed) alone; `draw_trial` on (split, seed, trial), so
    that an evaluation's looks can be repeated one by one.

    Args:
        card: whose ``randomisation`` section holds the ranges; they hold for both splits.
        split: ``train`` or ``held_out``: which texture families.
        seed: of the stream of looks. The textures themselves do not depend on it.
        textures_folder: the user's own images, added to the training textures.

    Attributes:
        ranges: see `AppearanceRanges`.
        textures: the bank that surfaces index.
        object_textures: grey prints for cube, goal and peg.
    """

    def __init__(
        self,
        card: TaskCard,
        split: Split = "train",
        seed: int = 0,
        textures_folder: Path | None = None,
    ) -> None:
        if split not in ("train", "held_out"):
            raise AppearanceError(f"split must be 'train' or 'held_out', found {split!r}")
        self.split = split
        self.seed = seed
        self.ranges = AppearanceRanges.from_mapping(card.randomisation)
        self.textures = _textures(split, textures_folder if split == "train" else None)
        self.object_textures = _object_textures()
        self._rng = np.random.default_rng([seed, _SALT[split]])

    def draw(self, keep_camera: CameraJitter | None = None) -> Appearance:
        """The next independent look.

        Args:
            keep_camera: camera pose to keep. A camera stands still during an episode, so a
                sequence whose paint and light change at every step should keep the pose of its
                first look; poses drawn anew at each step would teach a recurrent student that
                they average out.
        """
        return self._draw(self._rng, keep_camera)

    def draw_sequence(self, length: int) -> list[Appearance]:
        """`length` independent looks, seen by a camera that stands still."""
        first = self.draw()
        return [first, *(self.draw(keep_camera=first.camera) for _ in range(length - 1))]

    def draw_trial(self, trial: int) -> Appearance:
        """The look of one evaluation trial, from (split, seed, trial) and nothing else."""
        return self._draw(np.random.default_rng([self.seed, _SALT[self.split], 1, trial]), None)

    def _draw(self, rng: np.random.Generator, keep_camera: CameraJitter | None) -> Appearance:
        ranges = self.ranges
        jitter = self._camera(rng)
        return Appearance(
            table=self._surface(rng, 0.92),
            table_margins=self._table_margins(rng),
            floor=self._surface(rng, 0.92),
            robot=self._robot(rng),
            robot_tones=tuple(rng.uniform(0.8, 1.0, ROBOT_TONES).tolist()),
            peg=self._object(rng, draw_surface_colour(rng, (0.1, 0.9))),
            cube=self._object(
                rng,
                hsv_to_rgb(
                    rng.uniform(*ranges.cube_hue),
                    rng.uniform(*ranges.cube_saturation),
                    rng.uniform(*ranges.cube_value),
                ),
            ),
            goal=self._object(
                rng,
                hsv_to_rgb(
                    rng.uniform(-ranges.goal_hue, ranges.goal_hue) % 360.0,
                    rng.uniform(*ranges.goal_saturation),
                    rng.uniform(*ranges.goal_value),
                ),
            ),
            lighting=self._lighting(rng),
            camera=jitter if keep_camera is None else keep_camera,
            effects=self._effects(rng),
        )

    def _surface(self, rng: np.random.Generator, textured: float) -> Surface:
        repeat = float(np.exp(rng.uniform(*np.log(self.ranges.texture_repeat))))
        if rng.random() < textured:
            tint = hsv_to_rgb(rng.uniform(0, 360), rng.uniform(0, 0.12), rng.uniform(0.65, 1.0))
            return Surface(_triple(tint), int(rng.integers(len(self.textures))), repeat)
        return Surface(_triple(draw_surface_colour(rng, (0.15, 1.0))), glossy=_coin(rng))

    def _table_margins(self, rng: np.random.Generator) -> tuple[float, float, float, float]:
        full = _coin(rng)
        near, far, right, left = (
            0.0 if full else float(rng.uniform(0.0, largest))
            for largest in self.ranges.table_margin
        )
        return near, far, right, left

    def _robot(self, rng: np.random.Generator) -> Surface:
        if rng.random() < 0.45:
            return self._surface(rng, 0.8)
        white = hsv_to_rgb(rng.uniform(0, 360), rng.uniform(0, 0.08), rng.uniform(0.7, 1.0))
        return Surface(_triple(white), glossy=_coin(rng))

    def _object(self, rng: np.random.Generator, colour: np.ndarray) -> Surface:
        texture = int(rng.integers(len(self.object_textures))) if rng.random() < 0.4 else None
        return Surface(_triple(colour), texture, 12.0, glossy=_coin(rng))

    def _lighting(self, rng: np.random.Generator) -> Lighting:
        ranges = self.ranges
        brightness = rng.uniform(*ranges.brightness)
        ambient = brightness * rng.uniform(*ranges.ambient_share)
        fill = brightness * rng.uniform(*ranges.fill_share)
        elevation = math.radians(rng.uniform(*ranges.light_elevation))
        fill_elevation = math.radians(rng.uniform(30.0, 80.0))
        # Divided by the sine, so that the table is as bright as drawn whatever the direction.
        key = (brightness - ambient - fill) / math.sin(elevation)
        return Lighting(
            key_direction=_downward(elevation, rng.uniform(0, 2 * math.pi)),
            key=self._tinted(rng, key),
            fill_direction=_downward(fill_elevation, rng.uniform(0, 2 * math.pi)),
            fill=self._tinted(rng, fill / math.sin(fill_elevation)),
            ambient=self._tinted(rng, ambient),
        )

    def _tinted(self, rng: np.random.Generator, intensity: float) -> Vector3:
        tint = self.ranges.light_tint
        return _triple(intensity * (1.0 + rng.uniform(-tint, tint, 3)))

    def _camera(self, rng: np.random.Generator) -> CameraJitter:
        ranges = self.ranges
        reach, turn = ranges.camera_translation, math.radians(ranges.camera_rotation)
        return CameraJitter(
            translation=_triple(rng.uniform(-reach, reach, 3)),
            rotation=_triple(rng.uniform(-turn, turn, 3)),
            focal_scale=float(rng.uniform(*ranges.focal_scale)),
        )

    def _effects(self, rng: np.random.Generator) -> CameraEffects:
        ranges = self.ranges
        balance = ranges.white_balance
        return CameraEffects(
            blur=float(rng.uniform(*ranges.blur)),
            exposure=float(rng.uniform(*ranges.exposure)),
            white_balance=_triple(1.0 + rng.uniform(-balance, balance, 3)),
            gamma=float(rng.uniform(*ranges.gamma)),
            noise=float(rng.uniform(*ranges.noise)),
            blotch=float(rng.uniform(*ranges.blotch)),
        )


_SALT: dict[Split, int] = {"train": 11, "held_out": 12}


# Shared by the samplers of a process: evaluations make one for every few trials.
@functools.cache
def _textures(split: Split, folder: Path | None) -> TextureBank:
    count = _TRAIN_TEXTURES if split == "train" else _HELD_OUT_TEXTURES
    return build_texture_bank(
        split, count=count, size=_TEXTURE_SIZE, seed=_TEXTURE_SEED, folder=folder
    )


@functools.cache
def _object_textures() -> TextureBank:
    return object_texture_bank(count=_OBJECT_TEXTURES, size=_TEXTURE_SIZE // 2, seed=_TEXTURE_SEED)


def _coin(rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.5)


def _triple(values: Any) -> Vector3:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _unit(vector: Vector3) -> Vector3:
    return _triple(np.asarray(vector) / np.linalg.norm(vector))


def _downward(elevation: float, azimuth: float) -> Vector3:
    """Direction of light that comes from `elevation` above the horizon, radians."""
    flat = math.cos(elevation)
    return flat * math.cos(azimuth), flat * math.sin(azimuth), -math.sin(elevation)
