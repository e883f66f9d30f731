"""The camera's pose from views of a board, against known truth."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
from synthetic_views import views_on_hand, views_on_table

from twist_camera.calibration import Sample, calibrate
from twist_camera.calibration_checks import CalibrationError, CalibrationRules
from twist_camera.charuco_board import BoardDetector, BoardSpec, Detection
from twist_camera.rehearsal import Rehearsal
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics
from twist_policy.contract import PolicyContract

Labs = Callable[..., Rehearsal]
POSITION, ANGLE = 0.003, 0.5
"""What is promised: metres, degrees."""


def error(found: RigidTransform, lab: Rehearsal) -> tuple[float, float]:
    distance, angle = found.distance_to(lab.base_to_camera)
    return distance, float(np.degrees(angle))


@pytest.mark.parametrize("mode", ["hand", "table"])
def test_rendered_boards_give_the_pose_within_3_mm_and_half_a_degree(
    lab_of: Labs, mode: str
) -> None:
    lab = lab_of(1)
    views = list(lab.on_hand(12) if mode == "hand" else lab.on_table(4))
    detector = BoardDetector(lab.spec)
    samples = [
        Sample(str(n), detector.detect(v.image), v.base_to_ee, v.placement, v.touched)
        for n, v in enumerate(views)
    ]
    found = calibrate(lab.spec, samples, lab.intrinsics)
    distance, angle = error(found.base_to_camera, lab)
    assert distance <= POSITION
    assert angle <= ANGLE
    assert found.rms < 0.3
    assert found.unused == found.suspects == ()


def test_the_lens_can_be_estimated_too(lab_of: Labs, contract: PolicyContract) -> None:
    for seed in range(2):
        lab = lab_of(seed)
        samples = views_on_hand(lab, 25)
        nominal = CameraIntrinsics.from_model(contract.camera)
        found = calibrate(lab.spec, samples, nominal, estimate_intrinsics=True)
        distance, angle = error(found.base_to_camera, lab)
        assert distance <= POSITION
        assert angle <= ANGLE
        assert found.intrinsics.fx == pytest.approx(lab.intrinsics.fx, abs=4.0)


def test_the_stated_uncertainty_is_that_of_the_errors_made(lab_of: Labs) -> None:
    # Errors along three axes, each with the stated sigma at most: their norm over that sigma is
    # rarely above 2.8 (99 % of a chi distribution with three degrees is 3.4) and hardly ever tiny.
    ratios = []
    for seed in range(8):
        lab = lab_of(seed, robot_position=0.0007, robot_angle=0.1)
        found = calibrate(lab.spec, views_on_hand(lab, 15, pixel=0.2), lab.intrinsics)
        distance, angle = error(found.base_to_camera, lab)
        ratios += [distance / found.position_sigma, angle / found.angle_sigma]
    assert max(ratios) < 3.5
    assert 0.3 < float(np.median(ratios)) < 2.0


def test_too_few_views_are_refused(lab_of: Labs) -> None:
    lab = lab_of(0)
    with pytest.raises(CalibrationError, match=r"9 of 9 pictures.* 10 are needed"):
        calibrate(lab.spec, views_on_hand(lab, 9), lab.intrinsics)


def test_turning_about_one_axis_only_is_refused(lab_of: Labs) -> None:
    lab = lab_of(0)
    samples = views_on_hand(lab, 15, one_axis=True)
    with pytest.raises(CalibrationError, match=r"about a second one.*Tilt it to the left"):
        calibrate(lab.spec, samples, lab.intrinsics)


def test_a_lens_is_not_estimated_from_views_in_one_place(
    lab_of: Labs, contract: PolicyContract
) -> None:
    lab = lab_of(0)
    samples = [
        dataclasses.replace(s, name=f"{s.name} {n}")
        for n in range(4)
        for s in views_on_hand(lab, 3)
    ]
    nominal = CameraIntrinsics.from_model(contract.camera)
    with pytest.raises(CalibrationError, match="needed to estimate the lens"):
        calibrate(lab.spec, samples, nominal, estimate_intrinsics=True)


@pytest.mark.parametrize("views", [views_on_hand, views_on_table], ids=["hand", "table"])
@pytest.mark.parametrize("scale", [0.98, 1.01, 1.02, 1.05])
def test_a_print_of_another_size_is_refused_with_the_size_found(
    lab_of: Labs, views: Callable[[Rehearsal, int], list[Sample]], scale: float
) -> None:
    for seed in range(2):
        lab = lab_of(seed)
        samples = views(lab, 12 if views is views_on_hand else 4)
        told = lab.spec.scaled(lab.spec.square / scale)
        with pytest.raises(CalibrationError, match="times the size told") as refused:
            calibrate(told, samples, lab.intrinsics)
        found = re.search(r"squares\s+of ([\d.]+) mm", str(refused.value))
        assert found is not None
        # 0.4 %: three standard deviations of twelve views, or of four placements.
        assert float(found[1]) == pytest.approx(lab.spec.square * 1000, rel=0.004)
        right = calibrate(told.scaled(lab.spec.square), samples, lab.intrinsics)
        assert error(right.base_to_camera, lab)[0] <= POSITION


@pytest.mark.parametrize("scale", [0.98, 1.02])
def test_a_lens_of_another_focal_length_is_refused_by_views_on_the_gripper(
    lab_of: Labs, scale: float
) -> None:
    for seed in range(3):
        lab = lab_of(seed)
        lens = lab.intrinsics
        told = dataclasses.replace(lens, fx=lens.fx * scale, fy=lens.fy * scale)
        samples = views_on_hand(lab, 12)
        with pytest.raises(CalibrationError, match=r"fit a lens with .*--intrinsics estimate"):
            calibrate(lab.spec, samples, told)


@pytest.mark.parametrize("views", [views_on_hand, views_on_table], ids=["hand", "table"])
def test_a_board_and_a_lens_of_the_size_told_are_accepted(
    lab_of: Labs, views: Callable[[Rehearsal, int], list[Sample]]
) -> None:
    for seed in range(10):
        lab = lab_of(seed)
        found = calibrate(lab.spec, views(lab, 10 if views is views_on_hand else 4), lab.intrinsics)
        for factor in (found.board_scale, found.lens_scale):
            assert factor is not None
            assert factor.significance < 3.5


def test_a_tool_offset_that_is_wrong_along_the_tool_is_refused_by_the_tables_height(
    lab_of: Labs,
) -> None:
    lab = lab_of(0)
    for height, word in ((0.01, "above"), (-0.01, "below")):
        samples = views_on_table(lab, 4, offset=(0.0, 0.0, height))
        with pytest.raises(CalibrationError, match=f"{word} where.*--board-height-mm"):
            calibrate(lab.spec, samples, lab.intrinsics)
    # The same touches are those of a board on a thick plate, if told.
    thick = views_on_table(lab, 4, offset=(0.0, 0.0, 0.01))
    calibrate(lab.spec, thick, lab.intrinsics, CalibrationRules(board_height=0.01))


@pytest.mark.filterwarnings("ignore:invalid value")  # NaN is what the last view holds
def test_a_view_of_one_row_is_left_out_and_one_without_a_pose_is_named(lab_of: Labs) -> None:
    lab = lab_of(0)
    wide = dataclasses.replace(lab, spec=BoardSpec(10, 6, 0.025, 0.018))
    samples = views_on_hand(wide, 12)
    whole = samples[3].detection
    for rows in (slice(0, 9), slice(0, 10)):  # of nine corners each
        part = Detection(whole.numbers[rows], whole.pixels[rows])
        samples[3] = dataclasses.replace(samples[3], detection=part)
        assert calibrate(wide.spec, samples, wide.intrinsics).unused == ("view 3",)
    pixels = whole.pixels.copy()
    pixels[0] = np.nan
    samples[3] = dataclasses.replace(samples[3], detection=Detection(whole.numbers, pixels))
    with pytest.raises(CalibrationError, match=r"view 3: .*take the view out"):
        calibrate(wide.spec, samples, wide.intrinsics)


def test_two_views_of_one_name_are_refused(lab_of: Labs) -> None:
    lab = lab_of(0)
    samples = views_on_hand(lab, 12)
    samples[3] = dataclasses.replace(samples[3], name="view 4")
    with pytest.raises(CalibrationError, match="the same name"):
        calibrate(lab.spec, samples, lab.intrinsics)


def test_poses_that_do_not_belong_to_the_pictures_are_refused(lab_of: Labs) -> None:
    lab = lab_of(0)
    samples = views_on_hand(lab, 15)
    arms = [s.base_to_ee for s in samples]
    shuffled = [
        dataclasses.replace(s, base_to_ee=arms[(n + 1) % len(arms)]) for n, s in enumerate(samples)
    ]
    with pytest.raises(CalibrationError, match=r"worst views|had to be changed"):
        calibrate(lab.spec, shuffled, lab.intrinsics)


def test_one_view_with_a_slipped_arm_is_named_and_does_little_harm(lab_of: Labs) -> None:
    lab = lab_of(2)
    samples = views_on_hand(lab, 20)
    pose = samples[7].base_to_ee
    assert pose is not None
    samples[7] = dataclasses.replace(samples[7], base_to_ee=pose.moved([0, 0.01, 0, 0.01, 0, 0]))
    found = calibrate(lab.spec, samples, lab.intrinsics)
    assert found.suspects == ("view 7",)
    assert error(found.base_to_camera, lab)[0] <= POSITION


def test_views_without_the_board_are_left_out_by_name(lab_of: Labs) -> None:
    lab = lab_of(0)
    samples = views_on_hand(lab, 12)
    empty = BoardDetector(lab.spec).detect(np.full((480, 640, 3), 128, np.uint8))
    samples[3] = dataclasses.replace(samples[3], detection=empty)
    assert calibrate(lab.spec, samples, lab.intrinsics).unused == ("view 3",)


@pytest.mark.parametrize(
    ("touched", "message"),
    [
        (lambda t: t[:2], "three points are needed.*touch at least three corners"),
        (lambda t: [(t[0][0] + 1, t[0][1]), *t[1:]], "miss the board's corners by up to"),
        (lambda t: [(99, t[0][1]), *t[1:]], "corners 0 to 23"),
    ],
)
def test_touches_that_cannot_be_are_refused(
    lab_of: Labs, touched: Callable[[list[object]], list[object]], message: str
) -> None:
    lab = lab_of(0)
    view = next(lab.on_table(1))
    detection = BoardDetector(lab.spec).detect(view.image)
    sample = Sample("placement 0", detection, None, 0, tuple(touched(list(view.touched))))  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match=message):
        calibrate(lab.spec, [sample], lab.intrinsics)


def test_a_board_on_the_hand_and_one_on_the_table_are_not_mixed(lab_of: Labs) -> None:
    lab = lab_of(0)
    samples = views_on_hand(lab, 12)
    samples[0] = dataclasses.replace(samples[0], base_to_ee=None)
    with pytest.raises(CalibrationError, match="do not mix"):
        calibrate(lab.spec, samples, lab.intrinsics)
