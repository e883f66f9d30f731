"""The twin's gripper servers over real middleware, with fingers of this file."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs")

from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Time
from rclpy.action import ActionClient
from rclpy.node import Node
from ros_graph import RosGraph
from sensor_msgs.msg import JointState

from twist_sim.ros.gripper_messages import Grasp, Homing, Move
from twist_sim.ros.gripper_server import GripperServer

TICK = 0.02


class GripperNode(Node):
    """Fingers that go where they are driven, in simulated time, around what lies between them."""

    def __init__(self, **options):
        super().__init__("twin", **options)
        self.finger_width = 0.03
        self.obstacle = 0.0
        self.now = 0.0
        self.command = None
        self.server = GripperServer(self, self, ("finger_1", "finger_2"))
        self.create_timer(TICK / 4, self.tick)  # faster than real time

    def drive_fingers(self, command):
        self.command = command

    def tick(self):
        self.now += TICK
        if self.command is not None:
            stride = self.command.speed * TICK
            change = min(max(self.command.width - self.finger_width, -stride), stride)
            self.finger_width = max(self.finger_width + change, self.obstacle)
        self.server.advance(self.now, Time(sec=int(self.now)))

    def close(self):
        self.server.destroy()


@pytest.fixture
def graph(ros_domain_id):
    graph = RosGraph(ros_domain_id)
    yield graph
    graph.close()


@pytest.fixture
def twin(graph):
    return graph.add(GripperNode(context=graph.context))


class Client:
    """One action; a sent goal's handle and result are awaited by spinning the graph."""

    def __init__(self, graph, kind, name):
        self.graph, self.kind = graph, kind
        self.client = ActionClient(graph.peer, kind, f"franka_gripper/{name}")
        self.feedback = []
        graph.spin_until(self.client.server_is_ready)

    def send(self, **values):
        future = self.client.send_goal_async(
            self.kind.Goal(**values), lambda message: self.feedback.append(message.feedback)
        )
        self.graph.spin_until(future.done)
        assert future.result().accepted
        return future.result()

    def result(self, handle):
        future = handle.get_result_async()
        self.graph.spin_until(future.done)
        response = future.result()
        return response.status, response.result.success, response.result.error

    def run(self, **values):
        return self.result(self.send(**values))


def test_move_grasp_and_homing_end_as_with_frankas_driver(graph, twin):
    states = graph.listen(JointState, "franka_gripper/joint_states")
    move, grasp = Client(graph, Move, "move"), Client(graph, Grasp, "grasp")
    homing = Client(graph, Homing, "homing")
    succeeded, aborted = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_ABORTED
    assert homing.run() == (succeeded, True, "")
    assert twin.finger_width == pytest.approx(0.08)
    assert move.run(width=0.06, speed=0.1) == (succeeded, True, "")
    assert twin.finger_width == pytest.approx(0.06)
    twin.obstacle = 0.04
    assert grasp.run(width=0.04, speed=0.1, force=20.0) == (succeeded, True, "")
    assert grasp.feedback
    assert 0.04 <= grasp.feedback[0].current_width <= 0.06
    twin.obstacle = 0.0
    assert grasp.run(width=0.04, speed=0.1, force=20.0) == (aborted, False, "")
    assert twin.finger_width == pytest.approx(0.0)
    graph.spin_until(lambda: states[-1].position[0] == 0.0)
    assert list(states[-1].name) == ["finger_1", "finger_2"]
    assert sum(states[0].position) == pytest.approx(0.03)


def test_impossible_numbers_are_aborted_with_their_error(graph, twin):
    status, success, error = Client(graph, Move, "move").run(width=0.2, speed=0.1)
    assert (status, success) == (GoalStatus.STATUS_ABORTED, False)
    assert "0..0.08 m, found 0.2" in error
    assert twin.command is None


def test_a_new_command_a_reset_and_a_cancel_end_the_one_under_way(graph, twin):
    move, grasp = Client(graph, Move, "move"), Client(graph, Grasp, "grasp")
    first = move.send(width=0.08, speed=0.001)
    second = grasp.send(width=0.04, speed=0.001, force=20.0)
    assert move.result(first) == (GoalStatus.STATUS_ABORTED, False, "another command came")
    twin.server.abort("the trial was set up anew")
    assert grasp.result(second) == (GoalStatus.STATUS_ABORTED, False, "the trial was set up anew")
    third = move.send(width=0.08, speed=0.001)
    graph.spin_until(lambda: twin.command is not None and twin.command.width == 0.08)
    third.cancel_goal_async()
    assert move.result(third)[0] == GoalStatus.STATUS_CANCELED
    width = twin.finger_width
    assert twin.command.width == pytest.approx(width)
