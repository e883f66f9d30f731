"""The judge that measures and asks: nobody's silence ever becomes a success."""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from twist_evaluation.camera_measurement import CameraMeasurement, Observer, StampedFrame
from twist_evaluation.judge import JudgeError, NotJudged
from twist_evaluation.judging import NotMeasured, deciding_observer
from twist_evaluation.observer.table_camera import TableCamera
from twist_evaluation.observer.table_observer import (
    Measured,
    Observation,
    ObserverRefusal,
    SceneSizes,
)
from twist_evaluation.operator_judge import OperatorJudge
from twist_evaluation.operator_prompt import (
    NoAnswer,
    NobodyThere,
    Question,
    TerminalOperator,
    read_lines,
)
from twist_evaluation.placement_guide import PlacementGuide
from twist_evaluation.trial_stand import ObjectLayout, TrialAborted
from twist_sim.task_card import load_task_card

CAMERA = TableCamera(load_task_card("block_push").camera.model())
RULE = "the cube's centre within 5 cm of the goal's"


class Script:
    """An operator who answers what is written down, and keeps what was asked."""

    def __init__(self, *answers: str | NoAnswer) -> None:
        self.answers = list(answers)
        self.asked: list[Question] = []
        self.told: list[str] = []

    def ask(self, question: Question) -> str | NoAnswer:
        self.asked.append(question)
        return self.answers.pop(0)

    def tell(self, text: str) -> None:
        self.told.append(text)


def seen(distance: float, cube: tuple[float, float] = (0.5, 0.0), yaw: float = 0.0) -> Observation:
    outline = np.array([[300.0, 200.0], [340.0, 200.0], [320.0, 240.0]])
    goal = (cube[0] + distance, cube[1])
    none = np.zeros((2, 2))
    return Observation(
        Measured(cube, none, 1.0, yaw, outline), Measured(goal, none, 1.0, math.nan, outline),
        distance, 0.001,
    )  # fmt: skip


class PaperObserver:
    """Sees what is written down, picture after picture; the last stays."""

    camera = CAMERA
    needs_clear_view = True
    sizes = SceneSizes(0.04, 0.05, (0.3, -0.3), (0.7, 0.3))

    def __init__(self, *views: Observation | ObserverRefusal) -> None:
        self.views = list(views)

    def observe(self, frame: np.ndarray) -> Observation:
        view = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        if isinstance(view, ObserverRefusal):
            raise view
        return view


def camera(observer: Observer, running: bool = True) -> CameraMeasurement:
    clock = SimpleNamespace(time=100.0)

    def wait(seconds: float) -> None:
        clock.time += seconds

    def latest() -> StampedFrame:
        stamp = clock.time if running else 50.0
        return StampedFrame(stamp, np.full((480, 640, 3), 90, np.uint8))

    return CameraMeasurement(latest, lambda: clock.time, observer, 0.05, wait=wait)


@pytest.mark.parametrize(
    ("distance", "answer", "success", "by"),
    [
        (0.03, "s", True, "camera, confirmed by the operator"),
        (0.09, "f", False, "camera, confirmed by the operator"),
        (0.03, "f", False, "operator, against the camera"),
        (0.051, "s", True, "operator, undecided by the camera"),
    ],
)
def test_the_operator_confirms_or_corrects_what_the_camera_measures(
    tmp_path: Path, distance: float, answer: str, success: bool, by: str
) -> None:
    operator, picture = Script(answer), tmp_path / "judged.png"
    verdict = OperatorJudge(operator, RULE, camera(PaperObserver(seen(distance)))).judge(picture)

    assert (verdict.success, verdict.by) == (success, by)
    assert verdict.distance == pytest.approx(distance)
    assert verdict.picture == str(picture) == operator.asked[0].picture
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert RULE in operator.asked[0].text


@pytest.mark.parametrize("distance", [0.0, 0.03, 0.051, 0.2])
@pytest.mark.parametrize("answer", ["n", NoAnswer("the terminal was closed")])
def test_without_an_answer_nothing_is_judged_whatever_the_camera_says(
    tmp_path: Path, distance: float, answer: str | NoAnswer
) -> None:
    judge = OperatorJudge(Script(answer), RULE, camera(PaperObserver(seen(distance))))
    with pytest.raises(NotJudged, match="not judged: ") as raised:
        judge.judge(tmp_path / "judged.png")
    # What was measured is kept, for whoever looks later.
    assert raised.value.distance == pytest.approx(distance)


