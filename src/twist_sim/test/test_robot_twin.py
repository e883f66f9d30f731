import math
from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs")

from geometry_msgs.msg import PoseStamped
from ros_graph import BEST_EFFORT
from sensor_msgs.msg import CameraInfo, Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from twist_msgs.msg import GroundTruth, RobotState
from twist_msgs.srv import ResetTrial
from twist_nodes.parameters import ParameterError
from twist_sim.layout import draw_layout
from twist_sim.ros.robot_twin import RobotTwin
from twist_sim.task_card import TaskCardError, load_task_card

CARD = load_task_card("block_push")
TRAJECTORIES = "joint_trajectory_controller/joint_trajectory"


def nanoseconds(stamp):
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def pixels(message):
    return np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.width, 3)


class Stand:
    """A running twin and everything it publishes."""

    def __init__(self, graph, **parameters):
        self.graph = graph
        self.images = graph.listen(Image, "/camera/camera/color/image_raw", BEST_EFFORT)
        self.infos = graph.listen(CameraInfo, "/camera/camera/color/camera_info")
        self.joints = graph.listen(JointState, "/joint_states")
        self.poses = graph.listen(PoseStamped, "/ee_pose", BEST_EFFORT)
        self.states = graph.listen(RobotState, "/robot_state", BEST_EFFORT)
        self.truths = graph.listen(GroundTruth, "/robot_twin/ground_truth")
        self.commands = graph.peer.create_publisher(JointTrajectory, TRAJECTORIES, 10)
        graph.start(RobotTwin, **({"appearance": "nominal"} | parameters))
        graph.spin_until(lambda: self.commands.get_subscription_count() and self.joints)

    def reset(self, trial=0, task="block_push"):
        request = ResetTrial.Request(task=task, seed=3, trial=trial)
        return self.graph.call(ResetTrial, "/robot_twin/reset", request)

    def next(self, messages):
        """The first message that is published from now on."""
        since = self.graph.now().nanoseconds
        messages.clear()
        self.graph.spin_until(lambda: messages and nanoseconds(messages[-1].header.stamp) >= since)
        return messages[-1]

    def trajectory(self, change, *, age=0.0):
        message = JointTrajectory(joint_names=[f"panda_joint{i}" for i in range(1, 8)])
        stamp = self.graph.now().nanoseconds - round(age * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        point = JointTrajectoryPoint()
        point.positions = array("d", np.array(self.joints[-1].position) + change)
        message.points = [point]
        return message


@pytest.fixture
def stand(graph):
    return Stand(graph)


def test_a_frame_is_a_lit_rgb_picture_with_the_cards_size_and_calibration(stand):
    image, info = stand.next(stand.images), stand.next(stand.infos)
    assert (image.width, image.height, image.step, image.encoding) == (640, 480, 1920, "rgb8")
    assert image.header.frame_id == "camera_color_optical_frame" == info.header.frame_id
    frame = pixels(image)
    assert 20 < frame.mean() < 235
    assert frame.std() > 10
    red = (frame[..., 0] > 120) & (frame[..., 1] < 80)
    blue = (frame[..., 2] > 120) & (frame[..., 0] < 80)
    assert red.sum() > 500, "the goal disc is not in the picture"
    assert blue.sum() > 200, "the cube is not in the picture"
    camera = CARD.camera.model()
    cx, cy = camera.cx - 0.5, camera.cy - 0.5  # from the middle of the first pixel
    np.testing.assert_allclose(info.k, [camera.fx, 0, cx, 0, camera.fy, cy, 0, 0, 1])


def test_joint_states_and_tip_pose_describe_the_home_posture(stand):
    joints, pose = stand.next(stand.joints), stand.next(stand.poses)
    assert list(joints.name) == [f"panda_joint{i}" for i in range(1, 8)]
    assert pose.header.frame_id == CARD.base_frame
    p = pose.pose.position
    home = np.add(CARD.home.tool_position, (0.0, 0.0, CARD.tool.offset[2]))
    np.testing.assert_allclose([p.x, p.y, p.z], home, atol=2e-3)
    state = stand.next(stand.states)
    assert (state.mode, list(state.errors), state.command_success_rate) == (2, [], 1.0)
    assert state.contact_force == 0.0
    assert state.o_t_f.position.z == pytest.approx(p.z, abs=1e-3)


def test_a_reset_sets_up_the_trial_that_seed_and_number_name(stand):
    response = stand.reset(trial=4)
    assert response.success, response.message
    layout = draw_layout(CARD, 3, 4)
    np.testing.assert_allclose(response.layout.object_position, layout.object_position)
    np.testing.assert_allclose(response.layout.goal_position, layout.goal_position)
    truth = stand.next(stand.truths)
    position = truth.object_pose.position
    np.testing.assert_allclose([position.x, position.y], layout.object_position[:2], atol=1e-3)
    assert truth.distance == pytest.approx(
        math.dist(layout.object_position[:2], layout.goal_position[:2]), abs=1e-3
    )
    assert not truth.success


def test_when_a_reset_answers_the_newest_frame_already_shows_the_new_trial(stand):
    stand.reset(trial=1)
    old = pixels(stand.next(stand.images)).astype(int)
    stand.images.clear()
    stand.reset(trial=2)
    answered = stand.graph.now().nanoseconds
    stand.graph.spin_until(
        lambda: stand.images and nanoseconds(stand.images[-1].header.stamp) > answered
    )
    until_answer = [m for m in stand.images if nanoseconds(m.header.stamp) <= answered]
    new, at_answer = pixels(stand.images[-1]).astype(int), pixels(until_answer[-1])
    assert np.abs(new - old).max() > 50
    assert np.abs(new - at_answer).mean() < 0.5


def test_a_trials_appearance_can_be_repeated_and_differs_from_the_next_ones(graph):
    stand = Stand(graph, appearance="held_out")
    frames = []
    for trial in (1, 2, 1):
        stand.reset(trial=trial)
        frames.append(pixels(stand.next(stand.images)).astype(int))
    # The camera's noise is new in every frame; table and light are not.
    assert np.abs(frames[0] - frames[2]).mean() < 10
    assert np.abs(frames[0] - frames[1]).mean() > 10


def test_a_reset_for_another_task_is_refused_and_changes_nothing(stand):
    stand.reset(trial=1)
    before = stand.next(stand.truths).object_pose
    response = stand.reset(trial=2, task="knit_a_jumper")
    assert not response.success
    assert "knit_a_jumper" in response.message
    assert "block_push" in response.message
    after = stand.next(stand.truths).object_pose
    assert after.position.x == pytest.approx(before.position.x, abs=1e-6)


def test_a_joint_trajectory_moves_the_arm_in_real_time(stand):
    start = stand.joints[-1].position[0]
    target = stand.trajectory(np.array([0.1, 0, 0, 0, 0, 0, 0]))

    def sent_and_reached():
        target.header.stamp = stand.graph.now().to_msg()
        stand.commands.publish(target)
        return stand.joints[-1].position[0] > start + 0.095

    stand.graph.spin_until(sent_and_reached)


@pytest.mark.parametrize("fault", ["nan", "stale", "names", "limits", "empty"])
def test_a_bad_joint_trajectory_does_not_move_the_arm(stand, fault):
    start = np.array(stand.next(stand.joints).position)
    message = stand.trajectory(0.2, age=5.0 if fault == "stale" else 0.0)
    if fault == "nan":
        message.points[0].positions[3] = math.nan
    if fault == "names":
        message.joint_names = [f"fr3_joint{i}" for i in range(1, 8)]
    if fault == "limits":
        message.points[0].positions[3] = 1.0
    if fault == "empty":
        message.points = []
    stand.commands.publish(message)
    count = len(stand.joints)
    stand.graph.spin_until(lambda: len(stand.joints) > count + 30)
    np.testing.assert_allclose(stand.joints[-1].position, start, atol=2e-3)


def test_when_trajectories_stop_the_arm_holds(stand):
    message = stand.trajectory(np.array([2.0, 0, 0, 0, 0, 0, 0]))
    start = stand.joints[-1].position[0]
    stand.commands.publish(message)
    stand.graph.spin_until(lambda: stand.joints[-1].position[0] > start + 0.05)
    stand.graph.spin_until(lambda: abs(stand.joints[-1].velocity[0]) < 1e-3)
    # One command counts for 0.5 s, in which the joint may turn 1.1 rad.
    assert stand.joints[-1].position[0] - start < 1.3


def test_stamps_are_the_clocks_time_and_only_grow(stand):
    stand.joints.clear()
    stand.graph.spin_until(lambda: len(stand.joints) > 50)
    stamps = [nanoseconds(message.header.stamp) for message in stand.joints]
    assert (np.diff(stamps) >= 0).all()
    assert abs(stand.graph.now().nanoseconds - stamps[-1]) < 0.5e9


def test_an_unknown_task_is_refused_with_the_known_ones(graph):
    with pytest.raises(TaskCardError, match="block_push"):
        graph.start(RobotTwin, task="knit_a_jumper")


def test_an_unknown_appearance_is_refused_with_the_known_ones(graph):
    with pytest.raises(ParameterError, match="held_out, train, nominal"):
        graph.start(RobotTwin, appearance="neon")
