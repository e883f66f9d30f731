"""What is done to the world of one evaluation trial, and how it changes the trial's look.

A trial's layout, look, and the directions of its disturbances are drawn from (seed, trial) and
nothing else: the same trial at another level differs in that level alone, so that curves are
paired comparisons.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twist_policy.action_gate import step_periods
from twist_sim.appearance import Appearance, AppearanceSampler, CameraJitter
from twist_sim.task_card import TaskCard
from twist_training.robustness.new_textures import new_texture_bank

Textures = Literal["train", "held_out", "new", "vivid"]

_DIRECTIONS = 7331
"""Salt of the random stream that a trial's disturbances are drawn from."""


@dataclass(frozen=True)
class Disturbance:
    """How the world of a trial differs from the task card; the defaults change nothing.

    Attributes:
        camera_translation: distance of the camera from where the card says, metres, in a random
            direction; None draws it from the card's ranges, as in training.
        camera_rotation: angle by which the camera is turned about a random axis, radians; None
            draws it from the card's ranges.
        up_to: the two above, and `brightness`, are upper ends: each trial draws how much of them
            it gets, uniformly (brightness: between 1 / `brightness_low` and `brightness`,
            uniformly in its logarithm).
        brightness: factor on the light that reaches the sensor, before it saturates.
        brightness_low: lower end of the brightness where `up_to`.
        latency: seconds by which every frame, and the position measured with it, is older than
            it should be.
        dropped: probability that a control period has no new frame. The arm holds still then.
        friction: sliding friction between object and table; None draws it from the card's range.
        object_scale: factor on the object's edge.
        speed: share of the trained speed, in (0, 1]: the node's `speed`. A step takes so many
            more control periods.
        textures: where paint comes from: families that the student was trained on, those held
            out, ones of no split (`new_textures`), or the held-out ones with strong colours, red
            and blue among them, which no other bank has.
    """

    camera_translation: float | None = None
    camera_rotation: float | None = None
    up_to: bool = False
    brightness: float = 1.0
    brightness_low: float = 1.0
    latency: float = 0.0
    dropped: float = 0.0
    friction: float | None = None
    object_scale: float = 1.0
    speed: float = 1.0
    textures: Textures = "held_out"

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropped < 1.0:
            raise ValueError(f"dropped is a probability in [0, 1), found {self.dropped}")
        step_periods(self.speed)  # refuses what is no share
        if self.latency < 0.0:
            raise ValueError(f"latency must not be negative, found {self.latency}")
        for name in ("brightness", "brightness_low", "object_scale"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"{name} must be positive, found {getattr(self, name)}")

    def card(self, card: TaskCard) -> TaskCard:
        """The task card of the disturbed world."""
        item = card.object
        friction = item.friction if self.friction is None else (self.friction, self.friction)
        changed = dataclasses.replace(item, friction=friction, size=item.size * self.object_scale)
        result = dataclasses.replace(card, object=changed)
        object.__setattr__(result, "source", card.source)
        return result

    def sampler(self, card: TaskCard, seed: int) -> AppearanceSampler:
        """Draws the looks of the trials."""
        # All of one stream, so that a trial has the same camera, light and colours in any paint.
        sampler = AppearanceSampler(card, split="held_out", seed=seed)
        if self.textures == "train":
            sampler.textures = AppearanceSampler(card, split="train").textures
        elif self.textures in ("new", "vivid"):
            sampler.textures = new_texture_bank(
                "vivid" if self.textures == "vivid" else "new",
                count=len(sampler.textures),
                size=sampler.textures.pixels.shape[1],
            )
        return sampler

    def look(self, look: Appearance, seed: int, trial: int) -> Appearance:
        """The trial's look under this disturbance."""
        rng = np.random.default_rng([_DIRECTIONS, seed, trial])
        towards, about = _unit_vector(rng), _unit_vector(rng)
        shares = rng.uniform(size=3) if self.up_to else np.ones(3)
        low, high = np.log(self.brightness_low), np.log(self.brightness)
        gain = np.exp(low + (high - low) * shares[2]) if self.up_to else self.brightness
        translation, rotation = look.camera.translation, look.camera.rotation
        if self.camera_translation is not None:
            translation = _triple(self.camera_translation * shares[0] * towards)
        if self.camera_rotation is not None:
            rotation = _triple(self.camera_rotation * shares[1] * about)
        return dataclasses.replace(
            look,
            camera=CameraJitter(translation, rotation, look.camera.focal_scale),
            effects=dataclasses.replace(look.effects, exposure=look.effects.exposure * float(gain)),
        )

    def drops(self, seed: int, trial: int, steps: int) -> NDArray[np.bool_]:
        """Which control periods of a trial have no new frame, (steps,); the first always has.

        The same trial at a higher rate loses these frames and more.
        """
        rng = np.random.default_rng([_DIRECTIONS + 1, seed, trial])
        lost: NDArray[np.bool_] = rng.uniform(size=steps) < self.dropped
        lost[0] = False
        return lost


def _unit_vector(rng: np.random.Generator) -> NDArray[np.float64]:
    vector = rng.standard_normal(3)
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def _triple(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in vector)
    return x, y, z
