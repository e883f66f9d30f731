"""``twist-calibrate`` from the printed board to the camera file."""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PngFile

from twist_camera.calibrate import main
from twist_camera.camera_file import (
    CameraFile,
    CameraFileError,
    camera_difference,
    contract_of,
    load_camera_file,
    table_points,
)
from twist_camera.charuco_board import BoardDetector, BoardError, BoardSpec
from twist_camera.limits import CameraLimits, LimitsError, load_limits
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics, CameraMatchError, crop_points
from twist_policy.contract import PolicyContract

CHECKPOINT = Path(__file__).resolve().parents[3] / "models" / "block_push"
POINT = 72 / 25.4 * 1000
"""PDF points per metre."""


def trained_camera(contract: PolicyContract, **change: float) -> CameraFile:
    """The contract's camera as a camera file."""
    model = contract.camera
    lens = dataclasses.replace(CameraIntrinsics.from_model(model), **change)
    pose = RigidTransform.from_quaternion(model.position, model.orientation)
    return CameraFile("panda_link0", lens, pose, {})


def test_the_printed_board_has_its_true_size(tmp_path: Path) -> None:
    assert main(["board", "--output", str(tmp_path / "board.pdf")]) == 0
    data = (tmp_path / "board.pdf").read_bytes()
    page = [float(v) for v in re.search(rb"/MediaBox \[([^\]]*)\]", data)[1].split()]  # type: ignore[index]
    assert page == pytest.approx([0, 0, 0.297 * POINT, 0.210 * POINT], abs=0.01)
    streams = [
        zlib.decompress(part)
        for part in re.findall(rb"stream\n(.*?)\nendstream", data, re.S)
        if part[:1] == b"x"
    ]
    pair = rb"(-?[\d.]+) (-?[\d.]+)"
    path = pair + rb" [ml]\n" + pair + rb" l\n" + pair + rb" l"
    corners = np.array(
        [[float(v) for v in found] for text in streams for found in re.findall(path, text)]
    ).reshape(-1, 3, 2)
    edges = np.linalg.norm(np.diff(corners, axis=1), axis=2) / POINT
    squares = corners[(np.abs(edges - 0.035) < 1e-5).all(axis=1)]
    assert len(squares) == 18  # black squares of a 7 x 5 board
    width, height = (np.ptp(squares.reshape(-1, 2), axis=0) / POINT).tolist()
    assert (width, height) == pytest.approx((7 * 0.035, 5 * 0.035), abs=1e-5)


def test_a_board_that_does_not_fit_or_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "board.pdf")]
    assert main(["board", "--square-mm", "50", "--marker-mm", "37", *output]) == 1
    assert "a4 has room for" in capsys.readouterr().err
    assert main(["board", "--square-mm", "50", "--marker-mm", "37", "--paper", "a3", *output]) == 0
    assert main(["board", "--marker-mm", "34", *output]) == 1
    assert "smaller than 0.9 of the squares" in capsys.readouterr().err
    with pytest.raises(BoardError, match="at most 100 squares"):
        BoardSpec(columns=20, rows=20)


def test_the_drawn_rectangles_are_the_board_that_is_detected() -> None:
    spec, scale, margin = BoardSpec(), 6000, 60  # a module is 26 pixels
    width, height = (round(edge * scale) + 2 * margin for edge in spec.size)
    image = np.full((height, width, 3), 255, np.uint8)
    for x, y, w, h in spec.black_rectangles():
        left, top = round(x * scale) + margin, round(y * scale) + margin
        image[top : top + round(h * scale), left : left + round(w * scale)] = 0
    found = BoardDetector(spec).detect(image)
    assert found.numbers.tolist() == list(range(24))
    # Edges lie between pixels, half a pixel from the centres that are counted from.
    # (OpenCV 4 finds corners of edges without any blur half a pixel beside.)
    assert found.pixels == pytest.approx(spec.corners[:, :2] * scale + margin - 0.5, abs=0.6)


@pytest.mark.timeout(300)  # rendering; a busy machine takes its time
def test_a_rehearsed_session_is_solved_checked_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, result = str(tmp_path / "session"), str(tmp_path / "camera.yaml")
    checkpoint = ["--checkpoint", str(CHECKPOINT)]
    assert main(["rehearse", folder, "--views", "10", "--seed", "3", *checkpoint]) == 0
    assert main(["rehearse", folder, *checkpoint]) == 1  # never overwritten
    # The lab's own camera file is no place for a rehearsal's, and a complete session no new one.
    assert main(["solve", folder]) == 0
    assert Path(folder, "camera.yaml").is_file()
    assert not Path("calibration").exists()
    assert main(["collect", folder, "--views", "10"]) == 1
    assert "has its 10 views already" in capsys.readouterr().err
    assert main(["solve", folder, "--output", result]) == 0
    out = capsys.readouterr().out
    assert re.search(r"reprojection error: 0\.\d+ pixels", out)
    found, truth = (load_camera_file(Path(p)) for p in (result, f"{folder}/truth.yaml"))
    distance, angle = found.base_to_camera.distance_to(truth.base_to_camera)
    assert distance <= 0.003
    assert np.degrees(angle) <= 0.5
    assert found.quality["views"] == 10
    assert found.quality["board_scale"]["value"] == pytest.approx(1.0, abs=0.005)
    wrong = str(tmp_path / "wrong.yaml")
    assert main(["solve", folder, "--output", wrong, "--square-mm", "35.7"]) == 1
    assert "times the size told" in capsys.readouterr().err
    assert not Path(wrong).exists()
    picture = str(tmp_path / "overlay.png")
    view = f"{folder}/view_000.png"
    assert main(["overlay", result, "--image", view, "--output", picture, *checkpoint]) == 0
    with PngFile.open(picture) as drawn:
        assert drawn.size == (1280, 960)
    assert main(["overlay", result, "--image", view, "--output", str(tmp_path / "grid")]) == 1
    assert "ends in .png" in capsys.readouterr().err
    # Limits that are nearly zero refuse any real camera.
    limits = tmp_path / "limits.yaml"
    limits.write_text("{position: 0.0001, angle: 0.001, picture: 0.01, reference: 1}")
    assert main(["check", result, *checkpoint, "--limits", str(limits)]) == 1
    assert "the camera stands" in capsys.readouterr().err


