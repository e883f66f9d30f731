"""Node parameters declared once: type, default, bounds, description and whether they may change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

if TYPE_CHECKING:
    from rclpy.node import Node


class ParameterError(ValueError):
    """A parameter has a value that the node cannot work with."""


@dataclass(frozen=True)
class NodeParameter:
    """One row of a node's parameter table.

    All parameters are read-only: they are given at the start of the process.

    Attributes:
        name: parameter name.
        default: value when none is given; its type is the parameter's type.
        description: what it does, with the unit.
        bounds: smallest and largest allowed number, or None.
        choices: allowed strings; empty for any.
    """

    name: str
    default: bool | int | float | str
    description: str
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


def declare_parameters(node: Node, table: tuple[NodeParameter, ...]) -> dict[str, Any]:
    """Declares every row on `node` and returns the values by name.

    Raises:
        ParameterError: a value has another type than the row's default, lies outside the bounds or
            is none of the choices.
    """
    return {row.name: _declare(node, row) for row in table}


def _declare(node: Node, row: NodeParameter) -> Any:
    descriptor = ParameterDescriptor(
        name=row.name,
        description=row.description,
        read_only=True,
        additional_constraints=f"one of {', '.join(row.choices)}" if row.choices else "",
    )
    if row.bounds is not None and isinstance(row.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=row.bounds[0], to_value=row.bounds[1], step=0.0)
        ]
    elif row.bounds is not None:
        descriptor.integer_range = [
            IntegerRange(from_value=int(row.bounds[0]), to_value=int(row.bounds[1]), step=1)
        ]
    try:
        value = node.declare_parameter(row.name, row.default, descriptor).value
    except Exception as error:
        # rclpy has one exception class per reason; the person needs the reason and the cure.
        raise ParameterError(
            f"parameter {row.name} is refused ({error}); it must be of type "
            f"{type(row.default).__name__}"
            + (f" within {row.bounds[0]}..{row.bounds[1]}" if row.bounds else "")
        ) from error
    if row.choices and value not in row.choices:
        raise ParameterError(
            f"parameter {row.name} is {value!r}; it must be one of {', '.join(row.choices)}"
        )
    return value
