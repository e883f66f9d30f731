from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from twist_sim.appearance import (
    Appearance,
    AppearanceError,
    AppearanceRanges,
    AppearanceSampler,
    nominal_appearance,
)
from twist_sim.colours import rgb_to_hsv
from twist_sim.task_card import TaskCard, load_task_card


@pytest.fixture(scope="module")
def card() -> TaskCard:
    return load_task_card("block_push")


@pytest.fixture(scope="module", params=["train", "held_out"])
def sampler(request: pytest.FixtureRequest, card: TaskCard) -> AppearanceSampler:
    return AppearanceSampler(card, request.param, seed=3)


def _hue_distance(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    difference = abs(rgb_to_hsv(first)[0] - rgb_to_hsv(second)[0])
    return min(difference, 360.0 - difference)


def test_cube_and_goal_never_come_within_60_degrees_of_hue(sampler: AppearanceSampler) -> None:
    looks = [sampler.draw() for _ in range(1000)] + [nominal_appearance()]
    assert min(_hue_distance(look.cube.colour, look.goal.colour) for look in looks) >= 60.0


def test_cube_and_goal_are_always_strongly_coloured(sampler: AppearanceSampler) -> None:
    for look in [sampler.draw() for _ in range(1000)]:
        for surface in (look.cube, look.goal):
            _, saturation, value = rgb_to_hsv(surface.colour)
            assert saturation > 0.55
            assert value > 0.35


def test_nothing_else_is_painted_as_red_or_blue_as_cube_and_goal(
    sampler: AppearanceSampler,
) -> None:
    for look in [sampler.draw() for _ in range(250)]:
        for surface in (look.table, look.floor, look.robot, look.peg):
            paint = np.full((8, 8, 3), 255, np.uint8)
            if surface.texture is not None:
                bank = sampler.object_textures if surface is look.peg else sampler.textures
                paint = bank.pixels[surface.texture][::4, ::4]
            rgb = (paint / 255.0 * surface.colour).astype(np.float32)
            hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
            hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
            like_goal = (hue < 12) | (hue > 348)
            like_cube = (hue > 195) & (hue < 255)
            close = (like_goal | like_cube) & (value > 0.25)
            # A tint on a texture may add a little to the cap of 0.22; the cube has 0.6 or more.
            assert saturation[close].max(initial=0.0) < 0.4


def test_the_look_of_a_trial_depends_on_split_seed_and_trial_alone(card: TaskCard) -> None:
    first, second = (AppearanceSampler(card, "held_out", seed=7) for _ in range(2))
    second.draw()
    assert first.draw_trial(4) == second.draw_trial(4)
    assert first.draw_trial(4) != first.draw_trial(5)
    assert first.draw_trial(4) != AppearanceSampler(card, "held_out", seed=8).draw_trial(4)
    assert first.draw_trial(4) != AppearanceSampler(card, "train", seed=7).draw_trial(4)


def test_two_samplers_of_one_seed_draw_the_same_stream_of_different_looks(card: TaskCard) -> None:
    first, second = (AppearanceSampler(card, seed=1) for _ in range(2))
    looks = [first.draw() for _ in range(20)]
    assert looks == [second.draw() for _ in range(20)]
    assert len(set(looks)) == 20


def test_a_sequence_changes_paint_and_light_but_not_the_camera_pose(
    sampler: AppearanceSampler,
) -> None:
    looks = sampler.draw_sequence(10)
    assert len({look.camera for look in looks}) == 1
    assert len({look.lighting for look in looks}) == 10
    assert len({look.table for look in looks}) == 10
    assert sampler.draw_sequence(2)[0].camera != looks[0].camera


def test_every_draw_stays_within_the_ranges(sampler: AppearanceSampler) -> None:
    ranges = sampler.ranges
    for look in [sampler.draw() for _ in range(300)]:
        assert max(map(abs, look.camera.translation)) <= ranges.camera_translation
        assert np.degrees(max(map(abs, look.camera.rotation))) <= ranges.camera_rotation
        assert ranges.focal_scale[0] <= look.camera.focal_scale <= ranges.focal_scale[1]
        assert ranges.exposure[0] <= look.effects.exposure <= ranges.exposure[1]
        low, high = ranges.brightness
        assert low * (1 - ranges.light_tint) <= min(_on_the_table(look))
        assert max(_on_the_table(look)) <= high * (1 + ranges.light_tint)


def _on_the_table(look: Appearance) -> np.ndarray:
    """Light on a horizontal surface, RGB."""
    light = look.lighting
    return (
        np.array(light.ambient)
        - light.key_direction[2] * np.array(light.key)
        - light.fill_direction[2] * np.array(light.fill)
    )


def test_the_shipped_card_states_every_range_and_agrees_with_the_defaults(card: TaskCard) -> None:
    names = {field.name for field in dataclasses.fields(AppearanceRanges)}
    assert set(card.randomisation) == names
    assert AppearanceRanges.from_mapping(card.randomisation) == AppearanceRanges()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"brightnes": [0.5, 1.0]}, "unknown keys"),
        ({"brightness": 1.0}, "expected 2 numbers, found 1.0"),
        ({"camera_rotation": "one"}, "expected a number"),
        ({"blur": [2.0, 1.0]}, "smallest, largest"),
        ({"noise": [-1.0, 1.0]}, ">= 0"),
        ({"cube_hue": [250.0, 320.0]}, "within 32 degrees"),
        ({"cube_hue": [30.0, 200.0]}, "within 22 degrees"),
    ],
)
def test_malformed_ranges_are_refused_by_name(data: dict[str, object], message: str) -> None:
    with pytest.raises(AppearanceError, match=message):
        AppearanceRanges.from_mapping(data)


def test_an_unknown_split_is_refused(card: TaskCard) -> None:
    with pytest.raises(AppearanceError, match="'train' or 'held_out', found 'test'"):
        AppearanceSampler(card, "test")  # type: ignore[arg-type]


def test_own_images_join_the_training_textures_only(card: TaskCard, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "own.png"), np.full((16, 16, 3), 90, np.uint8))
    train = AppearanceSampler(card, "train", textures_folder=tmp_path)
    held_out = AppearanceSampler(card, "held_out", textures_folder=tmp_path)
    assert train.textures.families.count("folder") == 1
    assert "folder" not in held_out.textures.families
