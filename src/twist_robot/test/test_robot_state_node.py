"""The adapter on a graph. The driver's messages are played by a type that is installed here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs")

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from twist_msgs.msg import RobotState
from twist_msgs.srv import RecoverRobot
from twist_nodes.parameters import ParameterError
from twist_robot.arm_state import DRIVERS, ArmState, Driver, StateError
from twist_robot.motion.motions import Motion, MotionState
from twist_robot.recovery_calls import MissingInterface, RecoveryCalls
from twist_robot.rigid import from_quaternion
from twist_robot.robot_mode import mode_of
from twist_robot.robot_state_node import RobotStateNode
from twist_robot.trajectory_setting import SETTING

FLANGE = from_quaternion((0.45, -0.1, 0.35), (0.0, 1.0, 0.0, 0.0))


def convert(message: RobotState) -> ArmState:
    """Of the stand-in for a driver's message; a mode of 99 stands for numbers that mean nothing."""
    if message.mode == 99:
        raise StateError("o_t_ee: no rigid transform")
    stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
    force, nothing = np.array([3.0, 0.0, 4.0]), (False,) * 6
    mode, errors = mode_of(message.mode), tuple(message.errors)
    return ArmState(
        stamp, mode, errors, (), FLANGE, FLANGE, force, np.zeros(3), nothing, nothing, 1.0
    )


class Graph:
    """The adapter and its driver in one process, spun by the test."""

    def __init__(self, context: rclpy.Context, **parameters: Any) -> None:
        self.executor = SingleThreadedExecutor(context=context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.adapter = RobotStateNode(context=context, parameter_overrides=overrides)
        self.peer = Node("peer", context=context)
        for node in (self.adapter, self.peer):
            self.executor.add_node(node)
        self.mode, self.errors = 2, list[str]()
        self.speaks = self.joints_speak = True
        self.states: list[RobotState] = []
        self.poses: list[PoseStamped] = []
        self.sent = self.peer.create_publisher(RobotState, "driver_state", 10)
        self.joint_states = self.peer.create_publisher(JointState, "joint_states", 10)
        self.peer.create_subscription(RobotState, "robot_state", self.states.append, 10)
        self.peer.create_subscription(PoseStamped, "ee_pose", self.poses.append, 10)
        self.peer.create_timer(0.002, self._send)
        self.recover = self.peer.create_client(RecoverRobot, "robot_state/recover")

    def _send(self) -> None:
        if self.joints_speak:
            self.joint_states.publish(JointState())
        if not self.speaks:
            return
        message = RobotState(mode=self.mode, errors=self.errors)
        message.header.stamp = self.peer.get_clock().now().to_msg()
        self.sent.publish(message)

    def close(self) -> None:
        self.executor.shutdown()
        self.adapter.destroy_node()
        self.peer.destroy_node()

    def until(self, done: Callable[[], Any], what: str, timeout: float = 15.0) -> None:
        end = time.monotonic() + timeout
        while not done():
            assert time.monotonic() < end, f"waited in vain for {what}"
            self.executor.spin_once(timeout_sec=0.02)

    def recovered(self) -> RecoverRobot.Response:
        self.until(self.recover.service_is_ready, "the service")
        future = self.recover.call_async(RecoverRobot.Request())
        self.until(future.done, "the answer")
        return future.result()


@pytest.fixture
def start(ros_domain_id: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Graph]]:
    for name, content in {
        "msg": ("FakeState", RobotState),
        "srv": ("ErrorRecovery", Trigger),
    }.items():
        module = ModuleType(f"franka_msgs.{name}")
        setattr(module, *content)
        monkeypatch.setitem(sys.modules, f"franka_msgs.{name}", module)
    monkeypatch.setitem(sys.modules, "franka_msgs", ModuleType("franka_msgs"))
    fake = Driver("FakeState", convert, "a stand-in")
    monkeypatch.setitem(DRIVERS, "multipanda", fake)  # type: ignore[arg-type]
    context = rclpy.Context()
    rclpy.init(
        context=context, domain_id=ros_domain_id, signal_handler_options=SignalHandlerOptions.NO
    )
    defaults = {"recovery_steps": "error_recovery", "error_recovery": "/heal", "step_timeout": 4.0}
    graphs: list[Graph] = []

    def begin(**parameters: Any) -> Graph:
        graphs.append(Graph(context, **{**defaults, **parameters}))
        return graphs[-1]

    yield begin
    for graph in graphs:
        graph.close()
    context.try_shutdown()


def test_a_drivers_state_comes_out_normalised_with_its_own_stamp_and_the_flange(
    start: Callable[..., Graph],
) -> None:
    graph = start(robot="panda", base_frame="panda_link0", rate=50.0)
    graph.until(lambda: len(graph.states) >= 5 and graph.poses, "states and poses")
    state, pose = graph.states[-1], graph.poses[-1]
    assert (state.robot, state.header.frame_id, state.mode) == ("panda", "panda_link0", 2)
    assert state.contact_force == 5.0
    assert state.header.stamp.sec > 0
    assert pose.header.frame_id == "panda_link0"
    p, q = pose.pose.position, pose.pose.orientation
    assert (p.x, p.y, p.z, q.x) == pytest.approx((0.45, -0.1, 0.35, 1.0))
    graph.mode = 99  # nothing is passed on that means nothing
    time.sleep(0.05)
    graph.until(lambda: graph.adapter._newest is None, "the last good state to be used up")
    seen = len(graph.states)
    end = time.monotonic() + 0.3
    graph.until(lambda: time.monotonic() > end, "time")
    assert len(graph.states) <= seen + 1


