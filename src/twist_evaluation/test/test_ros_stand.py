"""The stand over real middleware, among a real recorder and a fake arm in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from twist_evaluation.bag_writer import BagWriter, read_metadata
from twist_evaluation.results import EvaluationIdentity
from twist_evaluation.trial_stand import Interrupted, TrialAborted

pytestmark = pytest.mark.realtime
rclpy = pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs.msg")

from rclpy.callback_groups import ReentrantCallbackGroup  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.task import Future  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from twist_evaluation.recorder_node import Recorder  # noqa: E402
from twist_evaluation.ros_stand import RosStand, StandNames, StandTimeouts  # noqa: E402
from twist_msgs.srv import ResetTrial  # noqa: E402
from twist_nodes.spinning import spinning  # noqa: E402

IDENTITY = EvaluationIdentity("block_push", 1, 2, 5, "")


class FakeArm(Node):
    """Is on its way for ever, like ``arm_motion`` with a far target; only ``~/stop`` ends it."""

    def __init__(self, context: Context, trouble: str, has_stop: bool) -> None:
        super().__init__("arm", context=context)
        self.trouble = trouble
        self.moving = threading.Event()
        self.stops = 0
        self.on_stop: Callable[[], None] = lambda: None
        self._over = Future()
        group = ReentrantCallbackGroup()
        self.create_service(ResetTrial, "~/reset", self.move, callback_group=group)
        self.create_service(Trigger, "~/home", self.move, callback_group=group)
        if has_stop:
            self.create_service(Trigger, "~/stop", self.stop, callback_group=group)

    async def move(self, request: Any, response: Any) -> Any:
        self.moving.set()
        await self._over
        return response

    def stop(self, request: Any, response: Any) -> Any:
        self.stops += 1
        self.on_stop()
        self._over.set_result(None)
        response.success, response.message = not self.trouble, self.trouble
        return response


class Bench:
    """Nodes in a graph of their own."""

    def __init__(self, context: Context, opened: ExitStack) -> None:
        self._context = context
        self._opened = opened

    def spin(self, node: Any) -> Any:
        self._opened.callback(node.destroy_node)
        self._opened.enter_context(spinning(node))
        return node

    def arm(self, trouble: str = "", has_stop: bool = True) -> FakeArm:
        return self.spin(FakeArm(self._context, trouble, has_stop))

    def recorder(self, **options: Any) -> Recorder:
        values = {
            "topics": ["trial twist_msgs/msg/Trial latched"],
            "required_topics": [""],
            "minimum_free_megabytes": 1,
        }
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = Recorder(context=self._context, parameter_overrides=overrides, **options)
        return self.spin(node)

    def stand(self, **timeouts: float) -> RosStand:
        node = self.spin(Node("trial_runner", context=self._context))
        names = StandNames(reset_service="arm/reset", home_service="arm/home")
        return RosStand(node, IDENTITY, names, StandTimeouts(**timeouts), record=True)


@pytest.fixture
def bench(ros_domain_id: int) -> Iterator[Bench]:
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    with ExitStack() as opened:
        opened.callback(rclpy.try_shutdown, context=context)
        yield Bench(context, opened)


def _wait(condition: Callable[[], Any], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the awaited event did not come"
        time.sleep(0.005)


def _known(stand: RosStand) -> RosStand:
    """The same, once it has found the arm's services."""
    clients = {client.srv_name: client for client in stand._node.clients}
    wanted = [name for name in clients if name.startswith(("arm/", "/arm/"))]
    _wait(lambda: all(clients[name].service_is_ready() for name in wanted))
    return stand


MOTIONS = {
    "reset": lambda stand: stand.reset("block_push", 1, 0),
    "home": lambda stand: stand.clear_view(),
}


@pytest.mark.parametrize("motion", MOTIONS)
def test_an_arm_that_takes_too_long_on_its_way_is_stopped(bench: Bench, motion: str) -> None:
    arm, stand = bench.arm(), _known(bench.stand(reset=0.5))
    with pytest.raises(TrialAborted, match=rf"arm/{motion} did not answer within 0.5 s"):
        MOTIONS[motion](stand)
    assert arm.stops == 1


@pytest.mark.parametrize("motion", MOTIONS)
def test_an_arm_on_its_way_is_stopped_when_a_person_interrupts(bench: Bench, motion: str) -> None:
    arm, stand = bench.arm(), _known(bench.stand())

    def interrupt() -> None:
        arm.moving.wait(20.0)
        stand.interrupt("interrupted by a person")

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match=r"^interrupted by a person$"):
        MOTIONS[motion](stand)
    assert arm.stops == 1


def test_an_interrupt_while_the_arm_is_being_stopped_is_heard(bench: Bench) -> None:
    arm, stand = bench.arm(), _known(bench.stand(reset=0.5))
    arm.on_stop = lambda: stand.interrupt("interrupted by a person")
    with pytest.raises(Interrupted, match=r"^interrupted by a person$"):
        stand.clear_view()
    assert arm.stops == 1


def test_an_arm_that_cannot_be_stopped_is_told_of(bench: Bench) -> None:
    bench.arm(trouble="the motion goes on; use the emergency stop")
    with pytest.raises(TrialAborted, match=r"did not answer.*use the emergency stop"):
        _known(bench.stand(reset=0.5)).clear_view()


def test_where_nothing_stops_the_arm_nothing_is_asked(bench: Bench) -> None:
    arm = bench.arm(has_stop=False)
    stand = bench.stand(reset=0.5)
    _wait(lambda: stand._reset.service_is_ready())
    with pytest.raises(TrialAborted, match=r"its log tells$"):
        stand.reset("block_push", 1, 0)
    assert arm.moving.is_set()


def test_a_recording_that_starts_too_late_is_ended_and_the_next_one_is_served(
    bench: Bench, tmp_path: Path
) -> None:
    let_go = threading.Event()

    def open_slowly(folder: Path, *arguments: Any, **options: Any) -> BagWriter:
        let_go.wait(20.0)
        return BagWriter(folder, *arguments, **options)

    recorder = bench.recorder(open_writer=open_slowly)
    stand = bench.stand(service=1.0)
    _wait(lambda: stand._start.service_is_ready() and stand._stop.service_is_ready())
    for _ in range(2):  # also while the first one still hangs
        with pytest.raises(TrialAborted, match=r"did not answer within 1 s"):
            stand.start_recording(tmp_path / "late", {})
    let_go.set()

    stand.start_recording(tmp_path / "next", {})
    assert read_metadata(tmp_path / "late")["custom_data"]["outcome"] == "aborted"
    assert recorder._recording is not None
    stand.stop_recording({})
    assert not read_metadata(tmp_path / "next")["custom_data"].get("outcome")
