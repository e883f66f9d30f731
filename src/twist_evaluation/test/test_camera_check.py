"""The camera's reference view is asked for before an evaluation."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from twist_evaluation.evaluation_setup import SetupError
from twist_evaluation.results import EvaluationIdentity
from twist_evaluation.ros_stand import RosStand, StandNames, StandTimeouts
from twist_evaluation.trial_runner_node import run_evaluation
from twist_evaluation.trial_stand import StandLost
from twist_nodes.spinning import spinning

SERVICE = "camera_reference/check"


class FakeCamera(Node):
    """Answers as it is told."""

    def __init__(self, context: rclpy.Context) -> None:
        super().__init__("camera_reference", context=context)
        self.good = True
        self.create_service(Trigger, "~/check", self._on_check)

    def _on_check(self, _request: Any, response: Any) -> Any:
        response.success, response.message = self.good, "4.2 pixels (limit 3)"
        return response


@pytest.fixture
def graph(ros_domain_id: int) -> Iterator[tuple[rclpy.Context, SingleThreadedExecutor]]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    executor = SingleThreadedExecutor(context=context)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield context, executor
    nodes = executor.get_nodes()
    executor.shutdown()
    thread.join(5.0)
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_a_moved_camera_ends_an_evaluation_before_its_first_trial(
    graph: tuple[rclpy.Context, SingleThreadedExecutor],
) -> None:
    context, executor = graph
    node = Node("trials", context=context)
    executor.add_node(node)
    stand = RosStand(
        node,
        EvaluationIdentity("block_push", 1, 2, 10, ""),
        StandNames(),
        StandTimeouts(ready=0.5, service=10.0),
        record=False,
    )
    with pytest.raises(StandLost, match="nobody offers camera_reference/check"):
        stand.check_camera(SERVICE)
    camera = FakeCamera(context)
    executor.add_node(camera)
    patient = RosStand(
        node,
        EvaluationIdentity("block_push", 1, 2, 10, ""),
        StandNames(),
        StandTimeouts(ready=20.0, service=10.0),
        record=False,
    )
    assert patient.check_camera(SERVICE) == "4.2 pixels (limit 3)"
    camera.good = False
    with pytest.raises(StandLost, match=r"not the stored one: 4\.2 pixels \(limit 3\)"):
        patient.check_camera(SERVICE)


def test_the_trial_runner_begins_nothing_when_the_camera_was_moved(
    graph: tuple[rclpy.Context, SingleThreadedExecutor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test's own stay
    context, executor = graph
    camera = FakeCamera(context)
    camera.good = False
    executor.add_node(camera)
    values = {"output": str(tmp_path / "run"), "reference_service": SERVICE, "record": False}
    node = Node(
        "trial_runner",
        context=context,
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
    )
    refused = pytest.raises(SetupError, match="the camera's view is not the stored one")
    with refused, spinning(node) as spun:
        run_evaluation(node, spun)
    node.destroy_node()
    assert not list(tmp_path.rglob("trial_*"))
