from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from twist_sim.appearance import AppearanceSampler, nominal_appearance
from twist_sim.camera_effects import CameraEffects
from twist_sim.camera_geometry import project
from twist_sim.image_resize import downscale
from twist_sim.layout import draw_layout
from twist_sim.rendering import RenderError, SceneRenderer
from twist_sim.scene import SIM_STATE_SIZE, PandaScene
from twist_sim.task_card import TaskCard, load_task_card


@dataclasses.dataclass(frozen=True)
class World:
    card: TaskCard
    sampler: AppearanceSampler
    renderer: SceneRenderer
    states: list[NDArray[np.float64]]


def _states(card: TaskCard, count: int) -> list[NDArray[np.float64]]:
    scene, states = PandaScene(card), []
    for trial in range(count):
        scene.reset(draw_layout(card, seed=5, trial=trial))
        states.append(scene.get_state())
    return states


@pytest.fixture(scope="module", params=["train", "held_out"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    card = load_task_card("block_push")
    sampler = AppearanceSampler(card, request.param, seed=2)
    with SceneRenderer(card, sampler) as renderer:
        yield World(card, sampler, renderer, _states(card, 12))


def _cut(card: TaskCard, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    spec = card.image
    return frame[
        spec.crop_y : spec.crop_y + spec.crop_size, spec.crop_x : spec.crop_x + spec.crop_size
    ]


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def test_a_crop_at_full_resolution_is_the_same_picture_as_the_cut_frame(world: World) -> None:
    for state in world.states:
        look = world.sampler.draw()
        cut = _cut(world.card, world.renderer.render_frame(state, look))
        crop = world.renderer.render_crop(state, look, world.card.image.crop_size)
        # Rounding in the projection may give a pixel on an edge to the other side.
        assert (np.abs(crop.astype(int) - cut).max(axis=-1) > 8).mean() < 1e-3


def test_a_rendered_crop_resized_agrees_with_the_resized_frame(world: World) -> None:
    """Golden test of the shortcut that training takes.

    128 pixels sample an edge or a fine texture less often than 384 do; that difference is
    aliasing, not geometry. Measured: 0.95 counts on average, up to 5 for a fine checker on the
    table. A shift by half a pixel of the network's input would make it 2.4 on average.
    """
    size, differences = world.card.image.size, []
    for state in world.states:
        look = world.sampler.draw()
        full = downscale(_cut(world.card, world.renderer.render_frame(state, look)), size)
        crop = downscale(world.renderer.render_crop(state, look, 128), size)
        differences.append(_difference(full, crop))
    assert np.mean(differences) < 1.6
    assert max(differences) < 6.0


def test_a_training_image_is_what_the_full_path_would_make_of_the_camera_image(
    world: World,
) -> None:
    """With blur and tone but without noise, which is compared in distribution elsewhere."""
    differences = []
    for state in world.states:
        look = world.sampler.draw()
        quiet = dataclasses.replace(look.effects, noise=0.0, blotch=0.0)
        look = dataclasses.replace(look, effects=quiet)
        rng = np.random.default_rng(0)
        frame = world.renderer.render_camera_image(state, look, rng)
        image = world.renderer.render_training_image(state, look, rng)
        assert image.shape == (world.card.image.size, world.card.image.size, 3)
        differences.append(_difference(downscale(_cut(world.card, frame), 64), image))
    assert np.mean(differences) < 1.6


def test_cube_and_goal_appear_where_the_camera_model_projects_them(world: World) -> None:
    camera = world.card.camera.model()
    compared = 0
    for state in world.states:
        frame = world.renderer.render_frame(state, nominal_appearance()).astype(int)
        red = (frame[..., 0] > 110) & (frame[..., 1] < 70) & (frame[..., 2] < 70)
        blue = frame[..., 2] > frame[..., 0] + 40
        for mask, point, full in (
            (red, [*state[14:16], 0.0], 2300),
            (blue, state[7:10], 900),
        ):
            if mask.sum() < full:
                continue  # partly hidden by the arm or by each other: no centre to compare
            rows, columns = np.nonzero(mask)
            seen = np.array([columns.mean(), rows.mean()])
            # Three pixels: the centre of a silhouette is not the projection of the centre.
            assert np.abs(seen - project(camera, point)).max() < 3.0
            compared += 1
    assert compared > len(world.states)


def test_camera_jitter_moves_the_picture_by_what_it_says(world: World) -> None:
    look = nominal_appearance()
    state = world.states[0]
    angle = 0.02
    turned = dataclasses.replace(
        look, camera=dataclasses.replace(look.camera, rotation=(0.0, angle, 0.0))
    )
    centres = []
    for appearance in (look, turned):
        frame = world.renderer.render_frame(state, appearance).astype(int)
        columns = np.nonzero((frame[..., 0] > 110) & (frame[..., 1] < 70))[1]
        centres.append(columns.mean())
    # A camera that turns right (about its y axis, which points down) sees things move left.
    shift = centres[1] - centres[0]
    assert shift == pytest.approx(-angle * world.card.camera.fx, rel=0.1)


def test_cube_and_goal_keep_their_hues_in_200_training_images(world: World) -> None:
    """Blue stays blue and red stays red through light, exposure, white balance, blur and noise."""
    rng = np.random.default_rng(0)
    checked = 0
    plain = nominal_appearance()
    for index in range(200):
        state = world.states[index % len(world.states)]
        look = dataclasses.replace(world.sampler.draw(), camera=plain.camera)
        ideal = world.renderer.render_training_image(state, plain, rng).astype(np.float32)
        image = world.renderer.render_training_image(state, look, rng).astype(np.float32) / 255
        red = (ideal[..., 0] > 130) & (ideal[..., 1] < 60)
        blue = ideal[..., 2] > ideal[..., 0] + 70
        for mask, centre, reach in ((red, 0.0, 30.0), (blue, 225.0, 50.0)):
            if mask.sum() < 6:
                continue  # behind the arm
            colour = image[mask].mean(axis=0).reshape(1, 1, 3)
            hue, saturation, _ = cv2.cvtColor(colour, cv2.COLOR_RGB2HSV).reshape(3)
            distance = abs((hue - centre + 180) % 360 - 180)
            assert distance < reach, f"look {index}: hue {hue:.0f}"
            assert saturation > 0.3, f"look {index}: saturation {saturation:.2f}"
            checked += 1
    assert checked > 300


def test_looks_do_not_leak_into_each_other(world: World) -> None:
    first, second = world.sampler.draw(), world.sampler.draw()
    state = world.states[0]
    alone = world.renderer.render_crop(state, first)
    world.renderer.render_crop(world.states[1], second)
    assert np.array_equal(world.renderer.render_crop(state, first), alone)
    world.renderer.render_frame(state, second)
    assert np.array_equal(world.renderer.render_crop(state, first), alone)


def test_float32_states_from_storage_render_like_the_originals(world: World) -> None:
    state, look = world.states[0], world.sampler.draw()
    stored = world.renderer.render_crop(state.astype(np.float32), look)
    assert _difference(stored, world.renderer.render_crop(state, look)) < 0.05


def test_two_renderers_of_one_process_do_not_disturb_each_other(world: World) -> None:
    look, state = world.sampler.draw(), world.states[0]
    alone = world.renderer.render_crop(state, look)
    with SceneRenderer(world.card, world.sampler) as other:
        other.render_frame(state, world.sampler.draw())
        assert np.array_equal(world.renderer.render_crop(state, look), alone)
    assert np.array_equal(world.renderer.render_crop(state, look), alone)


@pytest.mark.parametrize(
    "bad", [np.zeros(15), np.full(SIM_STATE_SIZE, np.nan), np.zeros((1, SIM_STATE_SIZE))]
)
def test_what_is_not_a_simulator_state_is_refused(world: World, bad: NDArray[np.float64]) -> None:
    with pytest.raises(RenderError, match=f"{SIM_STATE_SIZE} finite numbers"):
        world.renderer.render_crop(bad, nominal_appearance())


def test_a_closed_renderer_says_so(world: World) -> None:
    renderer = SceneRenderer(world.card, world.sampler)
    renderer.close()
    renderer.close()
    with pytest.raises(RenderError, match="was closed"):
        renderer.render_crop(world.states[0], nominal_appearance())


def _render_elsewhere(state: NDArray[np.float64]) -> NDArray[np.uint8]:
    card = load_task_card("block_push")
    sampler = AppearanceSampler(card, "train", seed=9)
    with SceneRenderer(card, sampler) as renderer:
        return renderer.render_training_image(state, sampler.draw(), np.random.default_rng(1))


def test_two_spawned_processes_render_the_same_training_image_as_this_one() -> None:
    state = _states(load_task_card("block_push"), 1)[0]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map_async(_render_elsewhere, [state, state]).get(timeout=90)
    here = _render_elsewhere(state)
    assert all(np.array_equal(result, here) for result in results)


def test_an_ideal_camera_delivers_the_frame_unchanged(world: World) -> None:
    look = dataclasses.replace(world.sampler.draw(), effects=CameraEffects())
    frame = world.renderer.render_frame(world.states[0], look)
    rng = np.random.default_rng(0)
    assert frame.shape == (480, 640, 3)
    assert np.array_equal(world.renderer.render_camera_image(world.states[0], look, rng), frame)
