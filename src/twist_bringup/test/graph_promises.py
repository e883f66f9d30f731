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

from twist_msgs.msg import GroundTruth, PolicyStep
from twist_policy.contract import PolicyContract

PATIENCE = 60.0
"""Seconds an awaited event may take: loading torch on a busy machine; not a measure of anything."""
STOP_LIMIT = 2.0
"""Seconds between the last good frame and the last command: the patient limits of these tests, 1 s,
and as much again. The limits of everyday are below 0.2 s, and tested where the clock is a fake."""


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
        self.commands: list[Seen] = []
        self.steps: list[Seen] = []
        self.frames: list[Seen] = []
        self.truths: list[Seen] = []
        self.diagnostics: list[Seen] = []
        for kind, topic, seen in (
            (PoseStamped, "/servo_node/pose_target_cmds", self.commands),
            (PolicyStep, "/twist_policy_node/step", self.steps),
            # As often as the images, and a thousandth of their size.
            (CameraInfo, "/camera/camera/color/camera_info", self.frames),
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
        """Calls a service once it is there."""
        client = self.node.create_client(kind, service)
        try:
            self.wait_for(f"service {service}", client.service_is_ready, timeout)
            future = client.call_async(request)
            self.wait_for(f"answer of {service}", future.done, timeout)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def change_state(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "/twist_policy_node/change_state", request).success)

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
    probe: GraphProbe, contract: PolicyContract, steps: int = 10
) -> None:
    """Each step is a finite delta of at most the bound, within leash and workspace."""
    before = len(probe.steps)
    assert probe.change_state(Transition.TRANSITION_ACTIVATE), "the policy did not activate"
    probe.wait_for(f"{steps} steps", lambda: len(probe.steps) >= before + steps)
    assert probe.commands
    for seen in probe.steps[before:]:
        check_step(seen.message, contract)


def check_step(step: Any, contract: PolicyContract) -> None:
    """Asserts the bounds of one decision; the tolerance is that of float64 arithmetic."""
    assert all(math.isfinite(x) for x in (*step.delta, *step.target))
    assert math.hypot(*step.delta) <= contract.action_bound + 1e-9
    assert math.dist(step.target, step.measured) <= contract.leash + 1e-9
    box = contract.workspace
    for low, value, high in zip(box.lower, step.target, box.upper, strict=True):
        assert low - 1e-9 <= value <= high + 1e-9


def camera_fault_stops_the_arm_for_good(probe: GraphProbe, fault: str) -> None:
    """Commands end soon after the fault; good frames alone do not bring them back."""
    probe.set_camera_fault(fault)
    answered = time.monotonic()
    probe.wait_until_inactive()
    stopped = time.monotonic()
    probe.set_camera_fault("none")
    probe.more_frames(5)  # what was sent before the stop has arrived by now
    last_command = probe.commands[-1].at
    if fault == "drop":
        last_frame = max(seen.at for seen in probe.frames if seen.at < stopped)
        assert last_command - last_frame < STOP_LIMIT
    assert last_command - answered < STOP_LIMIT + 1.0
    commands, steps = len(probe.commands), len(probe.steps)
    probe.more_frames(20)
    assert len(probe.commands) == commands
    assert len(probe.steps) == steps
    assert probe.state() == State.PRIMARY_STATE_INACTIVE
