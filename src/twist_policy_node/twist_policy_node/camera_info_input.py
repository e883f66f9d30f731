"""The camera's own calibration, compared with the one that the policy was trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

from twist_policy.camera_match import CameraIntrinsics, CameraMatchError, check_intrinsics
from twist_policy.contract import PolicyContract

if TYPE_CHECKING:
    from rclpy.node import Node


class CameraInfoInput:
    """Subscribes to ``camera_info``.

    Args:
        node: owns the subscription.
        contract: the camera trained with.
    """

    def __init__(self, node: Node, contract: PolicyContract) -> None:
        self._node = node
        self._contract = contract
        self._message: CameraInfo | None = None
        self.topic = node.resolve_topic_name("camera_info")
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = node.create_subscription(
            CameraInfo, "camera_info", self._on_info, newest
        )

    def destroy(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_info(self, message: CameraInfo) -> None:
        self._message = message

    def trouble(self, limit: float, *, required: bool) -> str | None:
        """Why the policy must not look through this camera, in words; None when it may.

        Args:
            limit: largest shift of the picture, pixels of the full frame.
            required: whether a calibration has to be there; else only one that is there counts.
        """
        message = self._message
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
