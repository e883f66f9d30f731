"""The node over real middleware, with a fake arm, policy and Servo in this process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from motion_fakes import JOINTS, START, Pending
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger

from twist_msgs.srv import ResetTrial
from twist_robot.motion.arm_motion_node import ArmMotionNode
from twist_sim.layout import draw_layout
from twist_sim.task_card import load_task_card

pytestmark = pytest.mark.slow
TIMEOUT = 30.0


class Cell(Node):
    """Joint states, the policy's state and Servo; and the fake mover's arm."""

    def __init__(self, context: rclpy.Context) -> None:
        super().__init__("fake_cell", context=context)
        self.positions = START.tolist()
        self.policy_state = State.PRIMARY_STATE_INACTIVE
        self.paused: list[bool] = []
        self.arrives = True
        self.motions: list[Pending] = []
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self.create_timer(0.02, self._send)
        self.create_service(GetState, "twist_policy_node/get_state", self._on_get_state)
        self.create_service(SetBool, "servo_node/pause_servo", self._on_pause)

    def _send(self) -> None:
        message = JointState(name=list(JOINTS), position=self.positions, velocity=[0.0] * 7)
        self._states.publish(message)

    def _on_get_state(self, request: Any, response: Any) -> Any:
        response.current_state.id = self.policy_state
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        self.paused.append(request.data)
        response.success = True
        return response

    # Mover
    def missing(self) -> str:
        return ""

    def start(self, request: Any, now: float) -> Pending:
        motion = Pending()
        self.motions.append(motion)
        if self.arrives:
            self.positions = list(request.target.positions)
            motion.finish("")
        else:
            motion.cancel = lambda: motion.finish("cancelled")  # type: ignore[method-assign]
        return motion


class Stand:
    def __init__(self, domain_id: int, **parameters: Any) -> None:
        self.context = rclpy.Context()
        rclpy.init(
            context=self.context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.cell = Cell(self.context)
        self.node = ArmMotionNode(
            lambda node, values, card: (self.cell, None),
            context=self.context,
            parameter_overrides=[
                Parameter(name, value=value) for name, value in parameters.items()
            ],
        )
        self._executors = []
        for node in (self.cell, self.node):
            executor = SingleThreadedExecutor(context=self.context)
            executor.add_node(node)
            threading.Thread(target=self._spin, args=(executor,), daemon=True).start()
            self._executors.append(executor)

    @staticmethod
    def _spin(executor: SingleThreadedExecutor) -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    def ask(self, kind: Any, name: str, request: Any) -> Any:
        client = self.cell.create_client(kind, name)
        self.wait_for(client.service_is_ready)
        return client.call_async(request)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        future = self.ask(kind, name, request)
        self.wait_for(future.done)
        return future.result()

    def wait_for(self, condition: Any) -> None:
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    def close(self) -> None:
        for executor in self._executors:
            executor.shutdown()
        self.node.close()
        self.node.destroy_node()
        self.cell.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def stand(ros_domain_id: int) -> Iterator[Any]:
    stands: list[Stand] = []

    def make(**parameters: Any) -> Stand:
        stands.append(Stand(ros_domain_id, **parameters))
        return stands[-1]

    yield make
    for made in stands:
        made.close()


def test_reset_goes_home_and_tells_where_the_objects_have_to_be_put(stand: Any) -> None:
    lab = stand()
    response = lab.call(
        ResetTrial, "arm_motion/reset", ResetTrial.Request(task="block_push", seed=3, trial=7)
    )
    assert response.success, response.message
    layout = draw_layout(load_task_card("block_push"), 3, 7)
    assert tuple(response.layout.object_position) == pytest.approx(layout.object_position)
    assert tuple(response.layout.goal_position) == pytest.approx(layout.goal_position)
    assert lab.cell.paused == [True]
    assert "put the objects of trial 7 of seed 3 in place" in response.message
    other = lab.call(ResetTrial, "arm_motion/reset", ResetTrial.Request(task="knitting"))
    assert not other.success
    assert "task:=knitting" in other.message
    assert len(lab.cell.motions) == 1


def test_home_is_refused_while_the_policy_is_active_or_somebody_commands_servo(
    stand: Any,
) -> None:
    lab = stand(target="ready")
    lab.cell.policy_state = State.PRIMARY_STATE_ACTIVE
    response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
    assert not response.success
    assert "ros2 lifecycle set /twist_policy_node deactivate" in response.message
    lab.cell.policy_state = State.PRIMARY_STATE_INACTIVE
    lab.cell.create_publisher(PoseStamped, "servo_node/pose_target_cmds", 1)
    time.sleep(0.6)  # the state above is asked for four times a second
    response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
    assert not response.success
    assert "fake_cell commands the arm on /servo_node/pose_target_cmds" in response.message
    assert lab.cell.motions == []


def test_stop_ends_a_motion_and_a_policy_that_is_activated_does_too(stand: Any) -> None:
    lab = stand()
    lab.cell.arrives = False
    future = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 1)
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert answer.message == "the motion is being cancelled"
    lab.wait_for(future.done)
    assert future.result().message == "stopped by ~/stop"
    future = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 2)
    lab.cell.policy_state = State.PRIMARY_STATE_ACTIVE
    lab.wait_for(future.done)
    assert "is active: deactivate it first" in future.result().message
    assert len(lab.cell.motions) == 2


@pytest.mark.parametrize(
    ("parameter", "complaint"),
    [
        ("method:=teleport", "trajectory, moveit, ptp"),
        ("arm:=ur5", "panda, fr3"),
        ("task:=knit_a_jumper", "known tasks"),
    ],
)
def test_a_wrong_parameter_ends_the_start_with_one_clear_message(
    ros_domain_id: int, parameter: str, complaint: str
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "twist_robot.motion.arm_motion_node",
            "--ros-args",
            "-p",
            parameter,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_trajectory_action_moves_the_arm_home(ros_domain_id: int) -> None:
    action = pytest.importorskip(
        "control_msgs.action", reason="needs control_msgs, which comes with a ROS installation"
    ).FollowJointTrajectory
    from rclpy.action import ActionServer

    context = rclpy.Context()
    rclpy.init(
        context=context, domain_id=ros_domain_id, signal_handler_options=SignalHandlerOptions.NO
    )
    cell = Cell(context)

    def execute(goal: Any) -> Any:
        cell.positions = list(goal.request.trajectory.points[-1].positions)
        goal.succeed()
        return action.Result()

    ActionServer(
        cell,
        action,
        "joint_trajectory_controller/follow_joint_trajectory",
        execute_callback=execute,
    )
    lab = Stand.__new__(Stand)
    lab.context, lab.cell = context, cell
    lab.node = ArmMotionNode(context=context)
    lab._executors = []
    for node in (cell, lab.node):
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        threading.Thread(target=Stand._spin, args=(executor,), daemon=True).start()
        lab._executors.append(executor)
    try:
        response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
        assert response.success, response.message
    finally:
        lab.close()
