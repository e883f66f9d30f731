"""The camera's own calibration, compared with the one that the policy was trained with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from twist_nodes.endpoints import subscribe_newest
from twist_policy.camera_match import CameraIntrinsics, CameraMatchError, check_intrinsics
from twist_policy.contract import PolicyContract

if TYPE_CHECKING:
    from rclpy.node import Node


class CameraInfoInput:
    """Subscribes to ``camera_info``.

    Args:
        node: owns the subscription.
        contract: the camera trained with.
        clock: steady seconds.
    """

    def __init__(self, node: Node, contract: PolicyContract, clock: Callable[[], float]) -> None:
        self._node = node
        self._contract = contract
        self._clock = clock
        self.received: float | None = None
        """When the last message arrived, steady seconds."""
        self._serialized: bytes | None = None
        self.topic = node.resolve_topic_name("camera_info")
        # It comes with every frame and is looked at before a start alone: kept as it came.
        self._subscription = subscribe_newest(
            node, CameraInfo, "camera_info", self._on_info, raw=True
        )

    def destroy(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_info(self, serialized: bytes) -> None:
        self._serialized = serialized
        self.received = self._clock()

    def trouble(self, limit: float, since: float, *, required: bool) -> str | None:
        """Why the policy must not look through this camera, in words; None when it may.

        Args:
            limit: largest shift of the picture, pixels of the full frame.
            since: what arrived before may be of another camera, steady seconds.
            required: whether a calibration has to be there; else only one that is there counts.
        """
        message: CameraInfo | None = None
        if self.received is not None and self.received < since:
            # It comes with the next frame, unless this camera has none.
            publishers = self._node.count_publishers(self.topic)
            if required or publishers:
                return (
                    f"no calibration on {self.topic} since activation ({publishers} publishers); "
                    "start the camera's driver with its camera_info"
                )
        elif self._serialized is not None:
            message = deserialize_message(self._serialized, CameraInfo)
        # A camera whose driver knows no calibration says so by a focal length of zero.
        if message is None or message.k[0] == 0.0:
            if not required:
                return None
            what = "no calibration" if message is None else "the calibration of no camera (K is 0)"
            return (
                f"{what} on {self.topic}; start the camera's driver with its camera_info, or set "
                "camera_info_required to false"
            )
        contract = self._contract
        try:
            check_intrinsics(contract.camera, contract.image, intrinsics_of(message), limit)
        except CameraMatchError as error:
            return f"{self.topic}: {error}"
        return None


def intrinsics_of(message: CameraInfo) -> CameraIntrinsics:
    """What a message says.

    Raises:
        CameraMatchError: it holds no usable calibration.
    """
    return CameraIntrinsics(
        width=int(message.width),
        height=int(message.height),
        fx=float(message.k[0]),
        fy=float(message.k[4]),
        cx=float(message.k[2]),
        cy=float(message.k[5]),
        distortion_model=str(message.distortion_model),
        distortion=tuple(float(value) for value in message.d),
    )
