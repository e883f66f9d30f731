"""What a person may choose about the graph: one typed table for the runner and the launch file."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

OptionValue = bool | int | float | str
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class OptionError(ValueError):
    """An argument is unknown, or its value is not allowed."""


def _option(
    default: OptionValue,
    description: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    launch: bool = True,
) -> Any:
    return field(
        default=default,
        metadata={
            "description": description,
            "choices": choices,
            "minimum": minimum,
            "maximum": maximum,
            "launch": launch,
        },
    )


@dataclass(frozen=True)
class StackOptions:
    """The arguments of ``run_stack`` and of the tasks' launch files, written ``name:=value``.

    Values are checked when an instance is made.

    Raises:
        OptionError: a value is none of the allowed ones.
    """

    task: str = _option("block_push", "Task card.", launch=False)
    robot: str = _option(
        "sim",
        "sim: the MuJoCo twin; panda: pixi_panda_ros2; fr3: franka_ros2.",
        choices=("sim", "panda", "fr3"),
    )
    camera: str = _option(
        "auto",
        "sim: the twin's; realsense: realsense2_camera; pyrealsense: this workspace's own "
        "node; running: a driver of your own that runs already, under realsense2_camera's topics; "
        "bag: frames of a recorded bag, see `bag`; "
        "mock: synthetic frames, for tests; auto: sim for robot:=sim, else realsense.",
        choices=("auto", "sim", "realsense", "pyrealsense", "running", "bag", "mock"),
    )
    servo: str = _option(
        "auto",
        "embedded: this workspace's stand-in; moveit: moveit_servo; "
        "auto: embedded for robot:=sim, else moveit.",
        choices=("auto", "embedded", "moveit"),
    )
    checkpoint: str = _option(
        "", "Checkpoint folder; empty: models/<task> here or in the workspace."
    )
    trials: int = _option(
        -1,
        "How many trials; 0: start the nodes and leave the policy to a person; "
        "-1: 5 with robot:=sim, else 0, so that no arm moves without being asked.",
        minimum=-1,
    )
    seed: int = _option(1, "Evaluation seed; (task, seed, trial) determines the layout.", minimum=0)
    seeds: str = _option(
        "", "Several evaluation seeds, e.g. 1,2,3, each with as many trials; empty: `seed`."
    )
    compare_with: str = _option(
        "",
        "Second checkpoint folder: both run on each layout, in an order that stays sealed until "
        "`twist-compare` or the report opens it.",
    )
    judge: str = _option(
        "auto",
        "truth: the twin's true state; camera: measured in the picture and confirmed by the "
        "operator; operator: by eye; auto: truth for robot:=sim, else camera.",
        choices=("auto", "truth", "camera", "operator"),
    )
    camera_file: str = _option(
        "",
        "Calibration that the judge measures with, compared with the contract's camera at the "
        "start; empty: calibration/camera.yaml for a real camera, without which a real arm does "
        "not start, else the contract's camera; none: go without.",
    )
    reference: str = _option(
        "",
        "Stored view that the live one is compared with before an evaluation; none: no check; "
        "empty: calibration/reference.png for a real camera where there is one.",
    )
    colours: str = _option(
        "", "Colours of cube and goal, made with twist-colours; empty: the task card's."
    )
    record: bool = _option(True, "One MCAP bag per trial under `output`.")
    output: str = _option("", "Folder of this run; empty: bags/<task>-<date>-<time>.")
    command_mode: str = _option(
        "pose",
        "What the policy node sends to Servo: pose targets or twists (delta commands).",
        choices=("pose", "twist"),
    )
    speed: float = _option(
        1.0,
        "Share of the trained speed, 2 cm in 0.1 s: 0.1 for the first motions. Steps are as long "
        "as ever, and take longer.",
        minimum=0.01,
        maximum=1.0,
    )
    dry_run: bool = _option(
        False, "Decide and show, but send nothing to Servo, which is not started either."
    )
    viewer: str = _option(
        "none",
        "Who looks on: rviz; foxglove (a bridge on port 8765); topics: markers and camera overlay "
        "alone, for viewers of your own; none.",
        choices=("none", "topics", "rviz", "foxglove"),
    )
    appearance: str = _option(
        "held_out",
        "What the twin looks like: held_out (looks never trained on), train, or nominal.",
        choices=("held_out", "train", "nominal"),
    )
    bag: str = _option("", "Recorded bag whose images camera:=bag plays in a loop.")
    params_file: str = _option(
        "", "ROS parameter file for the nodes, by node name; wins over the graph's own values."
    )
    resume: bool = _option(
        False, "Go on with the evaluation in `output`: run only the trials that have no result."
    )
    episode_steps: int = _option(
        0, "Policy steps of one trial; 0: as many as the checkpoint's contract says.", minimum=0
    )

    def __post_init__(self) -> None:
        for argument in ARGUMENTS:
            argument.check(getattr(self, argument.name))

    @property
    def trial_count(self) -> int:
        """`trials` with -1 resolved."""
        if self.trials >= 0:
            return self.trials
        return 5 if self.robot == "sim" and not self.dry_run else 0

    @property
    def runs(self) -> int:
        """How often an episode is run: trials, of each seed, with each checkpoint."""
        seeds = len(self.seeds.split(",")) if self.seeds else 1
        return self.trial_count * seeds * (2 if self.compare_with else 1)

    @property
    def judge_source(self) -> str:
        """`judge` with ``auto`` resolved."""
        if self.judge != "auto":
            return self.judge
        return "truth" if self.robot == "sim" else "camera"

    @property
    def camera_source(self) -> str:
        """`camera` with ``auto`` resolved."""
        if self.camera != "auto":
            return self.camera
        return "sim" if self.robot == "sim" else "realsense"

    @property
    def servo_source(self) -> str:
        """`servo` with ``auto`` resolved."""
        if self.servo != "auto":
            return self.servo
        return "embedded" if self.robot == "sim" else "moveit"


@dataclass(frozen=True)
class Argument:
    """One row of the table: an argument's name, type, default and allowed values.

    Attributes:
        name: the word before ``:=``.
        kind: ``bool``, ``int``, ``float`` or ``str``.
        default: value when the argument is not given.
        description: one sentence for a person.
        choices: allowed words; empty for any.
        minimum: smallest allowed number, or None.
        maximum: largest allowed number, or None.
        launch: whether the launch file has it too.
    """

    name: str
    kind: type
    default: OptionValue
    description: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    launch: bool = True

    @property
    def default_text(self) -> str:
        """The default as it would be typed."""
        return str(self.default).lower() if self.kind is bool else str(self.default)

    def parse(self, text: str) -> OptionValue:
        """Turns what was typed into a value.

        Raises:
            OptionError: `text` is not of the argument's type.
        """
        if self.kind is bool:
            if text.lower() in _TRUE + _FALSE:
                return text.lower() in _TRUE
            raise OptionError(f"{self.name}:={text} is neither true nor false")
        if self.kind is int:
            try:
                return int(text)
            except ValueError:
                raise OptionError(f"{self.name}:={text} is not a whole number") from None
        if self.kind is float:
            try:
                return float(text)
            except ValueError:
                raise OptionError(f"{self.name}:={text} is not a number") from None
        return text

    def check(self, value: OptionValue) -> None:
        """Checks a typed value.

        Raises:
            OptionError: the value is of another type, out of range, or not a choice.
        """
        if type(value) is not self.kind:
            raise OptionError(f"{self.name} must be {self.kind.__name__}, found {value!r}")
        if self.choices and value not in self.choices:
            raise OptionError(
                f"{self.name}:={value} is unknown; allowed values: {', '.join(self.choices)}"
            )
        if not isinstance(value, int | float):
            return
        # Written so that NaN fails as well.
        if self.minimum is not None and not value >= self.minimum:
            raise OptionError(f"{self.name}:={value} must be at least {self.minimum}")
        if self.maximum is not None and not value <= self.maximum:
            raise OptionError(f"{self.name}:={value} must be at most {self.maximum}")


def arguments_of(options_class: type) -> tuple[Argument, ...]:
    """The argument table of a dataclass whose fields carry option metadata."""
    hints = typing.get_type_hints(options_class)
    return tuple(
        Argument(
            name=item.name,
            kind=hints[item.name],
            default=typing.cast(OptionValue, item.default),
            description=item.metadata["description"],
            choices=item.metadata["choices"],
            minimum=item.metadata["minimum"],
            maximum=item.metadata["maximum"],
            launch=item.metadata["launch"],
        )
        for item in dataclasses.fields(options_class)
    )


ARGUMENTS: tuple[Argument, ...] = arguments_of(StackOptions)

RUNNER_ARGUMENTS: tuple[Argument, ...] = (
    Argument("verbose", bool, False, "Show every line of every process, not only the news."),
    Argument("report", bool, True, "Make the report page and the video at the end."),
)
"""What only ``run_stack`` has: ``ros2 launch`` shows every line and makes no report."""


def parse_arguments(
    words: Iterable[str], table: Iterable[Argument] = (*ARGUMENTS, *RUNNER_ARGUMENTS)
) -> dict[str, OptionValue]:
    """Reads ``name:=value`` words.

    Args:
        words: the command line without the program's name.
        table: the arguments there are.

    Returns:
        One value for every argument of `table`.

    Raises:
        OptionError: a word has no ``:=``, names no argument, repeats one, or has a bad value.
    """
    by_name = {argument.name: argument for argument in table}
    values: dict[str, OptionValue] = {}
    for word in words:
        name, separator, text = word.partition(":=")
        if not separator:
            raise OptionError(f"{word!r} is not of the form name:=value, e.g. trials:=5")
        if name not in by_name:
            near = get_close_matches(name, by_name, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise OptionError(f"unknown argument {name!r}{hint}; known: {', '.join(by_name)}")
        if name in values:
            raise OptionError(f"{name} is given twice")
        value = by_name[name].parse(text)
        by_name[name].check(value)
        values[name] = value
    return {name: values.get(name, argument.default) for name, argument in by_name.items()}


def options_from(values: dict[str, OptionValue]) -> StackOptions:
    """Takes the graph's options out of parsed arguments.

    Raises:
        OptionError: a value is not allowed.
    """
    return StackOptions(**{a.name: values[a.name] for a in ARGUMENTS if a.name in values})  # type: ignore[arg-type]


def describe_arguments(table: Iterable[Argument]) -> str:
    """The table as help text, one argument per paragraph."""
    lines = []
    for argument in table:
        allowed = f" ({'|'.join(argument.choices)})" if argument.choices else ""
        default = argument.default_text or "empty"
        lines.append(f"  {argument.name}:=<{argument.kind.__name__}>{allowed}, default {default}")
        lines.append(f"      {argument.description}")
    return "\n".join(lines)
