import math
from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs")

from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from twist_nodes.node_process import FatalNodeError
from twist_nodes.parameters import ParameterError
from twist_sim.ros.cartesian import quaternion_from_rotation
from twist_sim.ros.panda_arm import PandaArm
from twist_sim.ros.servo_messages import ServoCommandType, ServoStatus
from twist_sim.ros.servo_stand_in import ServoStandIn
from twist_sim.task_card import load_task_card

HOME = load_task_card("block_push").home.joints
POSE, TWIST = 2, 1


class Stand:
    """A running stand-in, a robot that stands still at home, and a client."""

    def __init__(self, graph, **parameters):
        self.graph = graph
        self.arm = PandaArm(load_task_card("block_push"))
        self.names = list(self.arm.joint_names)
        peer = graph.peer
        self.robot = peer.create_publisher(JointState, "joint_states", 10)
        self.poses = peer.create_publisher(PoseStamped, "/servo_node/pose_target_cmds", 10)
        self.twists = peer.create_publisher(TwistStamped, "/servo_node/delta_twist_cmds", 10)
        self.statuses = graph.listen(ServoStatus, "/servo_node/status")
        self.trajectories = graph.listen(
            JointTrajectory, "joint_trajectory_controller/joint_trajectory"
        )
        peer.create_timer(0.02, self.publish_joints)
        self.node = graph.start(ServoStandIn, **parameters)
        graph.spin_until(
            lambda: self.poses.get_subscription_count() and self.robot.get_subscription_count()
        )

    def publish_joints(self):
        message = JointState(name=self.names, position=array("d", HOME))
        message.header.stamp = self.graph.now().to_msg()
        self.robot.publish(message)

    def choose(self, kind):
        request = ServoCommandType.Request(command_type=kind)
        return self.graph.call(ServoCommandType, "/servo_node/switch_command_type", request).success

    def pause(self, paused):
        return self.graph.call(
            SetBool, "/servo_node/pause_servo", SetBool.Request(data=paused)
        ).success

    def pose(self, *, dx=0.0, frame="panda_link0", stamp=None):
        position, rotation = self.arm.tip_pose(self.arm.posture)
        message = PoseStamped()
        message.header.frame_id = frame
        message.header.stamp = self.graph.now().to_msg() if stamp is None else stamp
        p, q = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = float(position[0] + dx), float(position[1]), float(position[2])
        q.x, q.y, q.z, q.w = quaternion_from_rotation(rotation)
        return message

    def keep_sending(self, make, publisher=None):
        """Sends make() at 50 Hz from now on."""
        publisher = publisher or self.poses
        return self.graph.peer.create_timer(0.02, lambda: publisher.publish(make()))

    def spin_for(self, seconds):
        end = self.graph.now().nanoseconds + seconds * 1e9
        self.graph.spin_until(lambda: self.graph.now().nanoseconds > end)

    def spin_statuses(self, count):
        goal = len(self.statuses) + count
        self.graph.spin_until(lambda: len(self.statuses) >= goal)


@pytest.fixture
def stand(graph):
    return Stand(graph)


def test_a_pose_command_becomes_joint_trajectories_towards_it(stand):
    assert stand.choose(POSE)
    stand.keep_sending(lambda: stand.pose(dx=0.02))
    stand.graph.spin_until(lambda: len(stand.trajectories) > 30)
    last = stand.trajectories[-1]
    assert list(last.joint_names) == stand.names
    assert last.header.stamp.sec > 0
    reached, _ = stand.arm.tip_pose(np.array(last.points[-1].positions))
    start, _ = stand.arm.tip_pose(stand.arm.posture)
    assert reached[0] - start[0] == pytest.approx(0.02, abs=0.003)


def test_a_twist_command_moves_until_it_ends_and_then_the_output_stops(stand):
    assert stand.choose(TWIST)

    def twist():
        message = TwistStamped()
        message.header.frame_id = "panda_link0"
        message.header.stamp = stand.graph.now().to_msg()
        message.twist.linear.y = 0.1
        return message

    timer = stand.keep_sending(twist, stand.twists)
    stand.graph.spin_until(lambda: len(stand.trajectories) > 10)
    stand.graph.peer.destroy_timer(timer)
    stand.spin_statuses(40)  # 0.4 s: time-out and braking are over
    count = len(stand.trajectories)
    stand.spin_statuses(20)
    assert len(stand.trajectories) == count
    assert max(abs(v) for v in stand.trajectories[-1].points[-1].velocities) < 0.01


def test_status_is_published_while_idle_and_not_while_paused(stand):
    stand.spin_statuses(5)
    assert stand.statuses[-1].code == ServoStatus.NO_WARNING
    assert stand.pause(True)
    stand.spin_for(0.3)  # what was under way arrives
    count = len(stand.statuses)
    stand.spin_for(0.3)
    assert len(stand.statuses) == count
    assert stand.pause(False)
    stand.spin_statuses(5)


def test_without_a_chosen_command_type_nothing_moves(stand):
    stand.keep_sending(lambda: stand.pose(dx=0.02))
    stand.spin_statuses(30)
    assert not stand.trajectories


@pytest.mark.parametrize("kind", [0, 3])
def test_command_types_that_are_not_offered_are_refused(stand, kind):
    assert not stand.choose(kind)


def test_an_old_stamp_never_moves_the_arm(stand):
    assert stand.choose(POSE)
    stand.keep_sending(lambda: stand.pose(dx=0.02, stamp=PoseStamped().header.stamp))
    stand.spin_statuses(30)
    assert not stand.trajectories


@pytest.mark.parametrize(
    "broken", ["frame", "position", "orientation"], ids=lambda value: f"bad_{value}"
)
def test_a_broken_command_is_reported_as_invalid_and_never_moves_the_arm(stand, broken):
    assert stand.choose(POSE)

    def make():
        message = stand.pose(dx=0.02, frame="world" if broken == "frame" else "panda_link0")
        if broken == "position":
            message.pose.position.y = math.nan
        if broken == "orientation":
            message.pose.orientation.w = 5.0
        return message

    stand.keep_sending(make)
    stand.graph.spin_until(
        lambda: stand.statuses and stand.statuses[-1].code == ServoStatus.INVALID
    )
    stand.spin_statuses(10)
    assert not stand.trajectories


def test_joint_states_of_another_robot_do_not_count_and_the_node_gives_up(graph):
    stand = Stand(graph, joint_state_timeout=0.5)
    stand.names = [f"ur5_joint{i}" for i in range(7)]
    with pytest.raises(FatalNodeError, match=r"no valid joint state for 0\.5 s on /joint_states"):
        stand.spin_statuses(500)


def test_parameters_outside_their_bounds_are_refused_by_name(graph):
    with pytest.raises(ParameterError, match=r"moveit_servo\.publish_period"):
        graph.start(ServoStandIn, **{"moveit_servo.publish_period": 0.0})
