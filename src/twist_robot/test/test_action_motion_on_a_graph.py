"""The same promises with rclpy's own action server and client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs")

import rclpy
from rclpy.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from twist_msgs.action import Homing
from twist_robot.motion.action_motion import ActionMotion
from twist_robot.motion.motions import MotionState


class Lab:
    """A server that moves until it is cancelled, and a client that the test spins."""

    def __init__(self, context: rclpy.Context) -> None:
        self.moving, self.stopped = threading.Event(), threading.Event()
        self.accept = threading.Event()
        self.accept.set()
        self._server = Node("driver", context=context)
        ActionServer(
            self._server,
            Homing,
            "do",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )
        self._served = MultiThreadedExecutor(4, context=context)
        self._served.add_node(self._server)
        threading.Thread(target=self._served.spin, daemon=True).start()
        self._node = Node("arm", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self.client = ActionClient(self._node, Homing, "do")
        self.until(self.client.server_is_ready)

    def _on_goal(self, request: Any) -> Any:
        self.accept.wait(30.0)
        return GoalResponse.ACCEPT

    def _execute(self, goal: Any) -> Any:
        self.moving.set()
        while not goal.is_cancel_requested:
            time.sleep(0.01)
        goal.canceled()
        self.stopped.set()
        return Homing.Result()

    def start(self) -> ActionMotion:
        return ActionMotion(self.client, Homing.Goal(), lambda result: "", 0.0)

    def until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < end
            self._executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        for part in (self._executor, self._served):
            part.shutdown()
        self._node.destroy_node()
        self._server.destroy_node()


@pytest.fixture
def lab(ros_domain_id: int) -> Iterator[Lab]:
    context = rclpy.Context()
    rclpy.init(
        context=context, domain_id=ros_domain_id, signal_handler_options=SignalHandlerOptions.NO
    )
    made = Lab(context)
    yield made
    made.accept.set()
    made.close()
    context.try_shutdown()


def test_a_goal_that_is_accepted_after_it_was_given_up_is_stopped(lab: Lab) -> None:
    lab.accept.clear()
    motion = lab.start()
    assert motion.poll(5.1) is MotionState.FAILED
    lab.accept.set()
    lab.until(lab.stopped.is_set)  # by the callback alone: nobody polls the motion
    lab.until(lambda: motion.unsettled(5.2) == "")


def test_a_goal_whose_acceptance_was_lost_is_stopped(lab: Lab) -> None:
    motion = lab.start()
    lab.client._goal_sequence_number_to_goal_id.clear()  # its answer belongs to nobody now
    lab.until(lab.moving.is_set)
    assert motion.poll(4.9) is MotionState.RUNNING
    assert motion.poll(5.1) is MotionState.FAILED
    assert "may still move" in motion.unsettled(5.1)
    lab.until(lab.stopped.is_set)
    clock = SimpleNamespace(now=5.2)

    def settled() -> bool:
        clock.now += 0.1  # the server is asked once a second of this
        return motion.unsettled(clock.now) == ""

    lab.until(settled)


def test_a_running_goal_is_cancelled(lab: Lab) -> None:
    motion = lab.start()
    lab.until(lab.moving.is_set)
    motion.cancel()
    lab.until(lambda: motion.poll(1.0) is MotionState.FAILED)
    # By its server, unless that said that the goal has ended before it sent the result.
    assert "cancelled" in motion.message
    assert motion.unsettled(1.0) == ""
