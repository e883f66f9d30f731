"""The node's parameters: one typed table, from which they are declared, checked and documented.

python3 -m twist_policy_node.parameters     prints the table as Markdown
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twist_policy.contract import PolicyContract
from twist_policy_node.commands import CommandMode
from twist_policy_node.gripper import GripperLimits
from twist_policy_node.watchdogs import WatchdogLimits

Value = bool | int | float | str

_ROS_NAME = re.compile(r"(~/|/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_TYPE_NAMES = {bool: "bool", int: "integer", float: "double", str: "string"}


class ParameterError(ValueError):
    """A parameter, or a combination of parameters, that the node cannot work with."""


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name: parameter name.
        default: value when none is given; its type is the parameter's type.
        unit: unit of the value; empty for none.
        description: what it does.
        minimum: smallest allowed number, or None.
        maximum: largest allowed number, or None.
        choices: allowed strings; empty for any.
        read_only: whether it is fixed at the start of the process. The others may be changed while
            the node is not active, and count from the next `configure` or `activate` on.
    """

    name: str
    default: Value
    unit: str
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True


_LIMITS = WatchdogLimits()
_GRIPPER_LIMITS = GripperLimits()

TABLE: tuple[Parameter, ...] = (
    Parameter(
        "checkpoint", "", "", "Folder of the checkpoint. Required to configure.", read_only=False
    ),
    Parameter(
        "checkpoint_label",
        "",
        "",
        "What log and diagnostics call the checkpoint, where nobody is to know which it is; "
        "empty: its identity.",
        read_only=False,
    ),
    Parameter(
        "task",
        "",
        "",
        "Refuse checkpoints of another task; empty takes any.",
        read_only=False,
    ),
    Parameter(
        "command_mode",
        "pose",
        "",
        "Kind of Servo command: target poses, or velocities.",
        choices=tuple(mode.value for mode in CommandMode),
    ),
    Parameter(
        "base_frame",
        "",
        "",
        "Frame of poses and commands; empty takes the contract's (panda_link0). Set it where the "
        "same frame has another name (fr3_link0).",
    ),
    Parameter(
        "autostart",
        False,
        "",
        "Configure and activate without being asked. Only where nobody can be hurt.",
    ),
    Parameter(
        "speed",
        1.0,
        "",
        "Share of the trained speed: 0.1 for the first motions. A step is as long as ever and "
        "takes 1 / speed control periods, rounded up.",
        0.01,
        1.0,
        read_only=False,
    ),
    Parameter(
        "dry_run",
        False,
        "",
        "Decide and publish ~/step and ~/belief, but send nothing to Servo, which need not run.",
    ),
    Parameter(
        "command_rate",
        50.0,
        "Hz",
        "Rate at which the current command is sent again under a fresh stamp.",
        20.0,
        200.0,
    ),
    Parameter(
        "command_validity",
        1.5,
        "periods",
        "Control periods that a command counts after its decision.",
        1.0,
        3.0,
    ),
    Parameter(
        "stop_hold_time",
        0.1,
        "s",
        "How long standing still is commanded before Servo is paused.",
        0.04,
        0.5,
    ),
    Parameter(
        "twist_position_gain",
        2.0,
        "1/s",
        "Correction of the position in twist mode.",
        0.0,
        10.0,
    ),
    Parameter(
        "twist_orientation_gain",
        2.0,
        "1/s",
        "Correction of the orientation in twist mode.",
        0.0,
        10.0,
    ),
    Parameter(
        "twist_lag",
        0.05,
        "s",
        "By how much the arm follows a twist later; too little makes it overshoot.",
        0.0,
        0.5,
    ),
    Parameter(
        "activation_timeout",
        5.0,
        "s",
        "How long camera, robot and Servo may take to be there after activation.",
        0.1,
        60.0,
        read_only=False,
    ),
    Parameter(
        "servo_api",
        "jazzy",
        "",
        "Generation of MoveIt Servo; humble takes twists alone.",
        choices=("jazzy", "humble"),
    ),
    Parameter("service_timeout", 2.0, "s", "Longest answer time of Servo's services.", 0.1, 30.0),
    Parameter(
        "frame_age_limit",
        _LIMITS.frame_age,
        "s",
        "Largest age of the newest camera frame, by its stamp.",
        0.02,
        2.0,
        read_only=False,
    ),
    Parameter(
        "frame_interval_limit",
        _LIMITS.frame_interval,
        "s",
        "Longest time without a new camera frame, by its arrival.",
        0.02,
        2.0,
        read_only=False,
    ),
    Parameter(
        "frozen_frame_limit",
        _LIMITS.frozen_frames,
        "frames",
        "Identical camera frames in a row that stop the arm.",
        2,
        1000,
        read_only=False,
    ),
    Parameter(
        "min_image_contrast",
        _LIMITS.min_contrast,
        "grey levels",
        "Standard deviation below which a frame counts as blank.",
        0.0,
        64.0,
        read_only=False,
    ),
    Parameter(
        "blank_frame_limit",
        _LIMITS.blank_frames,
        "frames",
        "Blank camera frames in a row that stop the arm.",
        1,
        100,
        read_only=False,
    ),
    Parameter(
        "camera_info_limit",
        15.0,
        "pixels",
        "Largest shift of the policy's picture by the camera's intrinsics against those trained "
        "with, at the crop's corners.",
        0.0,
        1000.0,
        read_only=False,
    ),
    Parameter(
        "camera_info_required",
        False,
        "",
        "Whether activation needs the camera's calibration on camera_info; else it is compared "
        "where there is one.",
        read_only=False,
    ),
    Parameter(
        "clock_tolerance",
        _LIMITS.clock_tolerance,
        "s",
        "How far in the future a stamp may lie.",
        0.0,
        1.0,
        read_only=False,
    ),
    Parameter(
        "pose_age_limit",
        _LIMITS.pose_age,
        "s",
        "Largest age of the newest end-effector pose.",
        0.02,
        2.0,
        read_only=False,
    ),
    Parameter(
        "pose_jump_limit",
        _LIMITS.pose_jump,
        "m",
        "Largest distance between two end-effector poses in a row.",
        0.005,
        0.5,
        read_only=False,
    ),
    Parameter(
        "tool_tilt_limit",
        _LIMITS.tool_tilt,
        "rad",
        "Largest angle between the measured and the held tool orientation.",
        0.01,
        3.15,
        read_only=False,
    ),
    Parameter(
        "inference_time_limit",
        _LIMITS.inference_time,
        "s",
        "Longest time a policy step may take; at most the control period.",
        0.001,
        1.0,
        read_only=False,
    ),
    Parameter(
        "inference_overrun_limit",
        _LIMITS.inference_overruns,
        "steps",
        "Slow policy steps in a row that stop the arm.",
        1,
        100,
        read_only=False,
    ),
    Parameter(
        "surprise_slow",
        _LIMITS.surprise_slow,
        "nats",
        "Surprise above which the arm is slowed.",
        0.0,
        1e6,
        read_only=False,
    ),
    Parameter(
        "surprise_stop",
        _LIMITS.surprise_stop,
        "nats",
        "Surprise above which the arm is stopped; more than surprise_slow.",
        0.0,
        1e6,
        read_only=False,
    ),
    Parameter(
        "surprise_step_limit",
        _LIMITS.surprise_steps,
        "steps",
        "Steps in a row above surprise_stop that stop the arm.",
        1,
        100,
        read_only=False,
    ),
    Parameter(
        "surprise_grace_steps",
        _LIMITS.surprise_grace_steps,
        "steps",
        "First steps after activation in which surprise does not count.",
        0,
        50,
        read_only=False,
    ),
    Parameter(
        "servo_silence_limit",
        _LIMITS.servo_silence,
        "s",
        "Longest time without a status from Servo.",
        0.02,
        2.0,
        read_only=False,
    ),
    Parameter(
        "servo_halt_limit",
        _LIMITS.servo_halt,
        "s",
        "How long Servo may report that it does not move the arm.",
        0.0,
        5.0,
        read_only=False,
    ),
    Parameter(
        "gripper",
        "franka_gripper",
        "",
        "Name of the gripper: its actions are <gripper>/move and <gripper>/grasp, its fingers' "
        "positions <gripper>/joint_states. Empty where there is none. It, and the limits below, "
        "count only for a checkpoint whose task uses a gripper.",
    ),
    Parameter(
        "gripper_answer_limit",
        _GRIPPER_LIMITS.answer,
        "s",
        "Longest time until the gripper accepts a command.",
        0.05,
        10.0,
        read_only=False,
    ),
    Parameter(
        "gripper_command_limit",
        _GRIPPER_LIMITS.command,
        "s",
        "Longest time until a command of the gripper is over; more than the checkpoint's.",
        0.1,
        30.0,
        read_only=False,
    ),
    Parameter(
        "gripper_silence_limit",
        _GRIPPER_LIMITS.silence,
        "s",
        "Longest time without the positions of the gripper's fingers.",
        0.05,
        10.0,
        read_only=False,
    ),
    Parameter(
        "robot_state_required",
        False,
        "",
        "Whether activation needs the arm's own state on robot_state; else it is watched where "
        "there is one.",
        read_only=False,
    ),
    Parameter(
        "robot_state_age_limit",
        _LIMITS.robot_age,
        "s",
        "Largest age of the arm's own state.",
        0.02,
        2.0,
        read_only=False,
    ),
    Parameter(
        "contact_yield_force",
        _LIMITS.contact_yield,
        "N",
        "External force on the arm above which the tool goes no further into what it touches; "
        "above contact_force_limit: never.",
        1.0,
        200.0,
        read_only=False,
    ),
    Parameter(
        "contact_force_limit",
        _LIMITS.contact_force,
        "N",
        "Largest external force on the arm.",
        1.0,
        200.0,
        read_only=False,
    ),
    Parameter(
        "command_success_limit",
        _LIMITS.success_rate,
        "",
        "Smallest share of the last commands that have to reach the arm.",
        0.0,
        1.0,
        read_only=False,
    ),
    Parameter(
        "command_success_time",
        _LIMITS.success_time,
        "s",
        "How long a smaller share may last.",
        0.0,
        5.0,
        read_only=False,
    ),
    Parameter(
        "imagination_rate",
        5.0,
        "Hz",
        "Largest rate of imagined paths on ~/belief; 0 for none.",
        0.0,
        10.0,
        read_only=False,
    ),
    Parameter(
        "imagination_horizon",
        15,
        "steps",
        "How far ahead paths are imagined.",
        1,
        100,
        read_only=False,
    ),
    Parameter("warm_up_steps", 12, "steps", "Policy steps that are run while configuring.", 1, 100),
    Parameter("inference_threads", 1, "", "Threads of one policy step.", 1, 64),
    Parameter("diagnostics_rate", 2.0, "Hz", "Rate of /diagnostics.", 0.5, 20.0),
)

