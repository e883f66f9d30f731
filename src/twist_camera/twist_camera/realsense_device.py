"""The colour stream of a RealSense camera through pyrealsense2, with fixed settings.

pyrealsense2 is imported when a camera is opened, not before: everything else works without it.
"""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twist_camera.camera_settings import Finding, describe, same
from twist_policy.camera_match import CameraIntrinsics

_RGB_SENSOR = "RGB Camera"


class RealSenseError(RuntimeError):
    """The camera does not work as wanted; the message says what to do."""


class CameraLost(RealSenseError):
    """The camera was there and is gone; starting again may help."""


@dataclass(frozen=True)
class StreamSettings:
    """What the camera is to do.

    Attributes:
        exposure: 0.1 ms.
        gain: of the sensor.
        white_balance: kelvin.
        width: pixels.
        height: pixels.
        rate: frames per second.
        serial: of the camera; empty takes the only one.
    """

    exposure: float
    gain: float
    white_balance: float
    width: int = 640
    height: int = 480
    rate: int = 30
    serial: str = ""


@dataclass(frozen=True, eq=False)
class DeviceFrame:
    """One frame.

    Attributes:
        pixels: RGB, (H, W, 3), uint8; a copy.
        domain: clock of the stamp: ``global_time``, ``system_time`` or ``hardware_clock``.
        milliseconds: the stamp in that clock.
        number: the camera's count.
    """

    pixels: NDArray[np.uint8]
    domain: str
    milliseconds: float
    number: int


def load_library() -> Any:
    """The module pyrealsense2.

    Raises:
        RealSenseError: it is not installed.
    """
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise RealSenseError(
            f"camera:=pyrealsense needs the Python package pyrealsense2 ({error}): pip install "
            "pyrealsense2 into the workspace's .venv; or use camera:=realsense"
        ) from error


