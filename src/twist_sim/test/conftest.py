"""A ROS graph for the tests of the twin's nodes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_graph import RosGraph

sys.path.insert(0, str(Path(__file__).parent))  # for ros_graph


@pytest.fixture
def graph(ros_domain_id: int) -> Iterator[RosGraph]:
    """Nodes of one test, in a domain of their own; closed at the end."""
    pytest.importorskip("rclpy")
    from ros_graph import RosGraph

    graph = RosGraph(ros_domain_id)
    yield graph
    graph.close()