def test_a_refusal_goes_to_the_operator_with_its_reason_and_the_picture(tmp_path: Path) -> None:
    operator, picture = Script("f"), tmp_path / "judged.png"
    hidden = PaperObserver(ObserverRefusal("the goal is not seen"))
    verdict = OperatorJudge(operator, RULE, camera(hidden)).judge(picture)

    assert not verdict.success
    assert math.isnan(verdict.distance)
    assert "The camera does not decide: the goal is not seen." in operator.asked[0].text
    assert picture.exists()


def test_pictures_that_disagree_are_not_called(tmp_path: Path) -> None:
    moving = PaperObserver(seen(0.02), seen(0.03), seen(0.04))
    measured = camera(moving).measure()
    assert measured.success is None
    assert "disagree by 20 mm" in measured.reason


def test_the_arm_goes_home_only_for_a_camera_that_measures_what_it_may_hide() -> None:
    def needs(camera: CameraMeasurement | None) -> bool:
        return OperatorJudge(Script(), RULE, camera).needs_clear_view

    assert needs(camera(PaperObserver(seen(0.02))))
    assert not needs(None)
    # A cube that the hand still holds would be lifted on the way, which is what is judged.
    assert not needs(camera(NotMeasured(CAMERA, "it is hidden")))


def test_the_camera_decides_only_what_its_distance_decides() -> None:
    observer = SimpleNamespace(camera=CAMERA)
    push, lift = load_task_card("block_push"), load_task_card("block_lift")
    assert deciding_observer(push, observer) is observer  # type: ignore[arg-type]
    own = dataclasses.replace(push, rules="my_rules:Rules", rule_parameters={"limit": 0.1})
    for card, why in ((lift, "how high the cube is"), (own, r"decided by its rules \(my_rules")):
        judge = deciding_observer(card, observer)  # type: ignore[arg-type]
        with pytest.raises(ObserverRefusal, match=why):
            judge.observe(SimpleNamespace())  # type: ignore[arg-type]


def test_a_camera_that_stands_still_is_no_judgement(tmp_path: Path) -> None:
    judge = OperatorJudge(Script("s"), RULE, camera(PaperObserver(seen(0.02)), running=False))
    with pytest.raises(JudgeError, match="is the camera running"):
        judge.judge(tmp_path / "judged.png")


def test_a_picture_that_cannot_be_saved_is_told(tmp_path: Path) -> None:
    judge = OperatorJudge(Script("s"), RULE, camera(PaperObserver(seen(0.02))))
    with pytest.raises(JudgeError, match="cannot be written"):
        judge.judge(tmp_path / "missing" / "judged.png")


def test_solved_at_the_start_only_where_the_camera_is_sure() -> None:
    for distance, solved in ((0.02, True), (0.0495, False), (0.2, False)):
        judge = OperatorJudge(Script(), RULE, camera(PaperObserver(seen(distance))))
        assert judge.already_solved() is solved
    assert OperatorJudge(Script(), RULE).already_solved() is False


# The terminal


def read_queue(queue: SimpleQueue[Any], timeout: float) -> Any:
    try:
        return queue.get(timeout=min(timeout, 10.0))
    except Empty:
        return None


def terminal(text: str) -> tuple[TerminalOperator, list[str]]:
    said: list[str] = []
    return TerminalOperator(read_queue, io.StringIO(text), said.append), said


class SlowText:
    """Lines that come one by one, each only once `release` was called for it."""

    def __init__(self) -> None:
        self.lines: SimpleQueue[str | None] = SimpleQueue()

    def isatty(self) -> bool:
        return False

    def __iter__(self) -> Any:
        while (line := self.lines.get()) is not None:
            yield line