ROWS = {row.name: row for row in TABLE}
"""The table by name."""


def check_value(row: Parameter, value: Any) -> None:
    """Checks one value against its row.

    Raises:
        ParameterError: another type, not finite, out of range, or none of the choices.
    """
    expected = type(row.default)
    if type(value) is not expected:
        hint = f"; write {float(value)}" if expected is float and type(value) is int else ""
        raise ParameterError(
            f"parameter {row.name} must be of type {_TYPE_NAMES[expected]}, found {value!r}{hint}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"parameter {row.name} must be finite, found {value}")
    low = -math.inf if row.minimum is None else row.minimum
    high = math.inf if row.maximum is None else row.maximum
    if not isinstance(value, str) and not low <= value <= high:
        raise ParameterError(
            f"parameter {row.name} is {value} {row.unit}, it must lie within {low}..{high}"
        )
    if row.choices and value not in row.choices:
        raise ParameterError(
            f"parameter {row.name} is {value!r}, it must be one of {', '.join(row.choices)}"
        )


def check_together(values: Mapping[str, Any], contract: PolicyContract | None = None) -> None:
    """Checks the parameters against each other, and against a checkpoint's contract.

    Raises:
        ParameterError: two of them contradict each other.
    """
    if values["surprise_slow"] >= values["surprise_stop"]:
        raise ParameterError(
            f"surprise_slow ({values['surprise_slow']}) must be below surprise_stop "
            f"({values['surprise_stop']}): the arm slows before it stops"
        )
    if values["stop_hold_time"] * values["command_rate"] < 2:
        raise ParameterError(
            f"stop_hold_time ({values['stop_hold_time']} s) must span two commands at command_rate "
            f"({values['command_rate']} Hz); raise one of them"
        )
    if values["servo_api"] == "humble" and values["command_mode"] == CommandMode.POSE.value:
        raise ParameterError(
            "MoveIt Servo of Humble takes no poses: set command_mode to twist, or use MoveIt 2 of "
            "Jazzy with servo_api jazzy"
        )
    if contract is None:
        return
    period = contract.control_period
    if values["inference_time_limit"] > period:
        raise ParameterError(
            f"inference_time_limit ({values['inference_time_limit']} s) must not exceed the "
            f"checkpoint's control period ({period} s)"
        )
    if values["command_rate"] * period < 2:
        raise ParameterError(
            f"command_rate ({values['command_rate']} Hz) must send a command at least twice in the "
            f"checkpoint's control period ({period} s)"
        )
    if contract.gripper is None:
        return
    if not values["gripper"]:
        raise ParameterError(
            f"the checkpoint's task {contract.task!r} uses a gripper, but parameter gripper is "
            "empty; set it to the gripper's name, such as franka_gripper, or choose a checkpoint "
            "of a task without a gripper"
        )
    if not _ROS_NAME.fullmatch(values["gripper"]):
        raise ParameterError(
            f"parameter gripper is {values['gripper']!r}, which is no ROS name: letters, digits "
            "and _, parts of it with / between, such as franka_gripper or left/franka_gripper"
        )
    if values["gripper_command_limit"] <= contract.gripper.command_time:
        raise ParameterError(
            f"gripper_command_limit ({values['gripper_command_limit']} s) must exceed the time "
            f"that a command takes by the checkpoint ({contract.gripper.command_time} s)"
        )


def default_values() -> dict[str, Value]:
    """The table's defaults by name."""
    return {row.name: row.default for row in TABLE}


def watchdog_limits(values: Mapping[str, Any]) -> WatchdogLimits:
    """The watchdogs' limits from parameter values."""
    return WatchdogLimits(
        frame_age=values["frame_age_limit"],
        frame_interval=values["frame_interval_limit"],
        frozen_frames=values["frozen_frame_limit"],
        min_contrast=values["min_image_contrast"],
        blank_frames=values["blank_frame_limit"],
        clock_tolerance=values["clock_tolerance"],
        pose_age=values["pose_age_limit"],
        pose_jump=values["pose_jump_limit"],
        tool_tilt=values["tool_tilt_limit"],
        inference_time=values["inference_time_limit"],
        inference_overruns=values["inference_overrun_limit"],
        surprise_slow=values["surprise_slow"],
        surprise_stop=values["surprise_stop"],
        surprise_steps=values["surprise_step_limit"],
        surprise_grace_steps=values["surprise_grace_steps"],
        servo_silence=values["servo_silence_limit"],
        servo_halt=values["servo_halt_limit"],
        robot_age=values["robot_state_age_limit"],
        contact_yield=values["contact_yield_force"],
        contact_force=values["contact_force_limit"],
        success_rate=values["command_success_limit"],
        success_time=values["command_success_time"],
    )


def gripper_limits(values: Mapping[str, Any]) -> GripperLimits:
    """The gripper's limits from parameter values."""
    return GripperLimits(
        answer=values["gripper_answer_limit"],
        command=values["gripper_command_limit"],
        silence=values["gripper_silence_limit"],
    )


def markdown_table() -> str:
    """The table as Markdown, for the README."""
    lines = [
        "| parameter | type | default | unit | range | changeable | description |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in TABLE:
        if row.choices:
            span = ", ".join(row.choices)
        elif row.minimum is not None:
            span = f"{row.minimum:g} … {row.maximum:g}"
        else:
            span = ""
        default = str(row.default).lower() if isinstance(row.default, bool) else row.default
        lines.append(
            f"| `{row.name}` | {_TYPE_NAMES[type(row.default)]} | "
            f"{f'`{default}`' if default != '' else 'empty'} | {row.unit} | {span} | "
            f"{'at start' if row.read_only else 'while inactive'} | {row.description} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown_table(), end="")
