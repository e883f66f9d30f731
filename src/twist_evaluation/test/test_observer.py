"""The observer on rendered pictures whose truth is known, and on pictures it must refuse."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from twist_evaluation.observer.colours import (
    ColourError,
    ColourModel,
    Image,
    fit_colours,
    read_colours,
    save_colours,
)
from twist_evaluation.observer.pictures import draw_observation
from twist_evaluation.observer.table_camera import CameraFileError, TableCamera, read_camera
from twist_evaluation.observer.table_observer import ObserverRefusal, SceneSizes, TableObserver
from twist_evaluation.observer.verdict import is_clear
from twist_evaluation.pick_colours import main as pick_colours
from twist_evaluation.placement import check_placement, draw_placement
from twist_evaluation.trial_stand import ObjectLayout
from twist_sim.appearance import AppearanceSampler, CameraJitter, nominal_appearance
from twist_sim.gl_backend import RenderError
from twist_sim.layout import Layout
from twist_sim.rendering import SceneRenderer
from twist_sim.scene import PandaScene
from twist_sim.task_card import load_task_card

CARD = load_task_card("block_push")
CAMERA = TableCamera(CARD.camera.model())
SIZES = SceneSizes(
    CARD.object.size,
    0.05,
    (CARD.workspace.lower[0], CARD.workspace.lower[1]),
    (CARD.workspace.upper[0], CARD.workspace.upper[1]),
)
START = Layout((0.55, 0.10, 0.02), 0.3, (0.48, -0.08, 0.0))


class Studio:
    """Takes pictures of layouts, with the arm at home, seen from exactly where the card says."""

    def __init__(self) -> None:
        self.scene = PandaScene(CARD)
        self.sampler = AppearanceSampler(CARD, "held_out", 31)
        self.renderer = SceneRenderer(CARD, self.sampler)

    def picture(
        self, layout: Layout, look: int | None = None, tip: list[float] | None = None
    ) -> Image:
        self.scene.reset(layout)
        if tip is not None:
            self.scene.place_tool(tip)
        appearance = nominal_appearance()
        if look is not None:
            appearance = dataclasses.replace(self.sampler.draw_trial(look), camera=CameraJitter())
        rng = np.random.default_rng(5)
        return self.renderer.render_camera_image(self.scene.get_state(), appearance, rng)


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    try:
        made = Studio()
    except RenderError as error:
        pytest.skip(str(error))
    yield made
    made.renderer.close()


def clicked(frame: Image, layout: Layout) -> ColourModel:
    cube, goal = CAMERA.project([layout.object_position, layout.goal_position])
    return fit_colours(frame, (cube[0] + 2, cube[1] - 2), (goal[0] - 3, goal[1] + 1))


def observer(frame: Image, layout: Layout = START) -> TableObserver:
    return TableObserver(CAMERA, SIZES, clicked(frame, layout))


def test_pixels_and_places_on_the_table_are_inverse_with_and_without_distortion() -> None:
    places = np.array([[0.4, -0.2], [0.5, 0.0], [0.65, 0.2]])
    points = np.column_stack([places, np.full(3, 0.02)])
    for camera in (CAMERA, TableCamera(CAMERA.model, (0.1, -0.2, 0.001, -0.001, 0.0))):
        pixels = camera.project(points)
        assert camera.on_plane(pixels, 0.02) == pytest.approx(places, abs=1e-5)
    # The optical axis passes through the middle of the picture: between pixels 319 and 320.
    axis = CAMERA.project([CARD.camera.look_at])
    assert axis[0] == pytest.approx([319.5, 239.5], abs=1e-6)


@pytest.mark.parametrize("look", [None, 0, 1, 2, 3])
def test_distance_is_right_to_two_millimetres_in_looks_never_trained_on(
    studio: Studio, look: int | None
) -> None:
    watching = observer(studio.picture(START, look))
    rng = np.random.default_rng(look)
    # From the cube on the middle of the disc, hiding half of it, to clear of it.
    for distance in (0.0, 0.045, 0.10):
        angle = rng.uniform(0, 2 * math.pi)
        x, y = 0.5 + distance * math.cos(angle), 0.02 + distance * math.sin(angle)
        layout = Layout((x, y, 0.02), float(rng.uniform(-3, 3)), (0.5, 0.02, 0.0))
        seen = watching.observe(studio.picture(layout, look))

        assert seen.distance == pytest.approx(distance, abs=0.002)
        assert seen.cube.position == pytest.approx((x, y), abs=0.003)
        assert seen.goal.position == pytest.approx((0.5, 0.02), abs=0.003)
        turned = (seen.cube.yaw - layout.object_yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4
        assert abs(turned) < math.radians(8)
        assert 0 < seen.deviation < 0.003


def test_what_is_missing_hidden_or_there_twice_is_refused_with_the_reason(studio: Studio) -> None:
    frame = studio.picture(START)
    watching = observer(frame)
    empty = frame[:40, :40].mean(axis=(0, 1)).astype(np.uint8)
    cube, goal = CAMERA.project([START.object_position, START.goal_position]).astype(int)

    without_cube = frame.copy()
    without_cube[cube[1] - 40 : cube[1] + 40, cube[0] - 40 : cube[0] + 40] = empty
    with pytest.raises(ObserverRefusal, match="the cube is not seen: nothing"):
        watching.observe(without_cube)

    without_goal = frame.copy()
    without_goal[goal[1] - 60 : goal[1] + 60, goal[0] - 60 : goal[0] + 60] = empty
    with pytest.raises(ObserverRefusal, match="the goal is not seen: nothing"):
        watching.observe(without_goal)

    twice = frame.copy()
    patch = frame[cube[1] - 25 : cube[1] + 25, cube[0] - 25 : cube[0] + 25]
    twice[300:350, 300:350] = patch
    with pytest.raises(ObserverRefusal, match="two candidates for the cube"):
        watching.observe(twice)

    with pytest.raises(ObserverRefusal, match="320x240, the camera was calibrated at 640x480"):
        watching.observe(np.ascontiguousarray(frame[::2, ::2]))


@pytest.mark.parametrize("columns", [-10, -3, 3, 10])
def test_half_a_cube_is_refused_however_much_of_it_is_hidden(studio: Studio, columns: int) -> None:
    frame = studio.picture(START)
    watching = observer(frame)
    column, row = CAMERA.project(START.object_position).astype(int)
    frame[row - 40 : row + 40, column + columns : column + 30] = (60, 60, 60)

    with pytest.raises(ObserverRefusal, match="the cube"):
        watching.observe(frame)


def test_something_of_the_cubes_colour_but_not_its_shape_is_refused(studio: Studio) -> None:
    frame = studio.picture(START)
    watching = observer(frame)
    cube = CAMERA.project(START.object_position).astype(int)
    colour = frame[cube[1], cube[0]]
    frame[cube[1] - 14 : cube[1] + 14, cube[0] - 60 : cube[0] + 60] = colour

    with pytest.raises(ObserverRefusal, match="cube"):
        watching.observe(frame)


def test_a_click_beside_the_thing_is_refused(studio: Studio) -> None:
    frame = studio.picture(START)
    cube, goal = CAMERA.project([START.object_position, START.goal_position])

    with pytest.raises(ColourError, match="hardly any colour"):
        fit_colours(frame, (20.0, 460.0), (goal[0], goal[1]))
    with pytest.raises(ColourError, match="too alike"):
        fit_colours(frame, (cube[0], cube[1]), (cube[0], cube[1]))
    with pytest.raises(ColourError, match="outside the picture"):
        fit_colours(frame, (cube[0], 480.0), (goal[0], goal[1]))


def test_colours_survive_their_file_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    model = ColourModel((-0.2, 0.9), (0.7, -0.6))
    path = tmp_path / "colours.json"
    save_colours(model, path)
    assert read_colours(path) == model
    for text in ("", '{"format_version": 9}', '{"format_version": 1, "cube": [1], "goal": [2]}'):
        path.write_text(text)
        with pytest.raises(ColourError, match="no colours can be read"):
            read_colours(path)


def test_colours_are_clicked_in_a_picture_file(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    frame = studio.picture(START)
    cv2.imwrite(str(tmp_path / "view.png"), frame[..., ::-1])
    (cx, cy), (gx, gy) = CAMERA.project([START.object_position, START.goal_position])
    out, check = tmp_path / "colours.json", tmp_path / "check.png"
    words = [str(tmp_path / "view.png"), "--cube", f"{cx:.0f},{cy:.0f}", "--out", str(out)]

    assert pick_colours([*words, "--goal", f"{gx:.0f},{gy:.0f}", "--check", str(check)]) == 0
    assert TableObserver(CAMERA, SIZES, read_colours(out)).observe(frame).distance > 0.15
    assert check.exists()
    assert pick_colours([*words, "--goal", "5,5"]) == 2
    assert "hardly any colour" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        pick_colours([*words, "--goal", "nan,5"])
    assert "'nan,5' is not COLUMN,ROW" in capsys.readouterr().err
    assert pick_colours([str(tmp_path / "no.png"), "--cube", "1,1", "--goal", "2,2"]) == 2


def test_a_camera_file_is_read_and_a_wrong_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(
        "format: 1\ncamera: {width: 640, height: 480, fx: 610, fy: 611, cx: 319.5, cy: 239.5,\n"
        "  distortion: [0.1, 0, 0, 0, 0], position: [1, 0, 0.5], orientation: [0, 1, 0, 0]}\n"
    )
    camera = read_camera(path)
    assert (camera.model.cx, camera.model.fy, camera.distortion[0]) == (320.0, 611.0, 0.1)
    for text in ("", "camera: {width: 640}", "camera: [1]", ": :"):
        path.write_text(text)
        with pytest.raises(CameraFileError, match="twist-calibrate"):
            read_camera(path)


def test_placement_says_which_way_to_move_in_the_picture(studio: Studio) -> None:
    layout = ObjectLayout(START.object_position, START.object_yaw, START.goal_position)
    frame = studio.picture(START)
    watching = observer(frame)
    seen = watching.observe(frame)
    assert check_placement(layout, seen.cube, seen.goal, CAMERA).good

    # The camera looks towards the robot: +y is on the right of the picture, +x is down.
    wrong = Layout((0.55, 0.06, 0.02), START.object_yaw + 0.5, (0.45, -0.08, 0.0))
    seen = watching.observe(studio.picture(wrong))
    check = check_placement(layout, seen.cube, seen.goal, CAMERA)
    move_cube, move_goal, turn = check.advice
    assert re.fullmatch(r"move the cube (3\.9|4\.[01]) cm right in the picture", move_cube)
    assert re.fullmatch(r"move the goal (2\.9|3\.[01]) cm down in the picture", move_goal)
    assert turn.startswith("turn the cube ")
    assert turn.endswith("degrees clockwise, seen from above")
    assert check.yaw_error == pytest.approx(0.5, abs=0.05)


def test_pictures_show_outline_and_ghost_and_leave_the_frame_alone(studio: Studio) -> None:
    frame = studio.picture(START)
    kept = frame.copy()
    layout = ObjectLayout((0.42, 0.0, 0.02), 0.0, (0.6, 0.1, 0.0))
    measured = draw_observation(frame, CAMERA, observer(frame).observe(frame))
    ghost = draw_placement(frame, CAMERA, SIZES, layout, ["trial 1"])
    place = CAMERA.project(layout.goal_position).astype(int)

    assert (frame == kept).all()
    assert (measured != frame).any(axis=2).sum() > 200
    # The ghost is yellow where the disc has to be put.
    red, green, blue = (ghost[place[1], place[0]].astype(int) - frame[place[1], place[0]]).tolist()
    assert red > blue
    assert green > blue


def test_close_to_the_limit_nobody_is_sure() -> None:
    assert is_clear(0.045, 0.001, 0.05)
    assert not is_clear(0.049, 0.001, 0.05)
    assert not is_clear(0.0515, 0.001, 0.05)
