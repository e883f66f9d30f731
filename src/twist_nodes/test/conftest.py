"""A ROS context of each test's own, and nodes in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")


@pytest.fixture
def make_node(ros_domain_id: int) -> Iterator[Callable[..., Any]]:
    """Makes nodes: name, ``parameter_overrides`` by name as ``given``, options of the node."""
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    nodes: list[Node] = []

    def make(name: str = "tested", given: dict[str, Any] | None = None, **options: Any) -> Node:
        overrides = [Parameter(key, value=value) for key, value in (given or {}).items()]
        nodes.append(Node(name, context=context, parameter_overrides=overrides, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown(context=context)
