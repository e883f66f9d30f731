"""The node behind ``camera:=pyrealsense``: a RealSense colour stream through pyrealsense2.

Topics and parameters have realsense2_camera's names, so that one takes the other's place:
``~/color/image_raw`` (rgb8) and ``~/color/camera_info`` (the device's own calibration). Settings
are set on the colour sensor, read back at the start and every few seconds. Stamps are the camera's,
in ROS time. A stream that stops, freezes or changes its settings is started again a few times; then
the process ends with code 1 and says why.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from twist_camera import camera_settings as names
from twist_camera.camera_settings import SettingsError, parse_profile
from twist_camera.capture_loop import CaptureLoop, CaptureRules
from twist_camera.realsense_device import (
    DeviceFrame,
    RealSenseCamera,
    RealSenseError,
    StreamSettings,
)
from twist_nodes.end_signals import on_end
from twist_nodes.endpoints import advertise
from twist_nodes.parameters import ParameterError, ParameterRow, declare_parameters
from twist_nodes.spinning import spinning
from twist_policy.camera_match import CameraIntrinsics

OPTICAL_FRAME = "camera_color_optical_frame"


_USUAL = CaptureRules()
_FIXED = {
    names.AUTO_EXPOSURE: False,
    names.AUTO_WHITE_BALANCE: False,
    "enable_color": True,
    "enable_depth": False,
    "enable_infra1": False,
    "enable_infra2": False,
}
"""Switches in realsense2_camera's file that this node has in one position only."""
PARAMETERS = (
    *(ParameterRow(name, only, f"must be {str(only).lower()}") for name, only in _FIXED.items()),
    ParameterRow("rgb_camera.color_profile", "640x480x30", "width x height x frames per second"),
    ParameterRow("rgb_camera.color_format", "RGB8", "of the pictures", choices=("RGB8",)),
    ParameterRow("rgb_camera.exposure", 156, "0.1 ms", (1, 10000)),
    ParameterRow("rgb_camera.gain", 64, "of the colour sensor", (0, 128)),
    ParameterRow("rgb_camera.white_balance", 4600.0, "kelvin", (2800.0, 6500.0)),
    ParameterRow("serial_no", "", "which camera; empty: the only one"),
    ParameterRow("silence_limit", _USUAL.silence, "s without a frame: started again", (0.05, 60.0)),
    ParameterRow(
        "frozen_frame_limit", _USUAL.frozen, "identical frames in a row: started again", (2, 1000)
    ),
    ParameterRow("restarts", _USUAL.restarts, "in a row, before the process ends", (0, 1000)),
    ParameterRow("restart_delay", _USUAL.restart_delay, "s before each", (0.0, 600.0)),
)


class PyrealsenseCamera(Node):
    """Publishes what a `CaptureLoop` delivers; see the module.

    Raises:
        ParameterError, SettingsError: a parameter is wrong.
        RealSenseError: pyrealsense2 is not installed.
    """

    def __init__(self, library: Any | None = None, **options: Any) -> None:
        super().__init__("camera", **options)
        values = declare_parameters(self, PARAMETERS)
        width, height, rate = parse_profile(values[names.PROFILE])
        for name, only in _FIXED.items():
            if values[name] is not only:
                raise SettingsError(
                    f"{name} must be {str(only).lower()}: this node has the colour stream only, "
                    "and fixed settings"
                )
        settings = StreamSettings(
            exposure=float(values[names.EXPOSURE]),
            gain=float(values[names.GAIN]),
            white_balance=values[names.WHITE_BALANCE],
            width=width,
            height=height,
            rate=rate,
            serial=values["serial_no"],
        )
        rules = CaptureRules(
            silence=values["silence_limit"],
            frozen=values["frozen_frame_limit"],
            restarts=values["restarts"],
            restart_delay=values["restart_delay"],
        )
        self._images = advertise(self, Image, "~/color/image_raw", qos_profile_sensor_data)
        self._infos = advertise(self, CameraInfo, "~/color/camera_info", qos_profile_sensor_data)
        self._info = CameraInfo()
        self.loop = CaptureLoop(
            RealSenseCamera(settings, library),
            rules,
            on_open=self._on_open,
            on_frame=self._on_frame,
            warn=self.get_logger().error,
            ros_time=lambda: self.get_clock().now().nanoseconds,
        )
        """Reads the camera; run it in a thread."""

    def _on_open(self, intrinsics: CameraIntrinsics) -> None:
        self._info = info_message(intrinsics)
        self.get_logger().info(
            f"{intrinsics.width}x{intrinsics.height}, fx {intrinsics.fx:.2f}, fy "
            f"{intrinsics.fy:.2f}, cx {intrinsics.cx:.2f}, cy {intrinsics.cy:.2f}; settings read "
            "back and as wanted"
        )

    def _on_frame(self, frame: DeviceFrame, stamp: int) -> None:
        height, width = frame.pixels.shape[:2]
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.header.frame_id = OPTICAL_FRAME
        message.header.stamp = Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)
        message.data = array("B", frame.pixels.tobytes())
        self._info.header = message.header
        self._images.publish(message)
        self._infos.publish(self._info)


def info_message(camera: CameraIntrinsics) -> CameraInfo:
    """A calibration as a message, without rectification."""
    message = CameraInfo(
        height=camera.height, width=camera.width, distortion_model=camera.distortion_model
    )
    message.d = list(camera.distortion)
    message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [
        *(camera.fx, 0.0, camera.cx, 0.0),
        *(0.0, camera.fy, camera.cy, 0.0),
        *(0.0, 0.0, 1.0, 0.0),
    ]
    return message


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``pyrealsense_camera``: 0 after a signal, 1 when the camera does not work."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = PyrealsenseCamera()
    except (SettingsError, RealSenseError, ParameterError) as error:
        print(f"pyrealsense_camera: {error}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        return 1
    on_end(lambda *_: node.loop.stop())
    try:
        # Parameters are asked for in another thread; the camera is read in this one.
        with spinning(node):
            node.loop.run()
    except RealSenseError as error:
        node.get_logger().fatal(str(error))
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
