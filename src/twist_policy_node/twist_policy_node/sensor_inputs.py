"""The node's two inputs, camera and end-effector pose: newest message, its age, its trouble.

Stamps are ROS time and may jump; ages are therefore taken once, at arrival, and kept on the steady
clock from there on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image

from twist_nodes.endpoints import subscribe_newest
from twist_policy.contract import PolicyContract
from twist_policy_node.commands import ToolPose
from twist_policy_node.decision import Frame
from twist_policy_node.image_decoding import ImageError, decode_image
from twist_policy_node.tool_frame import ToolFrame, unit_quaternion

if TYPE_CHECKING:
    from rclpy.node import Node


class StampedInput:
    """What all inputs with a stamp have in common: their newest message's age and trouble."""

    def __init__(self, node: Node, what: str, topic: str, clock: Callable[[], float]) -> None:
        self._node = node
        self._what = what
        self._clock = clock
        self.topic = node.resolve_topic_name(topic)
        self.received: float | None = None
        """When the last message arrived, steady seconds."""
        self.captured: float | None = None
        """When the last message's content was measured, steady seconds."""
        self.error: str | None = None
        """Why the last message could not be used."""

    def age(self, now: float) -> float | None:
        """Seconds since the last message arrived."""
        return None if self.received is None else now - self.received

    def trouble(self, now: float, limit: float, since: float | None = None) -> str | None:
        """Why there is no usable fresh message, in words; None when there is one.

        Args:
            now: steady seconds.
            limit: largest age by stamp and by arrival, seconds.
            since: messages that arrived before do not count, steady seconds.
        """
        if self.received is None or self.captured is None:
            publishers = self._node.count_publishers(self.topic)
            return f"no {self._what} on {self.topic} yet ({publishers} publishers)"
        if self.error is not None:
            return self.error
        age = max(now - self.received, now - self.captured)
        if age > limit:
            return f"the newest {self._what} on {self.topic} is {age:.2f} s old (limit {limit} s)"
        if since is not None and self.received < since:
            return f"no {self._what} on {self.topic} since activation"
        return None

    def _note(self, stamp: Time) -> tuple[float, float]:
        """Notes an arrival; returns (captured, received)."""
        now = self._clock()
        self.error = None
        if stamp.sec == 0 and stamp.nanosec == 0:
            self.error = (
                f"the {self._what} on {self.topic} has no time stamp (header.stamp is zero); "
                "make its publisher fill it in"
            )
        age = (
            self._node.get_clock().now().nanoseconds - stamp.sec * 1_000_000_000 - stamp.nanosec
        ) * 1e-9
        self.received, self.captured = now, now - age
        return self.captured, self.received


class CameraInput(StampedInput):
    """The camera's frames.

    Args:
        node: owns the subscription.
        contract: gives the frame's size.
        clock: steady seconds.
        on_frame: is called with each usable frame and its stamp while `decoding`.
        on_error: is called with the reason for each unusable one while `decoding`.
    """

    def __init__(
        self,
        node: Node,
        contract: PolicyContract,
        clock: Callable[[], float],
        on_frame: Callable[[Frame, Time], None],
        on_error: Callable[[str], None],
    ) -> None:
        super().__init__(node, "camera frame", "image_raw", clock)
        self._camera = contract.camera
        self._on_frame = on_frame
        self._on_error = on_error
        self._decoding = False
        self._source: str | None = None
        self.frame: Frame | None = None
        """Last usable frame."""
        self._subscription = subscribe_newest(node, Image, "image_raw", self._on_image)

    def destroy(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    @property
    def decoding(self) -> bool:
        """Whether frames are looked into; otherwise their arrival is noted only."""
        return self._decoding

    @decoding.setter
    def decoding(self, value: bool) -> None:
        self._decoding = value
        self._source = None

    def _on_image(self, message: Image) -> None:
        captured, received = self._note(message.header.stamp)
        if not self.decoding:
            return
        found = message.header.frame_id
        self._source = found if self._source is None else self._source
        if self.error is None and found != self._source:
            self.error = (
                f"camera frames on {self.topic} came from frame_id {self._source!r}, now one comes "
                f"from {found!r}; two cameras publish on one topic: stop or remap one of them"
            )
        if self.error is None:
            try:
                pixels = decode_image(message, width=self._camera.width, height=self._camera.height)
            except ImageError as error:
                self.error = f"{self.topic}: {error}"
            else:
                self.frame = Frame(pixels, captured, received)
                self._on_frame(self.frame, message.header.stamp)
                return
        self._on_error(self.error)


class PoseInput(StampedInput):
    """The measured pose of the IK tip.

    Args:
        node: owns the subscription.
        tool: converts to the tool tip.
        frame_id: frame that poses must be given in.
        clock: steady seconds.
        on_pose: is called with each usable pose.
        on_error: is called with the reason for each unusable one.
    """

    def __init__(
        self,
        node: Node,
        tool: ToolFrame,
        frame_id: str,
        clock: Callable[[], float],
        on_pose: Callable[[ToolPose], None],
        on_error: Callable[[str], None],
    ) -> None:
        super().__init__(node, "end-effector pose", "ee_pose", clock)
        self._tool = tool
        self._frame_id = frame_id
        self._on_usable = on_pose
        self._on_error = on_error
        self.pose: ToolPose | None = None
        """Last usable pose."""
        self._subscription = subscribe_newest(node, PoseStamped, "ee_pose", self._on_pose)

    def destroy(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_pose(self, message: PoseStamped) -> None:
        captured, received = self._note(message.header.stamp)
        p, q = message.pose.position, message.pose.orientation
        found = message.header.frame_id
        position = np.array([p.x, p.y, p.z])
        if found.lstrip("/") != self._frame_id:
            self.error = (
                f"poses on {self.topic} are given in frame {found!r}, expected "
                f"{self._frame_id!r}; set parameter base_frame if that is the same frame under "
                "another name"
            )
        elif not bool(np.isfinite(position).all()):
            self.error = f"a pose on {self.topic} holds the position {position.tolist()}"
        if self.error is None:
            try:
                orientation = unit_quaternion([q.w, q.x, q.y, q.z])
            except ValueError as error:
                self.error = f"a pose on {self.topic} is unusable: {error}"
            else:
                tip = self._tool.tool_tip(position, orientation)
                self.pose = ToolPose(tip, orientation, captured, received)
                self._on_usable(self.pose)
                return
        self._on_error(self.error)
