"""The policy node as a process, between a fake camera, robot and Servo in this process.

The fakes share one thread of their own. The fake arm follows pose and twist commands as a real one
would, so that the node's commands can be judged by where the arm goes.
"""

from __future__ import annotations

import array
import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from twist_msgs.msg import Belief, PolicyStep, RobotState
from twist_nodes.repeated_request import RepeatedRequest
from twist_policy.contract import PolicyContract
from twist_policy_node.servo_messages import ServoCommandType, ServoStatus

PATIENT = dict.fromkeys(
    ("frame_age_limit", "frame_interval_limit", "pose_age_limit", "servo_silence_limit"), 1.0
)
"""Limits for tests of other things: starting a process can hold up a busy machine for a while."""
START_TIMEOUT = 40.0
"""Generous: Python and torch take seconds to start on a busy machine."""
MODULE = "twist_policy_node.policy_node"
LINK8_HEIGHT = 0.25
HOME_LINK8 = (0.4, 0.0, LINK8_HEIGHT)
"""The tool tip, 0.2 m below, is at the contract's home."""


@dataclass(frozen=True)
class Sent:
    """A Servo command that arrived.

    Attributes:
        at: when it was taken, monotonic, seconds.
        published: when it was sent, says the middleware: nanoseconds since 1970.
        kind: `pose` or `twist`.
        vector: position, m, or velocity, m/s.
        message: the whole command.
    """

    at: float
    published: int
    kind: str
    vector: np.ndarray
    message: Any


