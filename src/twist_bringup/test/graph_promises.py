"""What the running graph promises, asserted by the launch test and by pytest alike.

`GraphProbe` is an observer from outside: it sees what any node in the ROS domain would see.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from twist_msgs.msg import GroundTruth, PolicyStep
from twist_nodes.repeated_request import RepeatedRequest
from twist_policy.contract import PolicyContract

PATIENCE = 120.0
"""Seconds an awaited event may take: loading torch on a busy machine; not a measure of anything."""
STOP_LIMIT = 0.2
"""Seconds from the stamp of the last good frame to the stamp of the last command that moves."""
STOPS = 3
"""A machine that is held up can only add to that time: of so many stops the soonest counts."""
FROZEN_FRAMES = 5
"""Identical frames that stop the arm: the policy node's default."""
BUSY_CODES = (
    "camera_silent",
    "camera_stale",
    "pose_silent",
    "robot_silent",
    "servo_lost",
    "inference_slow",
)
"""Stops for which a busy machine is reason enough."""
CAMERA_FAULTS = (
    "drop",
    "freeze",
    "repeat",
    "delay",
    "stale",
    "black",
    "wrong_size",
    "wrong_encoding",
    "truncated",
    "zero_stamp",
    "broken_stamp",
    "future_stamp",
    "frame_id",
)
"""Everything that the mock camera can do wrong."""


@dataclass(frozen=True)
class Seen:
    """A message and when it arrived (monotonic clock, seconds)."""

    at: float
    message: Any


class GraphProbe:
    """Listens to a ROS domain and asks its nodes.

    Args:
        domain_id: the graph's; None takes ROS_DOMAIN_ID.
    """

    def __init__(self, domain_id: int | None = None) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self.node = rclpy.create_node("graph_probe", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self.commands: list[Seen] = []
        self.steps: list[Seen] = []
        self.frames: list[Seen] = []
        self.good_frames: list[Seen] = []
        self.truths: list[Seen] = []
        self.diagnostics: list[Seen] = []
        for kind, topic, seen in (
            (PoseStamped, "/servo_node/pose_target_cmds", self.commands),
            (PolicyStep, "/twist_policy_node/step", self.steps),
            # As often as the images, and a thousandth of their size.
            (CameraInfo, "/camera/camera/color/camera_info", self.frames),
            (Header, "/mock_camera/good_frames", self.good_frames),
            (GroundTruth, "/robot_twin/ground_truth", self.truths),
            (DiagnosticArray, "/diagnostics", self.diagnostics),
        ):
            self.node.create_subscription(kind, topic, self._keep(seen), qos_profile_sensor_data)

    @staticmethod
    def _keep(seen: list[Seen]) -> Callable[[Any], None]:
        return lambda message: seen.append(Seen(time.monotonic(), message))

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def __enter__(self) -> GraphProbe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for(self, what: str, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Listens until `condition` holds.

        Raises:
            AssertionError: it did not in time; names `what`.
        """
        end = time.monotonic() + timeout
        while not condition():
            remaining = end - time.monotonic()
            assert remaining > 0, f"waited {timeout:g} s for {what}; {self.situation()}"
            self._executor.spin_once(timeout_sec=min(remaining, 0.2))

    def more_frames(self, count: int) -> None:
        """Listens for `count` more camera frames: the graph's own measure of time passing."""
        goal = len(self.frames) + count
        self.wait_for(f"{count} more camera frames", lambda: len(self.frames) >= goal)

    def stop_code(self) -> str:
        """Code of the stop that the policy tells of now; empty when it tells of none."""
        for seen in reversed(self.diagnostics):
            for status in seen.message.status:
                if status.name.endswith(": policy"):
                    return next((v.value for v in status.values if v.key == "code"), "")
        return ""

    def situation(self) -> str:
        faults = [
            f"{status.name}: {status.message}"
            for seen in self.diagnostics[-4:]
            for status in seen.message.status
            if status.level not in (b"\0", 0)
        ]
        return (
            f"{len(self.frames)} frames, {len(self.steps)} steps, {len(self.commands)} commands, "
            f"faults {faults[-2:]}"
        )

    def call(self, kind: Any, service: str, request: Any, timeout: float = PATIENCE) -> Any:
        """Calls a service once it is there; again when the answer is lost.

        Middleware loses the answer of a server that was found but has not found its client yet.
        """
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        self.wait_for(f"service {service}", client.service_is_ready, timeout)
        asked = RepeatedRequest(client, request, time.monotonic(), 3.0)
        self.wait_for(
            f"answer of {service}", lambda: asked.answer(time.monotonic()) is not None, timeout
        )
        answer = asked.answer(time.monotonic())
        assert answer is not None
        return answer.result()

    def change_state(self, transition: int) -> bool:
        service = "/twist_policy_node/change_state"
        # A change must not be asked for twice. After one answer, no other is lost.
        unknown = ChangeState.Request(transition=Transition(label="no_such_transition"))
        assert not self.call(ChangeState, service, unknown).success
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, service, request).success)

    def state(self) -> int:
        response = self.call(GetState, "/twist_policy_node/get_state", GetState.Request())
        return int(response.current_state.id)

    def wait_until_inactive(self, timeout: float = PATIENCE) -> None:
        end = time.monotonic() + timeout
        while self.state() != State.PRIMARY_STATE_INACTIVE:
            assert time.monotonic() < end, f"the policy is still active; {self.situation()}"

    def set_camera_fault(self, fault: str) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=fault)
        request = SetParameters.Request(parameters=[Parameter(name="fault", value=value)])
        response = self.call(SetParameters, "/mock_camera/set_parameters", request)
        assert response.results[0].successful, response.results[0].reason


