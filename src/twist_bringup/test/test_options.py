"""Arguments: every wrong one is refused with the allowed ones."""

from __future__ import annotations

import pytest

from twist_bringup.options import (
    ARGUMENTS,
    OptionError,
    StackOptions,
    describe_arguments,
    options_from,
    parse_arguments,
)


def test_without_arguments_the_newcomers_graph_is_chosen() -> None:
    options = options_from(parse_arguments([]))
    assert (options.robot, options.camera_source, options.servo_source) == (
        "sim",
        "sim",
        "embedded",
    )
    assert (options.task, options.trial_count, options.seed, options.record) == (
        "block_push",
        5,
        1,
        True,
    )


def test_arguments_have_the_types_of_the_table() -> None:
    values = parse_arguments(["trials:=20", "record:=False", "output:=a:=b", "verbose:=true"])
    assert (values["trials"], values["record"], values["output"]) == (20, False, "a:=b")
    assert values["verbose"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["robot:=ur5"], "robot:=ur5 is unknown; allowed values: sim, panda, fr3"),
        (
            ["camera:=webcam"],
            "allowed values: auto, sim, realsense, pyrealsense, running, bag, mock",
        ),
        (["servo:=none"], "allowed values: auto, embedded, moveit"),
        (["command_mode:=joint"], "allowed values: pose, twist"),
        (["trials:=many"], "trials:=many is not a whole number"),
        (["trials:=-2"], "trials:=-2 must be at least -1"),
        (["speed:=fast"], "speed:=fast is not a number"),
        (["speed:=0"], "speed:=0.0 must be at least 0.01"),
        (["speed:=1.5"], "speed:=1.5 must be at most 1.0"),
        (["speed:=nan"], "speed:=nan must be at least"),
        (["seed:=-5"], "must be at least 0"),
        (["record:=maybe"], "neither true nor false"),
        (["trails:=5"], r"unknown argument 'trails' \(did you mean trials\?\)"),
        (["--trials=5"], "not of the form name:=value"),
        (["seed:=1", "seed:=2"], "seed is given twice"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_is_allowed(words: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_arguments(words)


def test_options_made_in_code_are_checked_as_well() -> None:
    with pytest.raises(OptionError, match="robot:=ur5 is unknown"):
        StackOptions(robot="ur5")
    with pytest.raises(OptionError, match="trials must be int"):
        StackOptions(trials="5")  # type: ignore[arg-type]


def test_the_help_names_every_argument() -> None:
    text = describe_arguments(ARGUMENTS)
    assert all(f"{argument.name}:=" in text for argument in ARGUMENTS)
    assert all(argument.description in text for argument in ARGUMENTS)
