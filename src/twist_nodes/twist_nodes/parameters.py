"""Parameters of a node, declared once from a typed table: type, default, bounds, description."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter

if TYPE_CHECKING:
    from rclpy.node import Node


RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service")
"""What rclpy declares on every node by itself."""
_QOS_OVERRIDES = "qos_overrides."
"""How the names begin by which a person may change the quality of service of a topic."""


class ParameterError(ValueError):
    """A parameter has a value that the node cannot work with, or the node has no such parameter."""


@dataclass(frozen=True)
class ParameterRow:
    """One row of a node's parameter table.

    Attributes:
        name: parameter name.
        default: value when none is given; its type is the parameter's type.
        description: what it does, with the unit.
        bounds: smallest and largest allowed number, or None.
        choices: allowed strings; empty for any.
        read_only: whether it is given at the start of the process and never changes.
    """

    name: str
    default: bool | int | float | str | list[str]
    description: str
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True


def parameter_descriptor(row: ParameterRow) -> ParameterDescriptor:
    """What ROS's tools show of a parameter, and what rclpy holds its values to.

    That is type and bounds; rclpy only shows the choices.
    """
    descriptor = ParameterDescriptor(
        name=row.name,
        type=Parameter.Type.from_parameter_value(row.default).value,
        description=row.description,
        read_only=row.read_only,
        additional_constraints=f"one of {', '.join(row.choices)}" if row.choices else "",
    )
    if row.bounds is None:
        return descriptor
    low, high = row.bounds
    if isinstance(row.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        ]
    else:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor


def declare_parameters(
    node: Node, table: Sequence[ParameterRow], *, prefixes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Declares every row on `node` and returns the values by name.

    The table is all that the node may be given, apart from rclpy's own parameters. A node that
    takes parameters of any name has declared those it was given already; they are held to their
    rows as well. Later changes, where a row allows them, are held to type and bounds only.

    Args:
        node: gets the parameters.
        table: its parameters.
        prefixes: how names begin that the node takes without a row, and looks at itself.

    Raises:
        ParameterError: the node was given a parameter that it does not have, or a value has another
            type than the row's default, lies outside the bounds or is none of the choices.
    """
    complaint = unknown_parameters(node, [row.name for row in table], prefixes=prefixes)
    if complaint:
        raise ParameterError(complaint)
    return {row.name: _declare(node, row) for row in table}


def unknown_parameters(
    node: Node, known: Collection[str], *, prefixes: tuple[str, ...] = ()
) -> str:
    """What is wrong with the names that `node` was given; empty when nothing is.

    rclpy ignores a value for a parameter that nobody declares: the default of the one that was
    meant would stay in force, and nobody would know.

    Args:
        node: was given parameters by command line, files, or whoever made it.
        known: names of its parameters.
        prefixes: how further names begin that it takes.
    """
    taken = (_QOS_OVERRIDES, *prefixes)
    unknown = [
        name
        for name in given_parameters(node)
        if name not in known and name not in RCLPY_PARAMETERS and not name.startswith(taken)
    ]
    if not unknown:
        return ""
    has = [*known, *(f"{prefix}*" for prefix in prefixes)]
    return (
        f"there is no parameter {', nor '.join(_with_nearest(unknown, known))}; {node.get_name()} "
        f"has {', '.join(has)}. Every node takes what a file holds below /**: what only some of "
        "them have belongs below their names"
    )


def given_parameters(node: Node) -> Mapping[str, Parameter]:
    """What command line, files and the caller of the constructor gave, declared or not."""
    # rclpy has no public way to see them, but to declare every one of them: then a node has
    # whatever it is given, and its tools show parameters that do nothing.
    overrides: Mapping[str, Parameter] = node._parameter_overrides
    return overrides


def _with_nearest(names: Iterable[str], known: Collection[str]) -> list[str]:
    found = []
    for name in names:
        near = difflib.get_close_matches(name, known, n=1)
        found.append(f"{name!r}" + (f" (did you mean {near[0]}?)" if near else ""))
    return found


def _declare(node: Node, row: ParameterRow) -> Any:
    descriptor = parameter_descriptor(row)
    try:
        if node.has_parameter(row.name):
            node.set_descriptor(row.name, descriptor)
        else:
            node.declare_parameter(row.name, row.default, descriptor)
    except ParameterException as error:
        # rclpy has one exception class per reason; the person needs the reason and the cure.
        raise ParameterError(
            f"parameter {row.name} is refused ({error}); it must be of type "
            f"{type(row.default).__name__}"
            + (f" within {row.bounds[0]}..{row.bounds[1]}" if row.bounds else "")
        ) from error
    value = node.get_parameter(row.name).value
    if row.choices and value not in row.choices:
        raise ParameterError(
            f"parameter {row.name} is {value!r}; it must be one of {', '.join(row.choices)}"
        )
    return value
