"""Parameters of the nodes in this package: declared once, from a typed table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


@dataclass(frozen=True)
class ParameterRow:
    """One parameter.

    Attributes:
        name: of the parameter.
        default: its value when nobody sets it; also gives the type.
        description: with the unit.
        range: lowest and highest value of a number, both allowed.
    """

    name: str
    default: bool | int | float | str
    description: str
    range: tuple[float, float] | None = None


def declare_parameters(node: Node, rows: Sequence[ParameterRow]) -> dict[str, Any]:
    """Declares every row as a read-only parameter and returns the values by name.

    Rows that are declared already, from overrides, are read.

    Raises:
        rclpy.exceptions.ParameterException: a value has the wrong type or lies outside its range.
    """
    values: dict[str, Any] = {}
    for row in rows:
        descriptor = ParameterDescriptor(description=row.description, read_only=True)
        if row.range is not None:
            low, high = row.range
            if isinstance(row.default, int):
                descriptor.integer_range = [
                    IntegerRange(from_value=int(low), to_value=int(high), step=1)
                ]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
                ]
        if node.has_parameter(row.name):
            values[row.name] = node.get_parameter(row.name).value
        else:
            values[row.name] = node.declare_parameter(row.name, row.default, descriptor).value
    return values
