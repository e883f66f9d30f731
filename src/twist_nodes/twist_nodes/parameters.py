"""Parameters of a node, declared once from a typed table: type, default, bounds, description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter

if TYPE_CHECKING:
    from rclpy.node import Node


class ParameterError(ValueError):
    """A parameter has a value that the node cannot work with."""


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


def declare_parameters(node: Node, table: Sequence[ParameterRow]) -> dict[str, Any]:
    """Declares every row on `node` and returns the values by name.

    A node that takes parameters of any name has declared those it was given already; they are held
    to their rows as well. Later changes, where a row allows them, are held to type and bounds only.

    Raises:
        ParameterError: a value has another type than the row's default, lies outside the bounds or
            is none of the choices.
    """
    return {row.name: _declare(node, row) for row in table}


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
