"""The parameter table declared on a node: given values, and changes while it runs, are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult

from twist_nodes.parameters import (
    ParameterRow,
    given_parameters,
    parameter_descriptor,
    unknown_parameters,
)
from twist_policy_node.parameters import (
    ROWS,
    TABLE,
    Parameter,
    ParameterError,
    check_together,
    check_value,
)

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter as RosParameter


class NodeParameters:
    """The table declared on a node.

    Args:
        node: gets the parameters.
        is_active: whether changes have to be refused now.

    Raises:
        ParameterError: a given value is not usable, or the node was given a parameter that it
            does not have.
    """

    def __init__(self, node: Node, is_active: Callable[[], bool]) -> None:
        self._node = node
        self._is_active = is_active
        for row in TABLE:
            _declare(node, row)
        if complaint := unknown_parameters(node, ROWS):
            raise ParameterError(complaint)
        check_together(self.values())
        node.add_on_set_parameters_callback(self._on_change)

    def values(self) -> dict[str, Any]:
        """The present values by name."""
        return {row.name: self._node.get_parameter(row.name).value for row in TABLE}

    def _on_change(self, changes: Iterable[RosParameter]) -> SetParametersResult:
        values = self.values()
        ours = [change for change in changes if change.name in ROWS]
        try:
            for change in ours:
                if self._is_active():
                    raise ParameterError(
                        f"parameter {change.name} cannot be changed while the node is active; "
                        "deactivate it first"
                    )
                check_value(ROWS[change.name], change.value)
                values[change.name] = change.value
            check_together(values)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def _declare(node: Node, row: Parameter) -> None:
    bounds = None if row.minimum is None or row.maximum is None else (row.minimum, row.maximum)
    description = f"{row.description} [{row.unit}]" if row.unit else row.description
    descriptor = parameter_descriptor(
        ParameterRow(row.name, row.default, description, bounds, row.choices, row.read_only)
    )
    # Looked at before rclpy does, whose own messages name neither range nor cure.
    given = given_parameters(node).get(row.name)
    if given is not None:
        check_value(row, given.value)
    node.declare_parameter(row.name, row.default, descriptor)
