"""The judge that an evaluation asked for, over the graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node

from twist_evaluation.camera_measurement import CameraMeasurement
from twist_evaluation.evaluation_setup import EvaluationSetup, SetupError
from twist_evaluation.judge import GroundTruthJudge, Judge
from twist_evaluation.live_camera import LiveCamera
from twist_evaluation.observer.card_colours import card_colours
from twist_evaluation.observer.colours import ColourError, Image, read_colours
from twist_evaluation.observer.table_camera import CameraFileError, TableCamera, read_camera
from twist_evaluation.observer.table_observer import (
    CALIBRATED,
    NOT_CALIBRATED,
    Observation,
    ObserverRefusal,
    SceneSizes,
    TableObserver,
)
from twist_evaluation.operator_judge import OperatorJudge
from twist_evaluation.operator_prompt import Operator, TerminalOperator, has_terminal
from twist_evaluation.placement_guide import PlacementGuide
from twist_evaluation.results import ResultsFolder
from twist_evaluation.ros_operator import RosOperator
from twist_evaluation.ros_stand import RosStand
from twist_evaluation.trial_stand import ObjectLayout
from twist_sim.task_card import TaskCard

JUDGES = ("truth", "camera", "operator")


@dataclass(frozen=True)
class JudgingOptions:
    """How trials are judged.

    Attributes:
        judge: ``truth``, ``camera`` or ``operator``.
        place: whether a person puts the objects in place, shown and checked by the camera.
        camera_file: calibration; empty: the camera of the policy's contract.
        colours: file with the colours of cube and goal; empty: the task card's.
        image_topic: of the camera's pictures.
        ground_truth_topic: of the true state.
        ground_truth_max_age: seconds.
        console_timeout: seconds to wait for an operator's console.
    """

    judge: str
    place: bool
    camera_file: str
    colours: str
    image_topic: str
    ground_truth_topic: str
    ground_truth_max_age: float
    console_timeout: float


class Judging:
    """Makes the judge, and has the stand place the objects where that is asked for.

    Args:
        node: of the evaluation.
        stand: whose waits the operator's answers end, and which places objects.
        setup: task and camera.
        options: how.

    Raises:
        SetupError: the judge is unknown, or a file of colours or calibration is of no use.
    """

    def __init__(
        self, node: Node, stand: RosStand, setup: EvaluationSetup, options: JudgingOptions
    ) -> None:
        if options.judge not in JUDGES:
            raise SetupError(f"judge {options.judge!r} is unknown; known: {', '.join(JUDGES)}")
        self._guide: PlacementGuide | None = None
        self._results: ResultsFolder | None = None
        self.judge: Judge
        operator: Operator | None = None
        if options.judge != "truth" or options.place:
            operator = (
                TerminalOperator(stand.wait.item)
                if has_terminal()
                else RosOperator(node, stand.wait.item, options.console_timeout)
            )
        camera: CameraMeasurement | None = None
        if options.judge == "camera" or options.place:
            observer = _observer(setup, options)
            live = LiveCamera(node, options.image_topic)
            camera = CameraMeasurement(
                live.latest,
                stand.clock,
                deciding_observer(setup.card, observer),
                _limit(setup),
                topic=options.image_topic,
                wait=stand.settle,
            )
            if options.place:
                assert operator is not None
                self._guide = PlacementGuide(operator, camera, observer, live.show)
                stand.place = self._place
        if operator is None or options.judge == "truth":
            self.judge = GroundTruthJudge(
                stand.ground_truth,
                stand.clock,
                maximum_age=options.ground_truth_max_age,
                topic=options.ground_truth_topic,
            )
        else:
            measured = camera if options.judge == "camera" else None
            self.judge = OperatorJudge(operator, _rule(setup), measured)

    def begin(self, results: ResultsFolder) -> None:
        """From now on pictures go into this folder."""
        self._results = results

    def _place(self, trial: int, layout: ObjectLayout) -> str:
        assert self._guide is not None
        assert self._results is not None
        return self._guide.place(layout, self._results.folder / f"trial_{trial:03d}_placement.png")


class NotMeasured:
    """Stands in for an observer where a picture does not tell success: a person decides, with it.

    Args:
        camera: that took it.
        reason: why it does not, for that person.
    """

    # On its way home the arm would lift what it holds, and so make a success of a failure.
    needs_clear_view = False

    def __init__(self, camera: TableCamera, reason: str) -> None:
        self.camera = camera
        self._reason = reason

    def observe(self, frame: Image) -> Observation:
        """Always refuses.

        Raises:
            ObserverRefusal: always.
        """
        raise ObserverRefusal(self._reason)


def deciding_observer(card: TaskCard, observer: TableObserver) -> TableObserver | NotMeasured:
    """`observer`, where the distance that it measures decides a trial of this task."""
    if "success_clearance" in card.rule_parameters:
        return NotMeasured(
            observer.camera,
            "one camera cannot tell how high the cube is: height shows only in its apparent size, "
            "and the hand hides its sides",
        )
    if card.goal is None or "success_distance" not in card.rule_parameters:
        return NotMeasured(
            observer.camera,
            "the camera measures how far the cube is from the goal; whether "
            f"{card.task} succeeded is decided by its rules ({card.rules}) from something else",
        )
    return observer


def _observer(setup: EvaluationSetup, options: JudgingOptions) -> TableObserver:
    card = setup.card
    try:
        camera = TableCamera(setup.camera)
        if options.camera_file:
            camera = read_camera(Path(options.camera_file).expanduser())
        colours = card_colours(card)
        if options.colours:
            colours = read_colours(Path(options.colours).expanduser())
    except (CameraFileError, ColourError) as error:
        raise SetupError(str(error)) from None
    sizes = SceneSizes(
        card.object.size,
        card.goal.radius if card.goal is not None else None,
        (card.workspace.lower[0], card.workspace.lower[1]),
        (card.workspace.upper[0], card.workspace.upper[1]),
    )
    scale_error = CALIBRATED if options.camera_file else NOT_CALIBRATED
    return TableObserver(camera, sizes, colours, scale_error)


def _limit(setup: EvaluationSetup) -> float:
    return float(setup.card.rule_parameters.get("success_distance", 0.0))


def _rule(setup: EvaluationSetup) -> str:
    parameters = setup.card.rule_parameters
    if "success_distance" in parameters:
        return f"the cube's centre within {parameters['success_distance'] * 100:g} cm of the goal's"
    if "success_clearance" in parameters:
        return f"the cube's underside {parameters['success_clearance'] * 100:g} cm above the table"
    return f"what the task card {setup.task} says"
