"""What is varied in a robustness measurement, and at which levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from twist_sim.appearance_ranges import AppearanceRanges
from twist_sim.task_card import TaskCard
from twist_training.robustness.disturbance import Disturbance


@dataclass(frozen=True)
class Level:
    """One point of a curve.

    Attributes:
        value: position on the axis; the number of the level where the axis has names.
        label: what the axis says there.
        disturbance: of every trial.
        trained: whether training has seen worlds like this.
    """

    value: float
    label: str
    disturbance: Disturbance
    trained: bool


@dataclass(frozen=True)
class Factor:
    """One curve.

    Attributes:
        name: on the command line and in the table.
        axis: title of the axis, with its unit.
        levels: in the order of the axis.
        named: whether the axis shows the labels rather than numbers.
    """

    name: str
    axis: str
    levels: tuple[Level, ...]
    named: bool = False


NOMINAL = Factor(
    "nominal", "held-out looks, as in evaluation", (Level(0.0, "nominal", Disturbance(), True),)
)
"""What every curve is compared with."""


def factors(card: TaskCard) -> tuple[Factor, ...]:
    """All curves of a task; where a card's training ranges end, so does what counts as trained."""
    ranges = AppearanceRanges.from_mapping(card.randomisation)
    # A displacement is trained while it lies inside the box that training draws it from, in
    # whatever direction it points.
    reach, turn = 100.0 * ranges.camera_translation, ranges.camera_rotation
    low, high = ranges.exposure
    friction_low, friction_high = card.object.friction
    return (
        NOMINAL,
        Factor(
            "camera_position",
            "camera displacement, cm",
            _levels(
                (0.0, 1.5, 3.0, 4.5, 6.0),
                lambda cm: Disturbance(camera_translation=cm / 100),
                lambda cm: cm <= reach,
            ),
        ),
        Factor(
            "camera_rotation",
            "camera rotation, degrees",
            _levels(
                (0.0, 1.5, 3.0, 4.5, 6.0),
                lambda angle: Disturbance(camera_rotation=math.radians(angle)),
                lambda angle: angle <= turn,
            ),
        ),
        Factor(
            "camera_pose",
            "camera displacement, cm, and rotation, degrees",
            _levels(
                (0.0, 1.5, 3.0, 4.5, 6.0),
                lambda amount: Disturbance(
                    camera_translation=amount / 100, camera_rotation=math.radians(amount)
                ),
                lambda amount: amount <= min(reach, turn),
            ),
        ),
        Factor(
            "brightness",
            "brightness, factor",
            _levels(
                (0.3, 0.45, 0.6, 1.0, 1.5, 2.0),
                lambda gain: Disturbance(brightness=gain),
                # It comes on top of a look's own exposure, so all of these have to stay inside.
                lambda gain: low <= gain * low and gain * high <= high,
            ),
        ),
        Factor(
            "latency",
            "added latency, ms",
            _levels(
                (0.0, 50.0, 100.0, 150.0, 200.0),
                lambda ms: Disturbance(latency=ms / 1000),
                lambda ms: ms == 0,
            ),
        ),
        Factor(
            "dropped_frames",
            "control periods without a frame, %",
            _levels(
                (0.0, 10.0, 20.0, 30.0, 40.0),
                lambda percent: Disturbance(dropped=percent / 100),
                lambda percent: percent == 0,
            ),
        ),
        Factor(
            "friction",
            "friction between object and table",
            _levels(
                (0.1, 0.3, 0.55, 0.8, 1.2),
                lambda mu: Disturbance(friction=mu),
                lambda mu: friction_low <= mu <= friction_high,
            ),
        ),
        Factor(
            "object_size",
            "size of the object, % of the trained one",
            _levels(
                (80.0, 90.0, 100.0, 110.0, 120.0),
                lambda percent: Disturbance(object_scale=percent / 100),
                lambda percent: percent == 100,
            ),
        ),
        Factor(
            "speed",
            "speed, % of the trained one, with as much more time",
            _levels(
                (10.0, 25.0, 50.0, 100.0),
                lambda percent: Disturbance(speed=percent / 100),
                lambda percent: percent == 100,
            ),
        ),
        Factor(
            "textures",
            "where table, floor and robot get their paint from",
            (
                Level(0, "trained", Disturbance(textures="train"), True),
                Level(1, "held out", Disturbance(), True),
                Level(2, "new", Disturbance(textures="new"), False),
                Level(3, "vivid", Disturbance(textures="vivid"), False),
            ),
            named=True,
        ),
        Factor(
            "camera_and_light",
            "share of: camera up to 3 cm and 3 degrees off, brightness 0.6 to 1.5",
            tuple(_camera_and_light(share) for share in (0.5, 1.0, 1.5)),
        ),
    )


def _levels(
    values: tuple[float, ...],
    disturbance: Callable[[float], Disturbance],
    trained: Callable[[float], bool],
) -> tuple[Level, ...]:
    return tuple(Level(v, f"{v:g}", disturbance(v), trained(v)) for v in values)


def _camera_and_light(share: float) -> Level:
    return Level(
        share,
        f"{share:g}",
        Disturbance(
            camera_translation=0.03 * share,
            camera_rotation=math.radians(3.0 * share),
            brightness=1.5**share,
            brightness_low=0.6**share,
            up_to=True,
        ),
        False,
    )
