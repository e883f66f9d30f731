"""Has a person put cube and goal where a trial's layout says, and checks it with the camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twist_evaluation.camera_measurement import CameraMeasurement, save_picture
from twist_evaluation.judge import JudgeError
from twist_evaluation.observer.colours import Image
from twist_evaluation.observer.table_observer import ObserverRefusal, TableObserver
from twist_evaluation.operator_prompt import NoAnswer, Operator, Question
from twist_evaluation.placement import check_placement, draw_placement
from twist_evaluation.trial_stand import ObjectLayout, TrialAborted

_ANSWERS = {
    "c": "check: everything is where the picture shows it",
    "k": "keep it as it is, although the check does not pass; this is recorded",
    "a": "abort this trial",
}


class PlacementGuide:
    """Shows, asks and checks until the objects are in place.

    Args:
        operator: who puts them there.
        camera: gives the pictures.
        observer: measures them.
        show: takes what is to be drawn over the live picture, a layout or None to stop.
    """

    def __init__(
        self,
        operator: Operator,
        camera: CameraMeasurement,
        observer: TableObserver,
        show: Callable[[Callable[[Image], Image] | None], None],
    ) -> None:
        self._operator = operator
        self._camera = camera
        self._observer = observer
        self._show = show

    def place(self, layout: ObjectLayout, picture: Path) -> str:
        """Returns a note for the record: how well it was placed, or that the check did not pass.

        Args:
            layout: of the trial.
            picture: where to save the picture to follow.

        Raises:
            TrialAborted: the operator aborts, nobody answers, or no picture comes.
        """
        observer = self._observer

        def drawn(frame: Image) -> Image:
            return draw_placement(frame, observer.camera, observer.sizes, layout)

        self._show(drawn)
        try:
            has_goal = observer.sizes.goal_radius is not None
            told = f"Put {'cube and goal' if has_goal else 'the cube'} where the picture shows."
            while True:
                save_picture(drawn(self._camera.fresh_frame().frame), picture)
                answer = self._operator.ask(Question(told, _ANSWERS, str(picture)))
                if isinstance(answer, NoAnswer):
                    raise TrialAborted(f"nobody placed the objects: {answer.reason}")
                if answer == "a":
                    raise TrialAborted("aborted by the operator before it started")
                try:
                    frame = self._camera.fresh_frame().frame
                    if has_goal:
                        seen = observer.observe(frame)
                        cube, goal = seen.cube, seen.goal
                    else:
                        cube, goal = observer.observe_cube(frame), None
                except ObserverRefusal as error:
                    told, note = f"The camera cannot check it: {error}.", str(error)
                else:
                    check = check_placement(layout, cube, goal, observer.camera)
                    note = f"cube {check.cube_error * 1000:.0f} mm "
                    if has_goal:
                        note += f"and goal {check.goal_error * 1000:.0f} mm "
                    note += "off"
                    if check.good:
                        self._operator.tell(f"in place: {note}")
                        return f"placed: {note}"
                    told = f"Not yet: {'; '.join(check.advice)}."
                    note = "; ".join((note, *check.advice))
                if answer == "k":
                    return f"placement kept by the operator: {note}"
        except JudgeError as error:
            raise TrialAborted(str(error)) from None
        finally:
            self._show(None)