def test_the_grid_is_drawn_where_the_table_is(contract: PolicyContract, tmp_path: Path) -> None:
    camera = trained_camera(contract)
    grey = np.full((480, 640, 3), 90, np.uint8)
    PngFile.fromarray(grey).save(tmp_path / "grey.png")
    camera.save(tmp_path / "camera.yaml")
    output = tmp_path / "grid.png"
    files = [str(tmp_path / "camera.yaml"), "--image", str(tmp_path / "grey.png")]
    assert main(["overlay", *files, "--output", str(output)]) == 0
    with PngFile.open(output) as file:
        drawn = np.asarray(file)
    yellow = (drawn[..., 0] > 200) & (drawn[..., 1] > 200) & (drawn[..., 2] < 80)
    crossings = np.array([(0.4, -0.1, 0), (0.5, 0.1, 0), (0.6, 0.0, 0)])
    for column, row in np.rint((camera.project(crossings) + 0.5) * 2 - 0.5).astype(int):
        assert yellow[row - 2 : row + 3, column - 2 : column + 3].any()


def test_a_camera_file_comes_back_as_it_was_written(
    contract: PolicyContract, tmp_path: Path
) -> None:
    camera = dataclasses.replace(
        trained_camera(contract, distortion=(0.1, -0.2, 0.001, 0.002, 0.0)), quality={"views": 12}
    )
    camera.save(tmp_path / "folder" / "camera.yaml")
    back = load_camera_file(tmp_path / "folder" / "camera.yaml")
    assert (back.intrinsics, back.quality, back.base_frame) == (
        camera.intrinsics,
        camera.quality,
        camera.base_frame,
    )
    assert max(back.base_to_camera.distance_to(camera.base_to_camera)) < 1e-12


def test_the_camera_trained_with_has_no_difference_and_a_moved_one_has_its_own(
    contract: PolicyContract,
) -> None:
    camera = trained_camera(contract)
    same = camera_difference(camera, contract.camera, contract.image)
    assert (same.position, same.angle, same.picture) == pytest.approx((0, 0, 0), abs=1e-6)
    assert not same.problems(CameraLimits(1e-5, 1e-5, 1e-3, 1.0))

    turned = dataclasses.replace(
        camera, base_to_camera=camera.base_to_camera.moved([0, 0, np.radians(3), 0.04, 0, 0])
    )
    moved = camera_difference(turned, contract.camera, contract.image)
    assert moved.position == pytest.approx(0.04)
    assert moved.angle == pytest.approx(3.0)
    pixels = turned.project(table_points(contract.camera, contract.image)) + 0.5
    expected = np.linalg.norm(pixels - crop_points(contract.image), axis=1).max()
    assert moved.picture == pytest.approx(expected)
    problems = moved.problems(load_limits())
    assert len(problems) == 3
    assert "40 mm from where" in problems[0]
    assert "turned by 3.0 degrees" in problems[1]


def test_another_frame_size_is_no_match(contract: PolicyContract) -> None:
    camera = trained_camera(contract, width=1280, height=720)
    with pytest.raises(CameraMatchError, match="1280x720, the policy was trained with 640x480"):
        camera_difference(camera, contract.camera, contract.image)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("format"), "no camera file of format 1"),
        (lambda d: d["camera"].pop("fx"), "is damaged"),
        (lambda d: d["camera"].update(orientation=[0, 0, 0, 0]), "is damaged"),
        (lambda d: d["camera"].update(distortion=[0.1]), "is damaged"),
        (lambda d: d["camera"].update(fx=float("nan")), "is damaged"),
    ],
)
def test_a_damaged_camera_file_is_refused(
    contract: PolicyContract, tmp_path: Path, damage: Callable[[dict], object], message: str
) -> None:
    path = tmp_path / "camera.yaml"
    trained_camera(contract).save(path)
    data = yaml.safe_load(path.read_text())
    damage(data)
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(CameraFileError, match=message):
        load_camera_file(path)


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", str(tmp_path)]) == 1
    assert "twist-calibrate collect" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "no.yaml"), "--checkpoint", str(CHECKPOINT)]) == 1
    assert "cannot read the camera file" in capsys.readouterr().err
    assert main(["collect", str(tmp_path), "--mode", "table"]) == 1
    assert "--tool-offset" in capsys.readouterr().err
    with pytest.raises(CameraFileError, match="give the folder of an exported checkpoint"):
        contract_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must hold"),
        ("{position: 1, angle: 1, picture: 1}", "must hold"),
        ("{position: 0.0, angle: 1, picture: 1, reference: 1}", "must be a positive number"),
        ("{position: .nan, angle: 1, picture: 1, reference: 1}", "must be a positive number"),
    ],
)
def test_limits_that_limit_nothing_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "limits.yaml").write_text(text)
    with pytest.raises(LimitsError, match=message):
        load_limits(tmp_path / "limits.yaml")
