"""The card's camera sees what the policy needs, and simulator and pinhole model agree on it."""

import dataclasses
import itertools
import math

import mujoco
import numpy as np
import pytest

from twist_policy.contract import CameraModel
from twist_sim.camera_geometry import (
    look_at_orientation,
    matrix_from_quaternion,
    project,
    quaternion_from_matrix,
)
from twist_sim.layout import Layout
from twist_sim.scene import PandaScene
from twist_sim.task_card import load_task_card

CARD = load_task_card("block_push")
CAMERA = CARD.camera.model()


def _corners(lower, upper, grow, heights):
    return [
        (x, y, z)
        for x, y, z in itertools.product(
            (lower[0] - grow, upper[0] + grow), (lower[1] - grow, upper[1] + grow), heights
        )
    ]


def _inside_crop(pixels, margin):
    image = CARD.image
    low = np.array([image.crop_x, image.crop_y]) + margin
    high = np.array([image.crop_x, image.crop_y]) + image.crop_size - margin
    return bool(np.all((pixels >= low) & (pixels <= high)))


def test_object_and_goal_are_inside_the_crop_wherever_they_start():
    half, regions = CARD.object.size / 2, CARD.layout
    cube = _corners(regions.object_lower, regions.object_upper, half, (0.0, 2 * half))
    goal = _corners(regions.goal_lower, regions.goal_upper, CARD.goal.radius / math.sqrt(2), (0,))
    # Ten pixels of 384 are left over at the worst corner.
    assert _inside_crop(project(CAMERA, cube + goal), margin=10)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [-0.03, 0.03])
def test_object_and_goal_centres_stay_in_the_crop_when_the_camera_is_moved(axis, shift):
    position = list(CAMERA.position)
    position[axis] += shift
    moved = CameraModel(**{**vars(CAMERA), "position": tuple(position)})
    regions = CARD.layout
    centres = _corners(regions.object_lower, regions.object_upper, 0.0, (0.0, CARD.object.size))
    centres += _corners(regions.goal_lower, regions.goal_upper, 0.0, (0.0,))
    assert _inside_crop(project(moved, centres), margin=0)


def test_the_cube_covers_four_to_six_of_64_pixels():
    half = CARD.object.size / 2
    left, right = project(CAMERA, [(0.5, half, half), (0.5, -half, half)])
    width = abs(right[0] - left[0]) * CARD.image.size / CARD.image.crop_size
    assert 4.0 <= width <= 6.0


def test_the_crop_is_a_whole_multiple_of_the_network_input():
    assert CARD.image.crop_size % CARD.image.size == 0


def test_the_image_is_upright_and_not_mirrored():
    middle, left, far = project(CAMERA, [(0.5, 0, 0), (0.5, 0.1, 0), (0.4, 0, 0)])
    # Seen from the front, +y of the base is on the image's right and -x (the robot) further up.
    assert left[0] > middle[0]
    assert far[1] < middle[1]


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(project(CAMERA, (2.0, 0.0, 0.6))).all()


def test_the_simulated_camera_projects_like_the_contract():
    scene = PandaScene(CARD)
    model, data = scene.model, scene.data
    mujoco.mj_forward(model, data)
    number = model.camera("workspace").id
    points = np.random.default_rng(0).uniform((0.3, -0.3, 0.0), (0.7, 0.3, 0.3), (50, 3))
    local = (points - data.cam_xpos[number]) @ data.cam_xmat[number].reshape(3, 3)
    pixel = model.cam_resolution[number] / model.cam_sensorsize[number]
    focal = model.cam_intrinsic[number, :2] * pixel
    centre = model.cam_resolution[number] / 2  # the principal point of the shipped camera
    seen = centre + focal * local[:, :2] * (1, -1) / -local[:, 2:]
    np.testing.assert_allclose(seen, project(CAMERA, points), atol=0.01)  # float32 intrinsics


@pytest.mark.parametrize(("cx", "cy"), [(320.0, 240.0), (360.0, 240.0), (320.0, 200.0)])
def test_a_drawn_picture_shows_the_disc_where_the_contract_says(cx, cy):
    card = dataclasses.replace(CARD, camera=dataclasses.replace(CARD.camera, cx=cx, cy=cy))
    scene = PandaScene(card)
    scene.reset(Layout((0.5, 0.2, 0.02), 0.0, (0.5, -0.1, 0.0)))
    with mujoco.Renderer(scene.model, card.camera.height, card.camera.width) as renderer:
        renderer.update_scene(scene.data, "workspace")
        red, green, blue = np.moveaxis(renderer.render().astype(int), -1, 0)
    rows, columns = np.nonzero((red > 200) & (green < 60) & (blue < 60))
    seen = (columns.mean() + 0.5, rows.mean() + 0.5)
    # Perspective shifts a disc's centroid by about a pixel.
    np.testing.assert_allclose(seen, project(card.camera.model(), (0.5, -0.1, 0.0)), atol=2.0)


@pytest.mark.parametrize("seed", range(20))
def test_quaternion_and_matrix_are_inverse(seed):
    quaternion = np.random.default_rng(seed).normal(size=4)
    quaternion /= np.linalg.norm(quaternion) * (1 if quaternion[0] > 0 else -1)
    matrix = matrix_from_quaternion(tuple(quaternion))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(quaternion_from_matrix(matrix), quaternion, atol=1e-12)


def test_a_camera_cannot_look_straight_down():
    with pytest.raises(ValueError, match="straight above"):
        look_at_orientation((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