def test_recovery_is_an_act_that_is_counted_refused_where_senseless_and_told_step_by_step(
    start: Callable[..., Graph],
) -> None:
    graph = start()
    graph.until(lambda: graph.states, "a state")
    answer = graph.recovered()
    assert not answer.success
    assert "nothing to recover" in answer.message
    assert answer.recoveries == 0

    graph.mode, graph.errors = 4, ["joint_reflex"]
    graph.until(lambda: graph.states[-1].mode == 4, "the error")
    answer = graph.recovered()  # the driver serves no recovery yet
    assert (answer.success, answer.recoveries) == (False, 1)
    assert "there is no service /heal" in answer.message
    assert answer.steps[0] == "check that nobody commands the arm: done"

    def heal(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        graph.mode, graph.errors = 2, []
        response.success = True
        return response

    graph.peer.create_service(Trigger, "/heal", heal)
    answer = graph.recovered()
    assert (answer.success, answer.recoveries) == (True, 2), answer.message
    assert [step.partition(":")[0] for step in answer.steps] == [
        "check that nobody commands the arm",
        "error recovery",
        "check the arm's state",
    ]


class Broadcasters:
    """Speak again when they are activated."""

    message = ""

    def __init__(self, graph: Graph) -> None:
        graph.speaks = graph.joints_speak = True
        graph.mode, graph.errors = 2, []

    def poll(self, now: float) -> MotionState:
        return MotionState.DONE

    def cancel(self) -> None: ...


def test_an_arm_whose_error_silenced_its_driver_is_recovered_and_heard_again(
    start: Callable[..., Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph: Graph

    def activate(calls: RecoveryCalls) -> Callable[[float], Motion]:
        return lambda now: Broadcasters(graph)

    monkeypatch.setattr(RecoveryCalls, "_make_activate_broadcasters", activate)
    graph = start(recovery_steps="activate_broadcasters")
    graph.until(lambda: graph.states, "a state")
    graph.speaks = graph.joints_speak = False
    seen = time.monotonic()
    graph.until(lambda: time.monotonic() - seen > 1.2, "the state to be too old to count")
    answer = graph.recovered()
    assert answer.success, answer.message
    assert [step.partition(":")[0] for step in answer.steps] == [
        "check that nobody commands the arm",
        "activate broadcasters",
        "check the arm's state",
    ]


def test_silence_that_recovery_does_not_end_is_a_refusal(start: Callable[..., Graph]) -> None:
    graph = start()
    graph.speaks = False
    answer = graph.recovered()
    assert not answer.success
    assert "heard never; start the driver first" in answer.message


def test_joint_states_that_stop_are_an_error_of_the_arm_until_they_come_again(
    start: Callable[..., Graph],
) -> None:
    graph = start()
    graph.until(lambda: graph.states, "a state")
    end = time.monotonic() + 2.5  # seconds; a new node gives the driver 2 to be heard
    graph.until(lambda: time.monotonic() > end, "time")
    assert not any(state.errors for state in graph.states)
    graph.joints_speak, stopped = False, time.monotonic()
    graph.until(lambda: graph.states[-1].errors, "the error")
    assert graph.states[-1].errors == ["joint_states_silent"]
    assert graph.states[-1].mode == 2
    assert time.monotonic() - stopped < 1.0  # the limit is 0.2 s, on a machine that may be busy
    graph.joints_speak = True
    graph.until(lambda: not graph.states[-1].errors, "the end of it")


def test_the_trajectory_controller_is_told_to_accept_what_servo_sends(
    start: Callable[..., Graph],
) -> None:
    graph = start(servo_controller="arm_controller")
    controller = Node("arm_controller", context=graph.peer.context)
    controller.declare_parameter(SETTING, False)
    graph.executor.add_node(controller)
    graph.until(lambda: controller.get_parameter(SETTING).value, "the setting", 30.0)


def test_every_timer_follows_the_steady_clock(start: Callable[..., Graph]) -> None:
    graph = start(servo_controller="arm_controller")
    timers = list(graph.adapter.timers)
    assert len(timers) == 4  # the state's, recovery's, the surroundings' and the setting's
    assert {timer.clock.clock_type for timer in timers} == {ClockType.STEADY_TIME}


def test_an_arm_that_obeys_nobody_after_the_steps_has_not_recovered(
    start: Callable[..., Graph],
) -> None:
    graph = start(step_timeout=1.0)
    graph.mode, graph.errors = 4, ["joint_reflex"]
    graph.until(lambda: graph.states and graph.states[-1].mode == 4, "the error")

    def heal(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        graph.mode, graph.errors = 5, []  # somebody pressed the user stop meanwhile
        response.success = True
        return response

    graph.peer.create_service(Trigger, "/heal", heal)
    # The adapter looks around for two seconds before it says that nobody commands the arm.
    end = time.monotonic() + 2.5
    graph.until(lambda: time.monotonic() > end, "time")
    answer = graph.recovered()
    assert not answer.success
    assert "mode user stopped, no errors" in answer.message
    assert "release the emergency stop" in answer.message


def test_a_missing_driver_or_a_wrong_parameter_ends_the_node_and_says_why(
    start: Callable[..., Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ParameterError, match=r"recovery_steps names \['reboot'\]; there are"):
        start(recovery_steps="reboot")
    monkeypatch.setitem(sys.modules, "franka_msgs.msg", None)
    with pytest.raises(MissingInterface, match="source the workspace of a stand-in first"):
        start()
