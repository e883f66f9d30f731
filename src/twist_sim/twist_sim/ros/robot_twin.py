"""The robot twin: a Panda, a table and a camera in MuJoCo, as ROS nodes see a real cell.

Simulated in real time. Takes joint trajectories, gives joint states, the pose of the IK tip
(``panda_link8``), camera images and, for judges only, the ground truth. Where the task's tool is
the Panda's hand, the twin serves its gripper as Franka's driver does.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from twist_msgs.msg import GroundTruth, RobotState
from twist_msgs.srv import ResetTrial
from twist_nodes.endpoints import advertise, subscribe_newest
from twist_nodes.node_process import FatalNodeError, run_node
from twist_nodes.parameters import ParameterRow, declare_parameters
from twist_nodes.timers import steady_timer
from twist_sim.appearance import (
    Appearance,
    AppearanceSampler,
    nominal_appearance,
)
from twist_sim.hand import FINGER_JOINTS
from twist_sim.layout import Layout
from twist_sim.panda import ARM_JOINTS
from twist_sim.rendering import SceneRenderer
from twist_sim.ros.camera_messages import ImageComposer, camera_info, stamp_message
from twist_sim.ros.camera_worker import CameraError, CameraWorker, Frame, FrameRequest, TakePicture
from twist_sim.ros.gripper_server import GripperServer
from twist_sim.ros.joint_command import JointCommandRules, TrajectoryRejected
from twist_sim.ros.panda_arm import PandaArm
from twist_sim.ros.real_time_loop import NANOSECONDS, RealTimePacer
from twist_sim.ros.shared_memory import enlarge_shared_memory
from twist_sim.ros.twin_world import TwinWorld
from twist_sim.task_card import TaskCard, load_task_card

NODE_NAME = "robot_twin"
_CONTROL_RATE = 100.0
_MAX_CATCH_UP = 0.1
_CAMERA_TIMEOUT = 60.0
_FIRST_FRAME_TIMEOUT = 5.0
_WARN_PERIOD = 2.0

PARAMETERS = (
    ParameterRow("task", "block_push", "Task card: a shipped one's name, or a YAML file's path."),
    ParameterRow(
        "appearance",
        "held_out",
        "Looks to draw for each trial: held_out (never trained on), train, or nominal (one fixed "
        "look and an ideal camera).",
        choices=("held_out", "train", "nominal"),
    ),
    ParameterRow("seed", 0, "Evaluation seed of the trial shown at the start.", (0, 2**62)),
    ParameterRow("trial", 0, "Number of the trial shown at the start.", (0, 2**31)),
    ParameterRow("camera_rate", 30.0, "Camera frames per second.", (1.0, 60.0)),
    ParameterRow(
        "command_timeout",
        0.5,
        "Seconds without a joint trajectory after which the arm holds where it is.",
        (0.02, 10.0),
    ),
)


class RobotTwin(Node):
    """Robot and camera node over `TwinWorld`."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__(NODE_NAME, **node_options)
        values = declare_parameters(self, PARAMETERS)
        self._card = load_task_card(values["task"])
        self._world = TwinWorld(self._card)
        self._arm = PandaArm(self._card)
        self._rules = JointCommandRules(ARM_JOINTS, self._arm.limits.lower, self._arm.limits.upper)
        self._looks = _Looks(self._card, values["appearance"])
        self._command_timeout = round(values["command_timeout"] * NANOSECONDS)
        self._joint_names = list(self._arm.joint_names)
        if self._card.tool.hand is not None:
            self._joint_names += FINGER_JOINTS
        self._last_command = 0
        self._last_reset = 0
        self._create_publishers()
        self._gripper: GripperServer | None = None
        self._camera = CameraWorker(self._open_camera, self._deliver_frame)
        try:
            self._camera.wait_until_open(_CAMERA_TIMEOUT)
            self._show_trial(values["seed"], values["trial"])
        except CameraError:
            self._camera.close()
            raise
        subscribe_newest(
            self,
            JointTrajectory,
            "joint_trajectory_controller/joint_trajectory",
            self._on_trajectory,
        )
        self.create_service(ResetTrial, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/home", self._on_home)
        if self._card.tool.hand is not None:
            self._gripper = GripperServer(self, self._world, FINGER_JOINTS)
        self._pacer = RealTimePacer(self._world.timestep, _MAX_CATCH_UP, self._now())
        steady_timer(self, 1.0 / _CONTROL_RATE, self._on_control_timer)
        steady_timer(self, 1.0 / values["camera_rate"], self._on_camera_timer)
        self.get_logger().info(
            f"ready: task {self._card.task}, {values['appearance']} appearance, camera "
            f"{self._card.camera.width}x{self._card.camera.height} at {values['camera_rate']:g} Hz"
        )

    def close(self) -> None:
        """Ends the camera's thread and the gripper's servers."""
        self._camera.close()
        if self._gripper is not None:
            self._gripper.destroy()

    def _create_publishers(self) -> None:
        self._joint_states = advertise(self, JointState, "joint_states", 10)
        self._ee_poses = advertise(self, PoseStamped, "ee_pose", 10)
        self._states = advertise(self, RobotState, "robot_state", 10)
        self._images = advertise(self, Image, "camera/camera/color/image_raw", 2)
        self._infos = advertise(self, CameraInfo, "camera/camera/color/camera_info", 2)
        self._truths = advertise(self, GroundTruth, "~/ground_truth", 10)
        model = self._card.camera.model()
        self._composer = ImageComposer(model.width, model.height)
        self._info = camera_info(model)

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _warn(self, message: str) -> None:
        self.get_logger().warning(message, throttle_duration_sec=_WARN_PERIOD)

    # --- camera thread

    @contextmanager
    def _open_camera(self) -> Iterator[TakePicture]:
        cv2.setNumThreads(1)  # one core is the camera's share
        noise = np.random.default_rng()
        with SceneRenderer(self._card, self._looks.sampler) as renderer:
            self.get_logger().info(f"renderer: {renderer.gl_renderer}")
            yield lambda state, appearance: renderer.render_camera_image(state, appearance, noise)

    def _deliver_frame(self, frame: Frame, stamp: int) -> None:
        message = self._composer.compose(frame, stamp)
        self._info.header.stamp = message.header.stamp
        self._images.publish(message)
        self._infos.publish(self._info)

    # --- node thread

    def _on_trajectory(self, message: JointTrajectory) -> None:
        now = self._now()
        last = message.points[-1] if message.points else None
        try:
            target = self._rules.check(
                message.joint_names,
                None if last is None else last.positions,
                stamp=message.header.stamp.sec + message.header.stamp.nanosec * 1e-9,
                duration=0.0
                if last is None
                else last.time_from_start.sec + last.time_from_start.nanosec * 1e-9,
                now=now * 1e-9,
                not_before=self._last_reset * 1e-9,
            )
        except TrajectoryRejected as error:
            self._warn(str(error))
            return
        self._last_command = now
        self._world.go_to(target)

    def _on_control_timer(self) -> None:
        self._advance()
        stamp = stamp_message(self._pacer.stamp)
        world = self._world
        state = JointState()
        state.header.stamp = stamp
        state.name = self._joint_names
        state.position = array("d", world.joint_positions.tobytes())
        state.velocity = array("d", world.joint_velocities.tobytes())
        if self._gripper is not None:
            state.position.frombytes(world.finger_positions.tobytes())
            state.velocity.extend((0.0, 0.0))  # as Franka's driver has it
            self._gripper.advance(self._pacer.stamp / NANOSECONDS, stamp)
        self._joint_states.publish(state)
        position, quaternion = world.flange_pose
        pose = PoseStamped()
        pose.header.stamp = stamp
        pose.header.frame_id = self._card.base_frame
        p, q = pose.pose.position, pose.pose.orientation
        p.x, p.y, p.z = position.tolist()
        q.w, q.x, q.y, q.z = quaternion.tolist()
        self._ee_poses.publish(pose)
        self._publish_state(pose)

    def _publish_state(self, flange: PoseStamped) -> None:
        """As the lab's robot_state node does; this arm is always in the mode that moves."""
        state = RobotState(header=flange.header, robot="sim", mode=RobotState.MOVE)
        state.o_t_ee = state.o_t_f = flange.pose  # no end effector is set
        contact = self._world.contact_force
        force = state.external_wrench.force
        force.x, force.y, force.z = contact.tolist()
        state.contact_force = float(np.linalg.norm(contact))
        state.command_success_rate = 1.0
        self._states.publish(state)

    def _on_camera_timer(self) -> None:
        try:
            self._camera.check()
        except CameraError as error:
            raise FatalNodeError(str(error)) from error
        self._advance()
        self._publish_truth()
        self._request_frame()

    def _advance(self) -> None:
        """Brings the world up to the clock."""
        now = self._now()
        if self._last_command and now - self._last_command > self._command_timeout:
            self._last_command = 0
            self._world.hold()
        due = self._pacer.advance(now)
        if due.lost:
            self._warn(
                f"the machine is too slow: {due.lost:.2f} s were not simulated "
                f"({self._pacer.lost_total:.2f} s in total); close other programs"
            )
        self._world.advance(due.steps)

    def _request_frame(self) -> FrameRequest:
        request = FrameRequest(self._world.render_state, self._appearance, self._pacer.stamp)
        self._camera.request(request)
        return request

    def _publish_truth(self) -> None:
        truth = self._world.truth()
        message = GroundTruth()
        message.header.stamp = stamp_message(self._pacer.stamp)
        message.header.frame_id = self._card.base_frame
        ee, goal, pose = message.ee_position, message.goal_position, message.object_pose
        ee.x, ee.y, ee.z = truth.tool_position.tolist()
        goal.x, goal.y, goal.z = truth.goal_position.tolist()
        pose.position.x, pose.position.y, pose.position.z = truth.object_position.tolist()
        w, x, y, z = truth.object_quaternion.tolist()
        pose.orientation.w, pose.orientation.x = w, x
        pose.orientation.y, pose.orientation.z = y, z
        message.distance, message.success = truth.distance, truth.success
        message.gripper_width, message.grasped = truth.finger_width, truth.grasped
        self._truths.publish(message)

    def _on_reset(
        self, request: ResetTrial.Request, response: ResetTrial.Response
    ) -> ResetTrial.Response:
        if request.task != self._card.task:
            response.message = (
                f"this twin simulates {self._card.task!r}, not {request.task!r}; ask for "
                f"{self._card.task!r} or start the twin with task:={request.task}"
            )
            self.get_logger().error(response.message)
            return response
        try:
            layout = self._show_trial(request.seed, request.trial)
        except (CameraError, ValueError) as error:
            response.message = str(error)
            self.get_logger().error(response.message)
            return response
        response.success = True
        response.layout.object_position = list(layout.object_position)
        response.layout.object_yaw = layout.object_yaw
        response.layout.goal_position = list(layout.goal_position)
        response.message = f"trial {request.trial} of seed {request.seed} is set up"
        self.get_logger().info(response.message)
        return response

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._world.go_home()
        self._last_command = 0
        response.success, response.message = True, "the arm is home"
        return response

    def _show_trial(self, seed: int, trial: int) -> Layout:
        """Sets up a trial; when this returns, its first frame and truth have been published."""
        if self._gripper is not None:
            self._gripper.abort("the trial was set up anew")
        layout = self._world.reset(seed, trial)
        self._appearance = self._looks.for_trial(seed, trial)
        now = self._now()
        self._last_reset, self._last_command = now, 0
        self._pacer = RealTimePacer(self._world.timestep, _MAX_CATCH_UP, now)
        self._publish_truth()
        frame = self._request_frame()
        if not frame.delivered.wait(_FIRST_FRAME_TIMEOUT):
            self._camera.check()
            raise CameraError(
                f"no camera frame of the new trial within {_FIRST_FRAME_TIMEOUT} s; the machine "
                "is too slow or the renderer hangs"
            )
        return layout


class _Looks:
    """The appearance of each trial, from (split, seed, trial) alone."""

    def __init__(self, card: TaskCard, split: str) -> None:
        self._nominal = split == "nominal"
        self.sampler = AppearanceSampler(card, "train" if split == "train" else "held_out")

    def for_trial(self, seed: int, trial: int) -> Appearance:
        if self._nominal:
            return nominal_appearance()
        self.sampler.seed = seed
        return self.sampler.draw_trial(trial)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the ``robot_twin`` executable."""
    enlarge_shared_memory()
    return run_node(NODE_NAME, RobotTwin, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