class RealSenseCamera:
    """Opens, sets, checks and reads one camera.

    Args:
        settings: what it is to do.
        library: pyrealsense2; None imports it.
    """

    def __init__(self, settings: StreamSettings, library: Any | None = None) -> None:
        self._settings = settings
        self._rs = load_library() if library is None else library
        self._pipeline: Any = None
        self._sensor: Any = None

    def open(self) -> CameraIntrinsics:
        """Starts the stream with the settings, and reads them back.

        Returns:
            The device's own calibration.

        Raises:
            RealSenseError: no camera, another camera, no such stream, or a setting does not take.
        """
        rs, settings = self._rs, self._settings
        serial = self._find()
        config = rs.config()
        config.enable_device(serial)
        config.enable_stream(
            rs.stream.color, settings.width, settings.height, rs.format.rgb8, settings.rate
        )
        self._pipeline = rs.pipeline()
        try:
            profile = self._pipeline.start(config)
        except RuntimeError as error:
            self._pipeline = None
            raise CameraLost(
                f"camera {serial} does not start {settings.width}x{settings.height} rgb8 at "
                f"{settings.rate} Hz ({error}); is another program using it, or is it on a USB 2 "
                "port or cable?"
            ) from error
        try:
            self._sensor = self._rgb_sensor(profile.get_device())
            self.apply()
            stream = profile.get_stream(rs.stream.color).as_video_stream_profile()
            return _intrinsics(stream.get_intrinsics())
        except RuntimeError as error:
            self.close()
            if isinstance(error, RealSenseError):
                raise
            raise CameraLost(f"camera {serial} was lost while it was set up: {error}") from error

    def _find(self) -> str:
        rs = self._rs
        try:
            serials = [
                str(device.get_info(rs.camera_info.serial_number))
                for device in rs.context().query_devices()
            ]
        except RuntimeError as error:
            raise CameraLost(f"the cameras cannot be listed: {error}") from error
        wanted = self._settings.serial
        if not serials or (wanted and wanted not in serials):
            found = f"found {', '.join(serials)}" if serials else "none is connected"
            raise CameraLost(
                f"no RealSense camera{f' {wanted}' if wanted else ''}: {found}. Check cable and "
                "USB 3 port, `lsusb -d 8086:`, and librealsense's udev rules"
            )
        if not wanted and len(serials) > 1:
            raise RealSenseError(
                f"{len(serials)} RealSense cameras are connected ({', '.join(serials)}); say which "
                "by the parameter serial_no"
            )
        return wanted or serials[0]

    def _rgb_sensor(self, device: Any) -> Any:
        # The first sensor of a D435i is the stereo module, which has an exposure and a gain too.
        rs = self._rs
        names = []
        for sensor in device.query_sensors():
            name = str(sensor.get_info(rs.camera_info.name))
            if name == _RGB_SENSOR:
                return sensor
            names.append(name)
        raise RealSenseError(
            f"the camera has no {_RGB_SENSOR!r}, only {', '.join(names) or 'no sensor'}; use one "
            "with a colour sensor, such as the D435i"
        )

    def _options(self) -> list[tuple[str, Any, float, bool]]:
        """Name, option, value, and whether the camera must have it; in the order to set them."""
        option, settings = self._rs.option, self._settings
        return [
            ("enable_auto_exposure", option.enable_auto_exposure, 0.0, True),
            ("enable_auto_white_balance", option.enable_auto_white_balance, 0.0, True),
            ("auto_exposure_priority", option.auto_exposure_priority, 0.0, False),
            ("exposure", option.exposure, settings.exposure, True),
            ("gain", option.gain, settings.gain, True),
            ("white_balance", option.white_balance, settings.white_balance, True),
        ]

    def apply(self) -> None:
        """Sets every setting on the colour sensor and reads it back.

        Raises:
            RealSenseError: a setting is out of range, or is not what was set afterwards.
        """
        for name, option, value, needed in self._options():
            if not self._sensor.supports(option):
                if needed:
                    raise RealSenseError(f"the camera's colour sensor has no setting {name}")
                continue
            span = self._sensor.get_option_range(option)
            if not span.min <= value <= span.max:
                raise RealSenseError(
                    f"{name} must lie within {span.min:g} and {span.max:g} (steps of {span.step:g})"
                    f", found {value:g}; correct the camera's settings"
                )
            self._sensor.set_option(option, float(value))
        wrong = [finding for finding in self.settings() if not finding.good]
        if wrong:
            raise RealSenseError(
                "the camera did not take its settings; unplug it, plug it in again, or update its "
                f"firmware:\n{describe(wrong)}"
            )

    def settings(self) -> list[Finding]:
        """What the colour sensor says its settings are.

        Raises:
            CameraLost: it does not answer.
        """
        findings = []
        try:
            for name, option, value, _ in self._options():
                if self._sensor.supports(option):
                    found = float(self._sensor.get_option(option))
                    findings.append(
                        Finding(name, value, found, "read back from the sensor", same(value, found))
                    )
        except RuntimeError as error:
            raise CameraLost(f"the camera does not answer: {error}") from error
        return findings

    def read(self, timeout: float) -> DeviceFrame | None:
        """The next frame, or None when none came within `timeout` seconds.

        Raises:
            CameraLost: the camera is gone.
        """
        try:
            arrived, frames = self._pipeline.try_wait_for_frames(int(timeout * 1000))
            if not arrived:
                return None
            frame = frames.get_color_frame()
            if not frame:
                return None
            return DeviceFrame(
                np.array(frame.get_data(), dtype=np.uint8),  # its memory goes back to the library
                str(frame.get_frame_timestamp_domain()).rpartition(".")[2],
                float(frame.get_timestamp()),
                int(frame.get_frame_number()),
            )
        except RuntimeError as error:
            raise CameraLost(f"the camera was lost: {error}") from error

    def close(self) -> None:
        """Stops the stream; may be called at any time."""
        pipeline, self._pipeline, self._sensor = self._pipeline, None, None
        if pipeline is not None:
            with contextlib.suppress(RuntimeError):  # an unplugged camera cannot be stopped
                pipeline.stop()


def _intrinsics(values: Any) -> CameraIntrinsics:
    # As realsense2_camera publishes them: the five coefficients under ROS's name for that model.
    return CameraIntrinsics(
        int(values.width),
        int(values.height),
        float(values.fx),
        float(values.fy),
        float(values.ppx),
        float(values.ppy),
        "plumb_bob",
        tuple(float(value) for value in list(values.coeffs)[:5]),
    )
