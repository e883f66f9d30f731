"""The guided collection, with a lab and a person that answer from a list."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from twist_camera.calibration import calibrate
from twist_camera.calibration_checks import CalibrationRules
from twist_camera.charuco_board import BoardSpec
from twist_camera.collecting import LabError, Quit, collect_on_hand, collect_on_table
from twist_camera.rehearsal import Rehearsal
from twist_camera.rigid_transform import RigidTransform
from twist_camera.session import Session, SessionError, load_session
from twist_policy.camera_match import CameraIntrinsics

BLANK: NDArray[np.uint8] = np.full((480, 640, 3), 100, np.uint8)


@dataclasses.dataclass
class Script:
    """Pictures and poses, in the order in which they are asked for; then the person quits."""

    views: Iterator[tuple[NDArray[np.uint8], list[RigidTransform | str]]]
    answers: list[str]

    def __post_init__(self) -> None:
        self.said: list[str] = []
        self._image, self._poses = BLANK, []

    def ask(self, question: str) -> str:
        self.said.append(question)
        answer = self.answers.pop(0) if self.answers else "next"
        if answer == "next":
            try:
                self._image, poses = next(self.views)
            except StopIteration:
                raise Quit from None
            self._poses = list(poses)
        return answer

    def pose(self) -> RigidTransform:
        pose = self._poses.pop(0)
        if isinstance(pose, str):
            raise LabError(pose)
        return pose

    def picture(self) -> NDArray[np.uint8]:
        return self._image

    def say(self, text: str) -> None:
        self.said.append(text)


def session(tmp_path: Path, lab: Rehearsal, mode: str) -> Session:
    return Session(tmp_path / "session", mode, lab.spec, "panda_link0", lab.intrinsics)  # type: ignore[arg-type]


def test_only_views_that_tell_something_are_kept_and_survive_a_restart(
    tmp_path: Path, lab_of: object
) -> None:
    lab = lab_of(4)  # type: ignore[operator]
    first, second, third = lab.on_hand(3)
    a, b, c = (view.base_to_ee for view in (first, second, third))
    shaken = a.moved([0, 0, 0, 0.002, 0, 0])
    script = Script(
        iter(
            [
                (first.image, ["the arm moves"]),
                (first.image, [a, shaken]),
                (BLANK, [a, a]),
                (first.image, [a, a]),
                (first.image, [a, a]),
                (second.image, [b, b]),
            ]
        ),
        [],
    )
    kept = session(tmp_path, lab, "hand")
    assert collect_on_hand(script, kept, 5, CalibrationRules()) == 2
    text = "\n".join(script.said)
    assert "not taken: the arm moves" in text
    assert "the arm moved by 2.0 mm meanwhile" in text
    assert "not taken: 0 corners are seen" in text
    assert "nearly the same as view 1" in text
    assert "2 of 5 views" in text

    again = load_session(tmp_path / "session")
    assert len(again.views) == 2
    script = Script(iter([(third.image, [c, c])]), [])
    assert collect_on_hand(script, again, 3, CalibrationRules()) == 3
    samples = load_session(tmp_path / "session").samples()
    assert [len(sample.detection.numbers) for sample in samples] == [24, 24, 24]
    for sample, view in zip(samples, (a, b, c), strict=True):
        assert sample.base_to_ee is not None
        assert max(sample.base_to_ee.distance_to(view)) < 1e-9


def test_a_board_on_the_table_is_touched_photographed_and_gives_the_camera(
    tmp_path: Path, lab_of: object
) -> None:
    lab = lab_of(4)  # type: ignore[operator]
    offset = (0.01, 0.0, 0.19)
    views = list(lab.on_table(2))
    script_views, answers = [], []
    for view in views:
        touched = list(view.touched)[:4]
        answers += ["99", "d"]  # no such corner; too few
        for number, point in touched:
            # The tip of a tool that points down is below the flange.
            down = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
            flange = RigidTransform(down.rotation, np.array(point) - down.apply(np.array(offset)))
            script_views.append((view.image, [flange]))
            answers.append(f"next{number}")
        answers += ["d", "photo"]
        script_views.append((view.image, []))

    class Table(Script):
        def ask(self, question: str) -> str:
            if self.answers and self.answers[0].startswith("next"):
                self._image, poses = next(self.views)
                self._poses = list(poses)
                return self.answers.pop(0)[4:]
            if self.answers and self.answers[0] == "photo":
                self._image, _ = next(self.views)
                return self.answers.pop(0)
            return super().ask(question)

    script = Table(iter(script_views), answers)
    kept = session(tmp_path, lab, "table")
    assert collect_on_table(script, kept, 2, offset) == 2
    assert "corners have the numbers 0 to 23" in "\n".join(script.said)
    assert "4 touched corners are needed" in "\n".join(script.said)
    found = calibrate(lab.spec, load_session(kept.folder).samples(), lab.intrinsics)
    assert found.base_to_camera.distance_to(lab.base_to_camera)[0] < 0.005


def test_a_view_that_was_taken_out_is_not_made_up_for_with_anothers_picture(tmp_path: Path) -> None:
    lens = CameraIntrinsics(640, 480, 600.0, 600.0, 320.0, 240.0)
    taken = Session(tmp_path, "hand", BoardSpec(), "panda_link0", lens)
    for grey in range(4):
        taken.add(np.full_like(BLANK, grey), RigidTransform.identity())
    data = yaml.safe_load((tmp_path / "session.yaml").read_text())
    del data["views"][1]
    (tmp_path / "session.yaml").write_text(yaml.safe_dump(data))
    again = load_session(tmp_path)
    again.add(np.full_like(BLANK, 9), RigidTransform.identity())
    again = load_session(tmp_path)
    names = [view.image for view in again.views]
    assert names == ["view_000.png", "view_002.png", "view_003.png", "view_004.png"]
    assert [int(again.picture(view)[0, 0, 0]) for view in again.views] == [0, 2, 3, 9]
    # A picture that no entry names any more counts as well.
    del again.views[-1]
    again.add(BLANK, RigidTransform.identity())
    assert again.views[-1].image == "view_005.png"
    assert again.picture(again.views[-1])[0, 0, 0] == 100


def test_a_placement_that_was_taken_out_leaves_its_number(tmp_path: Path, lab_of: object) -> None:
    lab = lab_of(4)  # type: ignore[operator]
    kept = session(tmp_path, lab, "table")
    first, second, third = lab.on_table(3)
    for view in (first, second):
        kept.add(view.image, None, view.placement, view.touched)
    del kept.views[0]
    answers = [answer for number, _ in third.touched[:4] for answer in (str(number),)]

    class Table(Script):
        def pose(self) -> RigidTransform:
            point = third.touched[len(self.said) % 4][1]
            return RigidTransform(np.eye(3), np.array(point))

        def picture(self) -> NDArray[np.uint8]:
            return np.asarray(third.image)

    script = Table(iter([]), [*answers, "d", "photo"])
    assert collect_on_table(script, kept, 2, (0.0, 0.0, 0.01)) == 2
    assert [view.placement for view in load_session(kept.folder).views] == [1, 2]
    assert "mm above the table (z = 0)" in "\n".join(script.said)


def test_views_that_contradict_each_other_are_refused(tmp_path: Path, lab_of: object) -> None:
    lab = lab_of(4)  # type: ignore[operator]
    kept = session(tmp_path, lab, "table")
    for view in lab.on_table(2):
        kept.add(view.image, None, view.placement, view.touched)
    path = kept.folder / "session.yaml"
    good = yaml.safe_load(path.read_text())
    for key, message in (("image", "more than one view"), ("placement", "the same placement")):
        data = copy.deepcopy(good)
        data["views"][1][key] = data["views"][0][key]
        path.write_text(yaml.safe_dump(data))
        with pytest.raises(SessionError, match=message):
            load_session(kept.folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", "no calibration session of format 1"),
        ("{format: 1, mode: foot, board: {}, camera: {distortion: []}, views: []}", "damaged"),
        ("{format: 1, mode: hand}", "damaged"),
        ("a: b: c", "cannot read"),
    ],
)
def test_a_damaged_session_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "session.yaml").write_text(text)
    with pytest.raises(SessionError, match=message):
        load_session(tmp_path)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    lens = CameraIntrinsics(320, 240, 300.0, 300.0, 160.0, 120.0)
    other = Session(tmp_path, "hand", BoardSpec(), "panda_link0", lens)
    other.add(BLANK, RigidTransform.identity())
    with pytest.raises(SessionError, match=r"view_000\.png has 640x480 pixels, the camera 320x240"):
        other.samples()
