"""Launch actions of a described graph. Imports launch and launch_ros, so only launch files may."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from twist_bringup.executables import check_packages, check_programs
from twist_bringup.options import ARGUMENTS, Argument, StackOptions, parse_arguments
from twist_bringup.preflight import workspace_problems
from twist_bringup.stack import Process, Stack, StackError, describe


def launch_arguments(defaults: StackOptions | None = None) -> list[DeclareLaunchArgument]:
    """One declared, described launch argument per option.

    Args:
        defaults: options whose values become the defaults; None takes the table's.
    """
    return [_declare(argument, defaults) for argument in ARGUMENTS if argument.launch]


def stack_actions(task: str) -> OpaqueFunction:
    """An action that reads the launch arguments and starts the graph they describe.

    Args:
        task: task card of the launch file.
    """

    def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        words = [f"task:={task}"]
        for argument in ARGUMENTS:
            if argument.launch:
                words.append(
                    f"{argument.name}:={LaunchConfiguration(argument.name).perform(context)}"
                )
        stack = describe(StackOptions(**parse_arguments(words, ARGUMENTS)))  # type: ignore[arg-type]
        check_packages(stack)
        check_programs(stack)
        found = workspace_problems(stack.options)
        if found:
            raise StackError("\n  ".join(["not started:", *found]))
        return actions_of(stack)

    return OpaqueFunction(function=start)


def launch_description(task: str) -> LaunchDescription:
    """The whole launch description for `task`."""
    return LaunchDescription(
        [
            SetEnvironmentVariable("OMP_NUM_THREADS", "1"),
            *launch_arguments(),
            stack_actions(task),
        ]
    )


def actions_of(stack: Stack) -> list[LaunchDescriptionEntity]:
    """One node action per process, with its rules for death."""
    return [_node(process) for process in stack.processes]


def _declare(argument: Argument, defaults: StackOptions | None) -> DeclareLaunchArgument:
    default = argument.default if defaults is None else getattr(defaults, argument.name)
    text = str(default).lower() if argument.kind is bool else str(default)
    # Every spelling of a truth value that run_stack takes: `parse_arguments` refuses others.
    choices = list(argument.choices) or None
    return DeclareLaunchArgument(
        argument.name, default_value=text, description=argument.description, choices=choices
    )


def _node(process: Process) -> Node:
    tree = process.parameter_tree()
    parameters = [str(_parameter_file(process.name, tree))] if tree else []
    if process.params_file:
        parameters.append(process.params_file)
    on_exit = None
    if process.finishes:
        on_exit = _shut_down_because(f"{process.name} has finished")
    elif process.required:
        on_exit = _shut_down_because(f"{process.name}, which is required, has ended")
    kind = LifecycleNode if process.lifecycle else Node
    return kind(
        package=process.package,
        executable=process.executable,
        name=process.name,
        namespace=process.namespace,
        arguments=list(process.arguments),
        parameters=parameters,
        remappings=list(process.remappings),
        respawn=process.respawn,
        respawn_delay=process.respawn_delay if process.respawn else None,
        sigterm_timeout=str(process.stop_grace),
        output="both",
        emulate_tty=False,
        on_exit=on_exit,
        additional_env={"PYTHONUNBUFFERED": "1"},
    )


def _shut_down_because(reason: str) -> Callable[[object, LaunchContext], list[Shutdown]]:
    def shut_down(_event: object, context: LaunchContext) -> list[Shutdown]:
        # While everything is being stopped, each end is expected and no reason for a second stop.
        return [] if context.is_shutdown else [Shutdown(reason=reason)]

    return shut_down


def _parameter_file(name: str, tree: dict[str, object]) -> Path:
    # A file keeps the types of the values; launch_ros writes one as well for a dictionary.
    with tempfile.NamedTemporaryFile(
        "w", prefix=f"twist_{name}_", suffix=".yaml", delete=False, encoding="utf-8"
    ) as file:
        yaml.safe_dump({"/**": {"ros__parameters": tree}}, file, sort_keys=False)
    return Path(file.name)
