"""Camera and robot over ROS, the person at a terminal: what the guided collection works with."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from twist_camera.charuco_board import Image
from twist_camera.collecting import LabError, Quit
from twist_camera.rigid_transform import RigidTransform
from twist_camera.ros.frames import FrameCollector
from twist_nodes.endpoints import subscribe_newest
from twist_nodes.spinning import spinning_node
from twist_policy.camera_match import CameraIntrinsics, CameraMatchError

_STILL_TIME = 0.5
_STILL_POSITION, _STILL_ANGLE = 0.0003, np.radians(0.05)
_TIMEOUT = 5.0


class TerminalLab:
    """Implements `twist_camera.collecting.Lab`. Another thread spins the node.

    Args:
        node: owns the subscriptions.
        image_topic: sensor_msgs/Image.
        info_topic: sensor_msgs/CameraInfo.
        pose_topic: geometry_msgs/PoseStamped of the end effector in the base frame.
    """

    def __init__(self, node: Node, image_topic: str, info_topic: str, pose_topic: str) -> None:
        self._node = node
        self._frames = FrameCollector(node, image_topic)
        self._info: CameraInfo | None = None
        self._poses: deque[tuple[float, PoseStamped]] = deque(maxlen=4000)
        self._pose_topic = node.resolve_topic_name(pose_topic)
        self._info_topic = node.resolve_topic_name(info_topic)
        subscribe_newest(node, CameraInfo, info_topic, self._on_info)
        subscribe_newest(node, PoseStamped, pose_topic, self._on_pose)

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_pose(self, message: PoseStamped) -> None:
        self._poses.append((time.monotonic(), message))

    def describe(self) -> tuple[CameraIntrinsics, str]:
        """The driver's calibration of the camera, and the frame that poses are given in.

        Raises:
            LabError: camera or robot say nothing.
        """
        end = time.monotonic() + _TIMEOUT
        while self._info is None or not self._poses:
            if time.monotonic() > end:
                silent = self._info_topic if self._info is None else self._pose_topic
                raise LabError(
                    f"nothing on {silent} within {_TIMEOUT:g} s; start camera and robot driver, or "
                    "give the topic's name (--info-topic, --pose-topic)"
                )
            time.sleep(0.05)
        info = self._info
        try:
            intrinsics = CameraIntrinsics(
                int(info.width),
                int(info.height),
                float(info.k[0]),
                float(info.k[4]),
                float(info.k[2]),
                float(info.k[5]),
                str(info.distortion_model),
                tuple(float(value) for value in info.d),
            )
        except CameraMatchError as error:
            raise LabError(f"{self._info_topic}: {error}") from error
        return intrinsics, str(self._poses[-1][1].header.frame_id)

    def picture(self) -> Image:
        """A picture that was taken after the call."""
        return self._frames.take(1, _TIMEOUT)[0]

    def pose(self) -> RigidTransform:
        """Pose of the end effector after it stood still for half a second."""
        end = time.monotonic() + _TIMEOUT
        began = time.monotonic()
        reason = "no pose"
        while time.monotonic() < end:
            time.sleep(0.05)
            now = time.monotonic()
            recent = [
                _transform(message) for at, message in list(self._poses) if at > now - _STILL_TIME
            ]
            if len(recent) < 5:
                reason = (
                    f"{len(recent)} poses on {self._pose_topic} within {_STILL_TIME:g} s; is the "
                    "robot's driver running?"
                )
                continue
            moved = [pose.distance_to(recent[-1]) for pose in recent]
            distance, angle = max(d for d, _ in moved), max(a for _, a in moved)
            if distance > _STILL_POSITION or angle > _STILL_ANGLE:
                reason = f"the arm moves ({distance * 1000:.1f} mm in {_STILL_TIME:g} s)"
                continue
            if now - began >= _STILL_TIME:
                return recent[-1]
        raise LabError(reason)

    def ask(self, question: str) -> str:
        """What the person types; q or the end of input ends."""
        try:
            answer = input(question)
        except EOFError:
            raise Quit from None
        if answer.strip().lower() in ("q", "quit"):
            raise Quit
        return answer

    def say(self, text: str) -> None:
        """Prints."""
        print(text, flush=True)


def _transform(message: PoseStamped) -> RigidTransform:
    p, q = message.pose.position, message.pose.orientation
    try:
        return RigidTransform.from_quaternion([p.x, p.y, p.z], [q.w, q.x, q.y, q.z])
    except ValueError as error:
        raise LabError(str(error)) from error


@contextlib.contextmanager
def open_lab(image_topic: str, info_topic: str, pose_topic: str) -> Iterator[TerminalLab]:
    """A lab over ROS, for as long as the context lasts."""
    with spinning_node("twist_calibrate") as node:
        yield TerminalLab(node, image_topic, info_topic, pose_topic)
