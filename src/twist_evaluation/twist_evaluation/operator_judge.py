"""The judge in the lab: a person decides, shown what a calibrated camera measures."""

from __future__ import annotations

import math
from pathlib import Path

from twist_evaluation.camera_measurement import CameraMeasurement, Measurement
from twist_evaluation.judge import NotJudged, Verdict
from twist_evaluation.operator_prompt import NoAnswer, Operator, Question

_OUTCOMES = {
    "s": "success",
    "f": "failure",
    "n": "cannot be judged",
}


class OperatorJudge:
    """Asks a person how the trial ended; with a camera, to confirm or correct what it measured.

    There is no default answer. Whoever does not answer has not judged: the trial is recorded as not
    judged, never as a success.

    Args:
        operator: who is asked.
        rule: what counts as success, for the question.
        camera: measures; None where a person judges by eye alone.
    """

    def __init__(
        self, operator: Operator, rule: str, camera: CameraMeasurement | None = None
    ) -> None:
        self._operator = operator
        self._rule = rule
        self._camera = camera

    @property
    def name(self) -> str:
        """``camera`` when one measures, else ``operator``."""
        return "operator" if self._camera is None else "camera"

    @property
    def needs_clear_view(self) -> bool:
        """Whether the camera measures something that the arm could hide."""
        return self._camera is not None and self._camera.observer.needs_clear_view

    def already_solved(self) -> bool:
        """Whether the camera sees the task solved at the start; a person would have noticed.

        Raises:
            JudgeError: no picture comes.
        """
        return self._camera is not None and self._camera.measure().success is True

    def judge(self, picture: Path | None = None) -> Verdict:
        """Measures, shows, asks.

        Raises:
            JudgeError: no picture comes from the camera, or it cannot be saved.
            NotJudged: the person did not answer, or could not say.
        """
        measured = self._camera.measure(picture) if self._camera is not None else None
        shown = str(picture) if measured is not None and picture is not None else ""
        distance = math.nan if measured is None else measured.distance
        deviation = math.nan if measured is None else measured.deviation
        text = f"How did the trial end? Success is: {self._rule}."
        if measured is not None:
            text = f"{_told(measured)} {text}"
        answer = self._operator.ask(Question(text, _OUTCOMES, shown))
        if isinstance(answer, NoAnswer):
            raise NotJudged(f"not judged: {answer.reason}", distance, shown)
        if answer == "n":
            raise NotJudged("not judged: the operator could not say", distance, shown)
        success = answer == "s"
        return Verdict(success, distance, deviation, _by(measured, success), shown)


def _told(measured: Measurement) -> str:
    if measured.success is None:
        return f"The camera does not decide: {measured.reason}."
    called = "a success" if measured.success else "a failure"
    return (
        f"The camera measures {measured.distance * 100:.1f} +- "
        f"{2 * measured.deviation * 100:.1f} cm: {called}."
    )


def _by(measured: Measurement | None, success: bool) -> str:
    if measured is None:
        return "operator"
    if measured.success is None:
        return "operator, undecided by the camera"
    if measured.success == success:
        return "camera, confirmed by the operator"
    return "operator, against the camera"
