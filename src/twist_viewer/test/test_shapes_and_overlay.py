"""The shapes and their drawing: the right things, at the right pixels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from twist_sim.camera_geometry import project
from twist_sim.task_card import load_task_card
from twist_viewer.overlay import draw_overlay
from twist_viewer.shapes import Believed, Kind, ShapeBuilder, Step, yaw_of

CARD = load_task_card("block_push")
CONTRACT = CARD.contract(observes_ee_position=False)
assert CARD.goal is not None
BUILDER = ShapeBuilder(CONTRACT, CARD.object.size, CARD.goal.radius)
STEP = Step(
    step=12,
    measured=np.array([0.5, 0.0, 0.05]),
    target=np.array([0.52, 0.0, 0.05]),
    surprise=3.25,
    speed_scale=1.0,
    limited_by=("leash",),
)
BELIEF = Believed(
    ee=np.array([0.501, 0.002, 0.049]),
    object=np.array([0.55, 0.1, 0.02]),
    goal=np.array([0.45, -0.1, 0.0]),
    ee_path=np.array([[0.5, 0.0, 0.05], [0.52, 0.03, 0.04]]),
    object_path=np.zeros((0, 3)),
    yaw=math.pi / 8,
)


def shapes() -> dict[str, object]:
    everything = [*BUILDER.fixed(), *BUILDER.of_step(STEP), *BUILDER.of_belief(BELIEF)]
    return {shape.name: shape for shape in everything}


def test_every_shape_is_where_and_as_large_as_it_really_is() -> None:
    found = shapes()
    box = found["workspace"].points  # type: ignore[attr-defined]
    assert box.shape == (24, 3)
    assert box.min(axis=0) == pytest.approx(CONTRACT.workspace.lower)
    assert box.max(axis=0) == pytest.approx(CONTRACT.workspace.upper)
    lengths = np.linalg.norm(box[::2] - box[1::2], axis=1)
    size = np.subtract(CONTRACT.workspace.upper, CONTRACT.workspace.lower)
    assert sorted(lengths) == pytest.approx(sorted(np.repeat(size, 4)))
    assert found["leash"].size == 2 * CONTRACT.leash  # type: ignore[attr-defined]
    cube = found["believed_object"].points  # type: ignore[attr-defined]
    assert cube.mean(axis=0) == pytest.approx(BELIEF.object)
    assert np.linalg.norm(cube[::2] - cube[1::2], axis=1) == pytest.approx(CARD.object.size)
    first = cube[1] - cube[0]  # edges along z do not turn
    assert abs(first[2]) == pytest.approx(CARD.object.size) or first[2] == pytest.approx(0.0)
    horizontal = [e for e in cube[1::2] - cube[::2] if abs(e[2]) < 1e-9]
    angles = {round(math.atan2(e[1], e[0]) % (math.pi / 2), 6) for e in horizontal}
    assert angles == {round(math.pi / 8, 6)}
    goal = found["believed_goal"].points  # type: ignore[attr-defined]
    assert np.linalg.norm(goal - BELIEF.goal, axis=1) == pytest.approx(CARD.goal.radius)
    text = found["surprise"].text  # type: ignore[attr-defined]
    assert text == "step 12, surprise 3.2 nats, limited by leash"


def test_what_the_policy_does_not_tell_is_left_out() -> None:
    blind = dataclasses.replace(BELIEF, object=np.full(3, np.nan), ee=np.full(3, np.nan))
    names = {shape.name for shape in BUILDER.of_belief(blind)}
    assert names == {"imagined_tool_path", "believed_goal"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speed_scale": 0.1}, "10% speed"),
        ({"speed_scale": 0.0}, "dry run"),
        ({"surprise": math.nan}, "nan nats"),
    ],
)
def test_the_text_tells_slow_runs_dry_runs_and_strange_numbers(
    change: dict[str, float], words: str
) -> None:
    text = BUILDER.of_step(dataclasses.replace(STEP, **change))[-1]
    assert text.kind is Kind.TEXT
    assert words in text.text
    normal = BUILDER.of_step(STEP)[-1].colour
    assert (text.colour != normal) == ("surprise" in change)


def test_the_yaw_is_read_from_a_beliefs_numbers() -> None:
    names = ["x", "object_yaw_sin_cos_4.0", "object_yaw_sin_cos_4.1"]
    assert yaw_of(names, [0.0, math.sin(4 * 0.3), math.cos(4 * 0.3)]) == pytest.approx(0.3)
    assert yaw_of(["x"], [1.0]) == 0.0
    assert yaw_of(names, [0.0, math.nan, 1.0]) == 0.0


def test_the_overlay_draws_where_the_camera_sees_a_point_and_nowhere_else() -> None:
    frame = np.full((480, 640, 3), 40, dtype=np.uint8)
    (target,) = (shape for shape in BUILDER.of_step(STEP) if shape.name == "target")
    picture = draw_overlay(frame, [target], CONTRACT.camera, legend=False)
    changed = np.argwhere(np.any(picture != frame, axis=2))
    column, row = project(CONTRACT.camera, STEP.target)
    assert changed.mean(axis=0) == pytest.approx([row - 0.5, column - 0.5], abs=1.0)
    radius = 0.016 / 2 * CONTRACT.camera.fx / 0.75  # pixels, at some 0.75 m
    assert np.abs(changed - [row, column]).max() < 3 * radius
    assert (frame == 40).all()  # the camera's own image is not touched


def test_the_leash_does_not_hide_what_is_inside_it() -> None:
    frame = np.full((480, 640, 3), 40, dtype=np.uint8)
    step = BUILDER.of_step(STEP)
    assert [s.name for s in step].index("leash") > [s.name for s in step].index("measured_tool")
    picture = draw_overlay(frame, step, CONTRACT.camera, legend=False)
    column, row = project(CONTRACT.camera, STEP.measured).round().astype(int)
    assert picture[row, column].min() > 240  # the measured tool is white


def test_the_overlay_shows_everything_at_once_and_leaves_out_what_is_behind_the_camera() -> None:
    frame = np.full((480, 640, 3), 40, dtype=np.uint8)
    everything = list(shapes().values())
    picture = draw_overlay(frame, everything, CONTRACT.camera)  # type: ignore[arg-type]
    bright = draw_overlay(np.full_like(frame, 200), everything, CONTRACT.camera)  # type: ignore[arg-type]
    assert 0 < bright[-2, 2].max() < 200, "the camera's picture shows through the legend"
    assert picture.shape == frame.shape
    assert np.any(picture != frame)
    behind = dataclasses.replace(STEP, target=np.array([3.0, 0.0, 2.0]))
    (target,) = (shape for shape in BUILDER.of_step(behind) if shape.name == "target")
    assert np.array_equal(draw_overlay(frame, [target], CONTRACT.camera, legend=False), frame)