def test_what_was_typed_before_the_question_is_no_answer() -> None:
    keyboard, terminal_end = os.openpty()

    def say(text: str) -> None:
        assert "is none of" not in text
        if text.startswith("  n"):  # the question is complete
            os.write(keyboard, b"n\n")

    question = Question("How?", {"s": "success", "n": "no"})
    os.write(keyboard, b"s\n")
    with os.fdopen(terminal_end) as source:
        operator = TerminalOperator(read_queue, source, say)
        try:
            for early in (b"", b"s\n", b"s", b"s\ns\ns"):
                os.write(keyboard, early)
                assert operator.ask(question) == "n"
        finally:
            os.write(keyboard, b"\n\x04")  # Ctrl-D: the reading thread ends
    os.close(keyboard)


def test_only_a_key_is_an_answer_and_the_end_of_the_input_is_none() -> None:
    source, said = SlowText(), []

    def say(text: str) -> None:
        said.append(text)
        if text.startswith("  n"):  # the question is complete
            for line in ("\n", "yes\n", "S\n", "later\n"):
                source.lines.put(line)

    operator = TerminalOperator(read_queue, source, say)  # type: ignore[arg-type]
    question = Question("How?", {"s": "success", "n": "no"})
    assert operator.ask(question) == "s"
    assert "'' is none of s, n; there is no default" in said
    assert "'yes' is none of s, n; there is no default" in said


def test_a_byte_that_is_no_text_is_not_the_end_of_all_answers() -> None:
    lines: SimpleQueue[Any] = SimpleQueue()
    read_lines(io.TextIOWrapper(io.BytesIO(b"\xe4\ns\n"), encoding="utf-8"), lines, "end")
    assert [lines.get_nowait() for _ in range(3)] == ["\ufffd\n", "s\n", "end"]

    class Broken(io.StringIO):
        def __next__(self) -> str:
            raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="gone"):
        read_lines(Broken(), lines, "end")
    assert lines.get_nowait() == "end"


def test_a_closed_terminal_answers_nothing_now_and_later() -> None:
    operator, _ = terminal("")
    question = Question("How?", {"s": "success"})
    assert operator.ask(question) == NoAnswer("the terminal was closed")
    assert operator.ask(question) == NoAnswer("the terminal was closed")


def test_nobody_there_is_no_answer() -> None:
    assert NobodyThere("no terminal").ask(Question("How?", {"s": ""})) == NoAnswer("no terminal")


# Placing


LAYOUT = ObjectLayout((0.5, 0.0, 0.02), 0.0, (0.6, 0.0, 0.0))


def guide(
    operator: Script, *views: Observation | ObserverRefusal
) -> tuple[PlacementGuide, list[Any]]:
    shown: list[Any] = []
    observer: Any = PaperObserver(*views)
    show: Callable[[Any], None] = shown.append
    return PlacementGuide(operator, camera(observer), observer, show), shown


def test_objects_are_checked_until_they_are_in_place(tmp_path: Path) -> None:
    operator = Script("c", "c")
    placing, shown = guide(operator, seen(0.10, (0.52, 0.0)), seen(0.10, (0.505, 0.0)))
    note = placing.place(LAYOUT, tmp_path / "place.png")

    assert note == "placed: cube 5 mm and goal 5 mm off"
    assert "move the cube 2.0 cm up in the picture" in operator.asked[1].text
    assert (tmp_path / "place.png").exists()
    assert shown[-1] is None, "the overlay is still being drawn"


def test_what_the_operator_keeps_although_it_is_wrong_is_recorded(tmp_path: Path) -> None:
    placing, _ = guide(Script("k"), seen(0.10, (0.52, 0.0)))
    note = placing.place(LAYOUT, tmp_path / "place.png")
    assert note.startswith("placement kept by the operator: cube 20 mm and goal 20 mm off; move")

    placing, _ = guide(Script("c", "k"), ObserverRefusal("the cube is not seen"))
    note = placing.place(LAYOUT, tmp_path / "place.png")
    assert note == "placement kept by the operator: the cube is not seen"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("a", "aborted by the operator"), (NoAnswer("no console"), "nobody placed the objects: no")],
)
def test_no_trial_starts_unless_somebody_says_that_the_objects_are_there(
    tmp_path: Path, answer: str | NoAnswer, reason: str
) -> None:
    placing, _ = guide(Script(answer), seen(0.10))
    with pytest.raises(TrialAborted, match=reason):
        placing.place(LAYOUT, tmp_path / "place.png")