class FakeCell(Node):
    """Camera, robot and Servo."""

    def __init__(self, contract: PolicyContract, context: rclpy.Context) -> None:
        super().__init__("fake_cell", context=context)
        self.contract = contract
        self.camera = "ok"
        self.robot = "ok"
        self.arm: RobotState | None = None
        """The arm's own state; None for a driver that does not tell it."""
        self.servo_status = 0
        self.servo_talks = True
        self.refuse_pause = False
        self.pause_takes = 0.0
        self.paused = True
        self.command_type: int | None = None
        self.pause_requests: list[bool] = []
        self.commands: list[Sent] = []
        self.steps: list[PolicyStep] = []
        self.beliefs: list[Belief] = []
        self.policy_diagnostics: list[DiagnosticStatus] = []
        self.link8 = np.array(HOME_LINK8)
        self.event = threading.Condition()
        self._rng = np.random.default_rng(0)
        self._twist = np.zeros(3)
        self._twist_until = 0.0
        self._last_image: Image | None = None
        self._images = self.create_publisher(Image, "image_raw", 1)
        self._poses = self.create_publisher(PoseStamped, "ee_pose", 1)
        self._arm_states = self.create_publisher(RobotState, "robot_state", 1)
        self._servo_parts: list[Callable[[], None]] = []
        self.create_timer(1 / 30, self._send_image)
        self.create_timer(0.01, self._send_pose)
        self.create_subscription(PolicyStep, "twist_policy_node/step", self._on_step, 10)
        self.create_subscription(Belief, "twist_policy_node/belief", self._on_belief, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.start_servo()

    def start_servo(self) -> None:
        statuses = self.create_publisher(ServoStatus, "servo_node/status", 1)

        def send_status() -> None:
            if not self.paused and self.servo_talks:
                statuses.publish(ServoStatus(code=self.servo_status, message="fake"))

        timer = self.create_timer(0.01, send_status)
        subscriptions = [
            self.create_subscription(
                PoseStamped, "servo_node/pose_target_cmds", self._on_pose_command, 10
            ),
            self.create_subscription(
                TwistStamped, "servo_node/delta_twist_cmds", self._on_twist_command, 10
            ),
        ]
        services = [
            self.create_service(
                ServoCommandType, "servo_node/switch_command_type", self._on_switch
            ),
            self.create_service(SetBool, "servo_node/pause_servo", self._on_pause),
        ]
        self._servo_parts = [
            lambda: self.destroy_timer(timer),
            lambda: self.destroy_publisher(statuses),
            *(lambda s=s: self.destroy_subscription(s) for s in subscriptions),
            *(lambda s=s: self.destroy_service(s) for s in services),
        ]

    @property
    def serving(self) -> bool:
        """Whether Servo is there."""
        return bool(self._servo_parts)

    def kill_servo(self) -> None:
        """As when its process dies."""
        for end in self._servo_parts:
            end()
        self._servo_parts = []

    def _notify(self) -> None:
        with self.event:
            self.event.notify_all()

    def _stamp(self) -> Any:
        return self.get_clock().now().to_msg()

    def _send_image(self) -> None:
        mode = self.camera
        if mode == "silent":
            return
        camera = self.contract.camera
        width, height, channels, encoding = camera.width, camera.height, 3, "rgb8"
        if mode == "size":
            width = 80
        if mode == "encoding":
            channels, encoding = 1, "mono8"
        pixels = self._rng.integers(60, 200, (height, width, channels), dtype=np.uint8)
        if mode == "black":
            pixels[:] = self._rng.integers(0, 3, pixels.shape)
        data = pixels.tobytes()
        if mode == "truncated":
            data = data[: len(data) // 2]
        message = Image(
            height=height,
            width=width,
            encoding=encoding,
            step=width * channels,
            data=array.array("B", data),
        )
        if mode == "frozen" and self._last_image is not None:
            message = self._last_image
        message.header.stamp = self._stamp()
        if mode == "late":
            message.header.stamp.sec -= 3
        self._last_image = message
        self._images.publish(message)

    def _send_pose(self) -> None:
        if self.arm is not None:
            self.arm.header.stamp = self._stamp()
            self._arm_states.publish(self.arm)
        if time.monotonic() < self._twist_until and not self.paused:
            self.link8 = self.link8 + self._twist * 0.01
        if self.robot == "silent":
            return
        message = PoseStamped()
        message.header.stamp = self._stamp()
        message.header.frame_id = "panda_link0"
        p = message.pose.position
        p.x, p.y, p.z = self.link8.tolist()
        message.pose.orientation.x, message.pose.orientation.w = 1.0, 0.0
        if self.robot == "nan":
            p.x = math.nan
        if self.robot == "jump":
            p.y += 0.2
        self._poses.publish(message)

    def _on_pose_command(self, message: PoseStamped, information: Any) -> None:
        p = message.pose.position
        target = np.array([p.x, p.y, p.z])
        self._note("pose", target, message, information)
        if not self.paused:
            self.link8 = target

    def _on_twist_command(self, message: TwistStamped, information: Any) -> None:
        v = message.twist.linear
        self._twist = np.array([v.x, v.y, v.z])
        self._twist_until = time.monotonic() + 0.1
        self._note("twist", self._twist, message, information)

    def _note(self, kind: str, vector: np.ndarray, message: Any, information: Any) -> None:
        published = information["source_timestamp"]
        self.commands.append(Sent(time.monotonic(), published, kind, vector, message))
        self._notify()

    def _on_switch(self, request: Any, response: Any) -> Any:
        self.command_type = request.command_type
        response.success = True
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        self.pause_requests.append(request.data)
        time.sleep(self.pause_takes)
        response.success = not self.refuse_pause
        response.message = "not today" if self.refuse_pause else ""
        if response.success:
            self.paused = request.data
        self._notify()
        return response

    def _on_step(self, message: PolicyStep) -> None:
        self.steps.append(message)
        self._notify()

    def _on_belief(self, message: Belief) -> None:
        self.beliefs.append(message)
        self._notify()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.policy_diagnostics += [s for s in message.status if s.name.endswith(": policy")]
        self._notify()


class NodeStand:
    """Fakes and node processes of one test."""

    def __init__(
        self, contract: PolicyContract, checkpoints: Callable[[str], Path], domain_id: int
    ) -> None:
        self.contract = contract
        self._checkpoints = checkpoints
        self._processes: list[subprocess.Popen[str]] = []
        self._logs: list[list[str]] = []
        self._context = rclpy.Context()
        rclpy.init(
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.cell = FakeCell(contract, self._context)
        self._clients: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.cell)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(rclpy.executors.ExternalShutdownException):
            self._executor.spin()

    def in_cell(self, action: Callable[[], None]) -> None:
        """Runs something in the fakes' thread."""
        done = self._executor.create_task(action)
        self.wait_for(done.done, "the fake cell to act")

    def start(
        self, behaviour: str = "forward", *, name: str = "twist_policy_node", **parameters: object
    ) -> subprocess.Popen[str]:
        """Starts a node process and waits until its services are there."""
        values = {"checkpoint": self._checkpoints(behaviour)} | PATIENT | parameters
        arguments = [part for key, v in values.items() for part in ("-p", f"{key}:={v}")]
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--ros-args", *arguments, "-r", f"__node:={name}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
        log: list[str] = []
        self._processes.append(process)
        self._logs.append(log)
        threading.Thread(target=_read, args=(process, log, self.cell), daemon=True).start()
        return process

    def configured(self, behaviour: str = "forward", **parameters: Any) -> None:
        """Starts a node and configures it."""
        self.start(behaviour, **parameters)
        name = str(parameters.get("name", "twist_policy_node"))
        assert self.change_state(Transition.TRANSITION_CONFIGURE, name=name), self.log()

    def running(self, behaviour: str = "forward", **parameters: Any) -> None:
        """Starts a node, and brings it to its third step."""
        self.configured(behaviour, **parameters)
        assert self.activate(), self.log()
        self.wait_for(lambda: len(self.cell.steps) >= 3, "three policy steps")

    def activate(self, name: str = "twist_policy_node") -> bool:
        return self.change_state(Transition.TRANSITION_ACTIVATE, name=name)

    def deactivate(self, name: str = "twist_policy_node") -> bool:
        return self.change_state(Transition.TRANSITION_DEACTIVATE, name=name)

    def change_state(self, transition: int, name: str = "twist_policy_node") -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._call(ChangeState, f"{name}/change_state", request).success)

    def state(self, name: str = "twist_policy_node") -> str:
        response = self._call(GetState, f"{name}/get_state", GetState.Request())
        return str(response.current_state.label)

    def set_parameter(self, name: str, value: object) -> str:
        """Sets a parameter of the node; returns the reason of a refusal."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        result = self._call(SetParameters, "twist_policy_node/set_parameters", request).results[0]
        assert result.successful == (result.reason == "")
        return str(result.reason)

    def wait_for_log(self, text: str) -> None:
        """Waits for a text in the log of a node that may have ended."""
        end = time.monotonic() + START_TIMEOUT
        with self.cell.event:
            while text not in self.log():
                assert time.monotonic() < end, f"{text!r} is not in the log\n{self.log()}"
                self.cell.event.wait(0.02)

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.cell.create_client(kind, name)
            self.wait_for(client.service_is_ready, f"service {name}")
            # A server can be found before it has found its client; its answer is lost then.
            asked = RepeatedRequest(client, _harmless(kind), time.monotonic(), 1.0)
            self.wait_for(
                lambda: asked.answer(time.monotonic()) is not None, f"{name} to answer anything"
            )
        future = client.call_async(request)
        self.wait_for(future.done, f"{name} to answer")
        return future.result()

    def wait_for(
        self, condition: Callable[[], bool], what: str, timeout: float = START_TIMEOUT
    ) -> None:
        """Waits for something that the fakes see; fails with the node's log."""
        end = time.monotonic() + timeout
        with self.cell.event:
            while not condition():
                ended = [process.poll() is not None for process in self._processes]
                assert not (ended and all(ended)), (
                    f"no node is alive while waiting for {what}\n{self.log()}"
                )
                assert time.monotonic() < end, f"waited in vain for {what}\n{self.log()}"
                self.cell.event.wait(0.02)

    def wait_for_stop(self, code: str) -> DiagnosticStatus:
        """Waits for the latched stop with that code; returns its diagnostic status."""

        def found() -> DiagnosticStatus | None:
            for status in reversed(self.cell.policy_diagnostics):
                if {v.key: v.value for v in status.values}.get("code") == code:
                    return status
            return None

        self.wait_for(lambda: found() is not None, f"the stop {code}")
        status = found()
        assert status is not None
        return status

    def log(self) -> str:
        """What the node processes wrote."""
        return "\n".join("".join(log) for log in self._logs)

    def signal(self, process: subprocess.Popen[str], number: int = signal.SIGINT) -> int:
        """Sends a signal and returns the exit code."""
        process.send_signal(number)
        return process.wait(20)

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self._executor.shutdown()
        self._thread.join(5)
        self.cell.destroy_node()  # else it stays on the graph until garbage is collected
        rclpy.try_shutdown(context=self._context)


def _harmless(kind: Any) -> Any:
    """A request that changes nothing."""
    request = kind.Request()
    if kind is ChangeState:
        request.transition.label = "no_such_transition"
    return request


def _read(process: subprocess.Popen[str], log: list[str], cell: FakeCell) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        log.append(line)
        cell._notify()
