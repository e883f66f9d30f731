"""The camera in the graph: drivers, checks, camera file and reference view."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twist_bringup.camera_roles import camera_problems
from twist_bringup.options import StackOptions
from twist_bringup.stack import complete, describe
from twist_camera.camera_file import CameraFile, contract_of
from twist_camera.limits import LimitsError
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics

CHECKPOINT = Path(__file__).resolve().parents[3] / "models" / "block_push"


def write_camera(path: Path, sideways: float = 0.0) -> None:
    """The shipped checkpoint's camera, moved sideways by so many metres."""
    model = contract_of(CHECKPOINT).camera
    lens = CameraIntrinsics.from_model(model)
    pose = RigidTransform.from_quaternion(model.position, model.orientation)
    moved = pose.moved([0.0, 0.0, 0.0, 0.0, sideways, 0.0])
    CameraFile("panda_link0", lens, moved, {}).save(path)


def write_reference(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(path)
    path.with_suffix(".yaml").write_text(json.dumps({"format": 1, "date": "x", "points": [[1, 1]]}))


def test_both_drivers_take_the_same_settings_and_only_ours_checks_them_itself() -> None:
    stacks = {
        camera: describe(StackOptions(robot="panda", camera=camera))
        for camera in ("realsense", "pyrealsense")
    }
    drivers = [stack.process("camera") for stack in stacks.values()]
    assert len({(d.namespace, d.name) for d in drivers}) == 1
    trees = [driver.parameter_tree() for driver in drivers]
    assert trees[0] == trees[1]
    check = stacks["realsense"].process("camera_check")
    assert check.required
    assert check.parameter_tree().items() >= trees[0].items()
    assert "camera_check" not in [process.name for process in stacks["pyrealsense"].processes]
    for stack in stacks.values():
        policy = stack.process("twist_policy_node")
        assert dict(policy.parameters)["camera_info_required"] is True
        assert dict(policy.remappings)["camera_info"] == "/camera/camera/color/camera_info"
    twin = describe(StackOptions()).process("twist_policy_node")
    assert dict(twin.parameters)["camera_info_required"] is False


def test_a_camera_that_runs_already_is_not_started_and_has_to_be_calibrated() -> None:
    stack = describe(StackOptions(robot="panda", camera="running", dry_run=True))
    assert not {"camera", "camera_check"} & {process.name for process in stack.processes}
    assert "realsense2_camera" not in [name for name, _ in stack.packages]
    assert dict(stack.process("twist_policy_node").parameters)["camera_info_required"] is True
    (found,) = camera_problems(complete(StackOptions(robot="panda", camera="running")))
    assert "not calibrated" in found


def test_our_own_driver_is_refused_before_the_start_without_its_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = StackOptions(robot="panda", camera="pyrealsense", dry_run=True)
    monkeypatch.setattr("twist_bringup.camera_roles.find_spec", lambda name: None)
    (found,) = camera_problems(complete(lab))
    assert "pip install pyrealsense2" in found
    monkeypatch.setattr("twist_bringup.camera_roles.find_spec", lambda name: object())
    assert camera_problems(complete(lab)) == []


def test_wrong_limits_are_named_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong() -> None:
        raise LimitsError("limits.yaml: position must be above 0")

    monkeypatch.setattr("twist_camera.limits.load_limits", wrong)
    write_camera(tmp_path / "camera.yaml")
    lab = StackOptions(
        robot="panda", checkpoint=str(CHECKPOINT), camera_file=str(tmp_path / "camera.yaml")
    )
    (found,) = camera_problems(complete(lab))
    assert "position must be above 0" in found


def test_the_usual_files_are_taken_for_a_real_camera_where_there_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lab = StackOptions(robot="panda", checkpoint=str(CHECKPOINT), trials=3)
    assert (complete(lab).camera_file, complete(lab).reference) == ("", "")
    write_camera(tmp_path / "calibration/camera.yaml")
    write_reference(tmp_path / "calibration/reference.png")
    assert complete(lab).camera_file == str(tmp_path / "calibration/camera.yaml")
    assert complete(StackOptions()).camera_file == ""
    stack = describe(lab)
    reference = str(tmp_path / "calibration/reference.png")
    assert dict(stack.process("camera_reference").parameters) == {"reference": reference}
    asked = dict(stack.process("trial_runner").parameters)["reference_service"]
    assert asked == "camera_reference/check"
    without = describe(dataclasses.replace(lab, reference="none"))
    assert "camera_reference" not in [process.name for process in without.processes]
    assert dict(without.process("trial_runner").parameters)["reference_service"] == ""


def test_a_camera_that_stands_elsewhere_is_refused_before_the_start(tmp_path: Path) -> None:
    def problems(**files: Path) -> list[str]:
        values = {name: str(path) for name, path in files.items()}
        return camera_problems(
            complete(StackOptions(robot="panda", checkpoint=str(CHECKPOINT), **values))  # type: ignore[arg-type]
        )

    write_camera(tmp_path / "good.yaml")
    write_camera(tmp_path / "moved.yaml", sideways=0.05)
    write_reference(tmp_path / "reference.png")
    assert problems(camera_file=tmp_path / "good.yaml", reference=tmp_path / "reference.png") == []
    found = problems(camera_file=tmp_path / "moved.yaml")
    assert "50 mm from where the policy was trained to look from (limit 30 mm)" in found[0]
    assert "dry_run:=true camera_file:=none" in found[0]
    found = problems(camera_file=tmp_path / "no.yaml")
    assert "cannot read the camera file" in found[0]
    assert "dry_run:=true camera_file:=none" in found[0]
    assert "twist-camera-reference save" in problems(reference=tmp_path / "no.png")[-1]


def test_a_real_arm_does_not_move_by_an_uncalibrated_camera_unless_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def problems(**values: object) -> list[str]:
        options = StackOptions(robot="panda", checkpoint=str(CHECKPOINT), **values)  # type: ignore[arg-type]
        return camera_problems(complete(options))

    (found,) = problems()
    assert "not calibrated" in found
    assert "camera_file:=none" in found
    assert problems(camera_file="none") == []
    assert problems(dry_run=True) == []
    assert camera_problems(complete(StackOptions())) == []
    trials = describe(StackOptions(robot="panda", trials=3, camera_file="none"))
    assert dict(trials.process("trial_runner").parameters)["camera_file"] == ""
