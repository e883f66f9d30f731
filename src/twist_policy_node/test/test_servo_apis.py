"""Our client against a Servo on the graph, in both generations: it refuses, is late, restarts, and
reports every status code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_msgs.msg import Int8
from std_srvs.srv import SetBool, Trigger

from twist_policy_node.arming import Arming, ArmingStep
from twist_policy_node.commands import CommandMode
from twist_policy_node.servo_client import ServoClient
from twist_policy_node.servo_messages import ServoCommandType, ServoStatus
from twist_policy_node.servo_watchdog import CODES, servo_code
from twist_policy_node.watchdogs import Fault

TIMEOUT = 30.0


class FakeServo:
    """One generation of Servo; what it was asked is kept in order."""

    def __init__(self, node: Any, generation: str) -> None:
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.delay = 0.0
        self.paused = generation == "humble"
        self.code = 0
        self._node = node
        self._humble = generation == "humble"
        self._parts: list[Callable[[], Any]] = []
        self.start()

    def start(self) -> None:
        node = self._node
        kind = Int8 if self._humble else ServoStatus
        self._statuses = node.create_publisher(kind, "servo_node/status", 1)
        timer = node.create_timer(0.01, self._send_status)
        group = ReentrantCallbackGroup()  # other callbacks run while an answer is awaited
        services = [
            node.create_service(
                service_type, f"servo_node/{name}", self._answer(name), callback_group=group
            )
            for name, service_type in self._services().items()
        ]
        self._parts = [
            lambda: node.destroy_publisher(self._statuses),
            lambda: node.destroy_timer(timer),
            *(lambda service=service: node.destroy_service(service) for service in services),
        ]

    def die(self) -> None:
        for end in self._parts:
            end()

    def _services(self) -> dict[str, Any]:
        if self._humble:
            return dict.fromkeys(("start_servo", "pause_servo", "unpause_servo"), Trigger)
        return {"switch_command_type": ServoCommandType, "pause_servo": SetBool}

    def _answer(self, name: str) -> Any:
        async def answer(request: Any, response: Any) -> Any:
            word = getattr(request, "data", getattr(request, "command_type", ""))
            self.asked.append(f"{name} {word}".strip())
            if self.delay:
                later = Future()
                timer = self._node.create_timer(self.delay, lambda: later.set_result(None))
                await later
                self._node.destroy_timer(timer)
            response.success = name not in self.refused
            if hasattr(response, "message"):
                response.message = "" if response.success else "not now"
            if response.success:
                self.paused = name == "pause_servo" and word is not False
            return response

        return answer

    def _send_status(self) -> None:
        if not self.paused:
            self._statuses.publish(
                Int8(data=self.code) if self._humble else ServoStatus(code=self.code, message="m")
            )


class Stand:
    """Client and Servo in one process, spun by the test itself."""

    def __init__(self, context: rclpy.Context, generation: str) -> None:
        self.executor = SingleThreadedExecutor(context=context)
        peer = rclpy.create_node("fake_servo", context=context)
        self.node = rclpy.create_node("client", context=context)
        for node in (peer, self.node):
            self.executor.add_node(node)
        self.statuses: list[tuple[int, str]] = []
        self.servo = FakeServo(peer, generation)
        self.client = ServoClient(
            self.node,
            CommandMode.TWIST,
            "panda_link0",
            service_timeout=2.0,
            clock=time.monotonic,
            on_status=lambda code, text, now: self.statuses.append((code, text)),
            api=generation,
        )

    def close(self) -> None:
        nodes = self.executor.get_nodes()
        self.executor.shutdown()
        for node in nodes:
            node.destroy_node()

    def until(self, done: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + TIMEOUT
        while not done():
            assert time.monotonic() < end, what
            self.executor.spin_once(timeout_sec=0.02)

    def arm(self) -> Fault | None:
        """Arms as an activation does; returns the fault that ended it."""
        self.until(lambda: not self.client.missing(), "services of Servo")
        arming = Arming(self.client, time.monotonic(), input_timeout=2.0, status_timeout=2.0)
        faults: list[Fault] = []

        def over() -> bool:
            fault = arming.poll(time.monotonic(), self.client.missing(), self.client.heard)
            faults.extend([fault] if fault else [])
            return bool(faults) or arming.step is ArmingStep.DONE

        self.until(over, "arming to end")
        return faults[0] if faults else None

    def paused(self, wanted: bool) -> None:
        call = self.client.pause(wanted)
        self.until(lambda: call.poll(time.monotonic()).value != "pending", "an answer")


@pytest.fixture
def stand(ros_domain_id: int) -> Iterator[Callable[[str], Stand]]:
    context = rclpy.Context()
    rclpy.init(
        context=context, domain_id=ros_domain_id, signal_handler_options=SignalHandlerOptions.NO
    )
    stands: list[Stand] = []

    def begin(generation: str) -> Stand:
        stands.append(Stand(context, generation))
        return stands[-1]

    yield begin
    for stand in stands:
        stand.close()
    context.try_shutdown()


EXPECTED = {
    "jazzy": ["switch_command_type 1", "pause_servo False", "pause_servo True"],
    "humble": ["start_servo", "unpause_servo", "pause_servo"],
}


@pytest.mark.parametrize("generation", sorted(EXPECTED))
def test_a_servo_is_armed_paused_and_armed_again_after_it_died(
    stand: Callable[[str], Stand], generation: str
) -> None:
    graph = stand(generation)
    assert graph.arm() is None
    graph.paused(True)
    # Each once, unless an answer was lost and asked for again.
    assert list(dict.fromkeys(graph.servo.asked)) == EXPECTED[generation]
    assert graph.servo.paused
    graph.servo.die()
    graph.until(graph.client.missing, "its end to be noticed")
    graph.servo.asked.clear()
    graph.servo.start()
    assert graph.arm() is None
    assert list(dict.fromkeys(graph.servo.asked)) == EXPECTED[generation][:2]


@pytest.mark.parametrize(
    ("generation", "service"),
    [
        ("jazzy", "switch_command_type"),
        ("jazzy", "pause_servo"),
        ("humble", "start_servo"),
        ("humble", "unpause_servo"),
    ],
)
def test_each_refusal_ends_arming_and_names_the_service(
    stand: Callable[[str], Stand], generation: str, service: str
) -> None:
    graph = stand(generation)
    graph.servo.refused.add(service)
    fault = graph.arm()
    assert fault is not None
    assert fault.code == "servo_refused"
    assert f"/servo_node/{service} was refused by Servo" in fault.cause


def test_a_late_servo_is_waited_for_and_one_that_is_too_late_is_not(
    stand: Callable[[str], Stand],
) -> None:
    graph = stand("jazzy")
    graph.servo.delay = 0.7  # longer than it takes until the request is repeated
    assert graph.arm() is None
    graph.servo.delay = 30.0
    fault = graph.arm()
    assert fault is not None
    assert "/servo_node/switch_command_type did not answer in time" in fault.cause


HUMBLE_TO_JAZZY = {-1: -1, 0: 0, 1: 1, 2: 2, 3: 4, 4: 5, 5: 6, 6: 3}


@pytest.mark.parametrize("generation", sorted(EXPECTED))
def test_every_status_code_arrives_with_its_meaning(
    stand: Callable[[str], Stand], generation: str
) -> None:
    graph = stand(generation)
    assert graph.arm() is None
    for code in CODES:
        graph.servo.code = code
        expected = HUMBLE_TO_JAZZY[code] if generation == "humble" else code
        graph.statuses.clear()
        graph.until(lambda e=expected: e in [c for c, _ in graph.statuses], f"status {expected}")
        if generation == "humble":
            assert (expected, servo_code(expected).name) in graph.statuses


def test_humbles_servo_is_not_sent_poses(ros_domain_id: int) -> None:
    from twist_policy_node.servo_api import HumbleServo

    with pytest.raises(ValueError, match="set command_mode to twist"):
        HumbleServo(None, CommandMode.POSE)  # type: ignore[arg-type]