def no_command_before_activation(probe: GraphProbe) -> None:
    """Configured and looking at frames, the policy sends nothing to Servo."""
    assert probe.change_state(Transition.TRANSITION_CONFIGURE), "the policy did not configure"
    probe.more_frames(20)
    assert probe.commands == []
    assert probe.steps == []


def activated_policy_sends_bounded_commands(
    probe: GraphProbe, contract: PolicyContract, steps: int = 8
) -> None:
    """Each step is a finite delta of at most the bound, within leash and workspace.

    A machine that is busy with other things may hold up the camera's frames for longer than the
    watchdogs bear; a person would activate again, and so does this.
    """
    end = time.monotonic() + PATIENCE
    made = 0
    while made < steps:
        assert time.monotonic() < end, f"the policy does not keep on running; {probe.situation()}"
        before = len(probe.steps)
        probe.diagnostics.clear()
        assert probe.change_state(Transition.TRANSITION_ACTIVATE), "the policy did not activate"
        probe.wait_for(
            f"{steps} steps or a stop",
            lambda before=before: len(probe.steps) >= before + steps or bool(probe.stop_code()),
        )
        code = probe.stop_code()
        assert not code or code in BUSY_CODES, probe.situation()
        made = len(probe.steps) - before if not code else 0
        if code:
            probe.wait_until_inactive()
    assert probe.commands
    for seen in probe.steps:
        check_step(seen.message, contract)


def check_step(step: Any, contract: PolicyContract) -> None:
    """Asserts the bounds of one decision; the tolerance is that of float64 arithmetic."""
    assert all(math.isfinite(x) for x in (*step.delta, *step.target))
    assert math.hypot(*step.delta) <= contract.action_bound + 1e-9
    assert math.dist(step.target, step.measured) <= contract.leash + 1e-9
    box = contract.workspace
    for low, value, high in zip(box.lower, step.target, box.upper, strict=True):
        assert low - 1e-9 <= value <= high + 1e-9


def last_motion(commands: list[Seen]) -> float:
    """Stamp of the last pose command that does not stand still, seconds.

    What is commanded last is standing still, where the arm was measured when it stopped; where the
    measured pose was in doubt nothing like it is sent, and the last command is a motion.
    """
    positions = [seen.message.pose.position for seen in commands]
    final = (positions[-1].x, positions[-1].y, positions[-1].z)
    moving = [
        seen
        for seen, at in zip(commands, positions, strict=True)
        if math.dist(final, (at.x, at.y, at.z)) > 1e-9
    ]
    return stamp(moving[-1].message.header) if moving else -math.inf


def stamp(header: Header) -> float:
    """The stamp in seconds."""
    return float(header.stamp.sec + header.stamp.nanosec * 1e-9)


def camera_fault_stops_the_arm_for_good(
    probe: GraphProbe, contract: PolicyContract, fault: str
) -> None:
    """Motion ends within 0.2 s of the last good frame; good frames alone do not bring it back."""
    late: list[float] = []
    while not late or late[-1] > 0:
        assert len(late) < STOPS, f"{fault}: moved on for {late} s more than it may"
        activated_policy_sends_bounded_commands(probe, contract)
        late.append(_stop_for_good(probe, fault))


def _stop_for_good(probe: GraphProbe, fault: str) -> float:
    """How much later than it may, seconds, the last motion was commanded."""
    probe.set_camera_fault(fault)
    probe.wait_until_inactive()
    good = stamp(probe.good_frames[-1].message)
    probe.set_camera_fault("none")
    probe.more_frames(5)  # what was sent before the stop has arrived by now
    limit = STOP_LIMIT
    if fault == "freeze":
        # Of a camera that is held up, so many frames may take longer.
        repeated = [stamp(seen.message.header) - good for seen in probe.frames]
        limit = max(limit, sorted(t for t in repeated if t > 0)[FROZEN_FRAMES - 2] + 0.03)
    took = last_motion(probe.commands) - good
    commands, steps = len(probe.commands), len(probe.steps)
    probe.more_frames(20)
    assert len(probe.commands) == commands
    assert len(probe.steps) == steps
    assert probe.state() == State.PRIMARY_STATE_INACTIVE
    return took - limit
