"""A camera without a camera: synthetic or recorded frames, with faults on command.

    ros2 run twist_bringup mock_camera
    ros2 param set /mock_camera fault freeze

What goes wrong is the parameter ``fault``; it may be changed at any time:

- ``none``: good frames.
- ``drop``: no frames at all.
- ``freeze``: the same picture again and again, with fresh stamps.
- ``repeat``: the same picture again and again, with the same stamp.
- ``delay``: frames come ``delay`` seconds late, with the stamps of when they were taken.
- ``stale``: frames come in time, with stamps that are ``delay`` seconds old.
- ``black``: black pictures.
- ``wrong_size``: half the width and height.
- ``wrong_encoding``: one channel, ``mono8``.
- ``truncated``: fewer bytes than the size says.
- ``zero_stamp``: no time stamp.
- ``broken_stamp``: a stamp that is no time: before 1970, with more than a second of nanoseconds.
- ``future_stamp``: stamps that are ``delay`` seconds ahead.
- ``frame_id``: frames of another camera, by their ``frame_id``.

``~/good_frames`` has the header of each frame that nothing is wrong with, so that whoever measures
how soon the arm stops knows the last one.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from twist_nodes.endpoints import advertise
from twist_nodes.node_process import FatalNodeError, run_node
from twist_nodes.parameters import ParameterRow, declare_parameters
from twist_nodes.timers import steady_timer

FAULTS = (
    "none",
    "drop",
    "freeze",
    "repeat",
    "delay",
    "stale",
    "black",
    "wrong_size",
    "wrong_encoding",
    "truncated",
    "zero_stamp",
    "broken_stamp",
    "future_stamp",
    "frame_id",
)
OTHER_FRAME_ID = "another_camera_optical_frame"
DEFAULT_RATE = 30.0
_FRAMES_FOR_RATE = 100
IMAGE_TOPIC = "camera/camera/color/image_raw"
INFO_TOPIC = "camera/camera/color/camera_info"

PARAMETERS = (
    ParameterRow("width", 640, "pixels", (2, 4096)),
    ParameterRow("height", 480, "pixels", (2, 4096)),
    ParameterRow(
        "rate",
        0.0,
        "frames per second; 0: as recorded, 30 for synthetic frames",
        (0.0, 240.0),
    ),
    ParameterRow(
        "delay",
        0.5,
        "seconds, for the faults delay, stale and future_stamp",
        (0.0, 60.0),
        read_only=False,
    ),
    ParameterRow("frame_id", "camera_color_optical_frame", "of the stamps"),
    ParameterRow("bag", "", "recorded bag to play in a loop; empty: synthetic frames"),
    ParameterRow("fault", "none", "what the camera does wrong", choices=FAULTS, read_only=False),
)


class MockCameraError(FatalNodeError):
    """The camera cannot start: the bag has no usable pictures, or a parameter is wrong."""


def synthetic_frame(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Picture number `index`: a colour gradient with a bright square that moves.

    Returns:
        (height, width, 3) uint8 rgb; two consecutive pictures always differ.
    """
    rows = np.linspace(40, 160, height, dtype=np.uint8)[:, None]
    columns = np.linspace(40, 160, width, dtype=np.uint8)[None, :]
    frame = np.empty((height, width, 3), np.uint8)
    frame[..., 0] = rows
    frame[..., 1] = columns
    frame[..., 2] = rows // 2 + columns // 2
    edge = max(2, height // 12)
    x = (index * 3) % max(1, width - edge)
    y = (height - edge) // 2
    frame[y : y + edge, x : x + edge] = 230
    return frame


def recorded_images(bag: Path) -> Iterator[Image]:
    """The pictures of a recorded bag, in order.

    Raises:
        MockCameraError: the bag cannot be read or holds no sensor_msgs/msg/Image.
    """
    for _, data in _recorded_messages(bag):
        yield deserialize_message(data, Image)


def recorded_rate(bag: Path) -> float:
    """How many pictures a second were recorded, from the median time between two.

    A recorder keeps fewer than the camera took, as a rule; played faster, the world in them would
    move faster than it did.

    Returns:
        Frames per second, within [0.1, 240]; `DEFAULT_RATE` when there is only one picture.

    Raises:
        MockCameraError: as `recorded_images`.
    """
    times = [time for time, _ in islice(_recorded_messages(bag), _FRAMES_FOR_RATE)]
    if len(times) < 2:
        return DEFAULT_RATE
    interval = float(np.median(np.diff(times))) * 1e-9
    return float(np.clip(1.0 / interval, 0.1, 240.0)) if interval > 0 else DEFAULT_RATE


def _recorded_messages(bag: Path) -> Iterator[tuple[int, bytes]]:
    """Time of recording, nanoseconds, and serialised picture, in order."""
    # Imported here: only playing a bag needs it.
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
    except ImportError as error:
        raise MockCameraError(
            f"playing a bag needs rosbags ({error}): pip install rosbags"
        ) from error
    try:
        with AnyReader([bag]) as reader:
            images = [c for c in reader.connections if c.msgtype == "sensor_msgs/msg/Image"]
            if not images:
                topics = sorted(reader.topics)
                raise MockCameraError(f"{bag} holds no sensor_msgs/msg/Image, only {topics}")
            for _, time, data in reader.messages(connections=images[:1]):
                yield time, bytes(data)
    except (AnyReaderError, OSError) as error:
        raise MockCameraError(f"cannot read the bag {bag}: {error}") from error


_LOWEST_RATE = 6.0
"""Pictures a second below which a policy stops: `frame_interval_limit` is 0.17 s."""


class MockCamera(Node):
    """Publishes ``camera/camera/color/image_raw`` and ``camera_info`` at a fixed rate.

    A bag is played at the rate it was recorded at. Below the policy's control rate the policy's
    watchdogs stop it, as they should: record with ``image_rate:=0.0`` what a policy is to be fed.
    """

    def __init__(self) -> None:
        super().__init__("mock_camera")
        values = declare_parameters(self, PARAMETERS)
        self._width, self._height = values["width"], values["height"]
        self._frame_id, rate, bag = values["frame_id"], values["rate"], values["bag"]
        self.add_on_set_parameters_callback(self._on_set)
        self._bag = Path(bag) if bag else None
        if rate <= 0.0:
            rate = recorded_rate(self._bag) if self._bag else DEFAULT_RATE
        self._recorded = recorded_images(self._bag) if self._bag else None
        self._index = 0
        self._last: Image | None = None
        self._late: deque[tuple[Time, Image]] = deque()
        if self._recorded is not None:
            self._last = next(self._recorded, None)
            if self._last is None:
                raise MockCameraError(f"{bag} holds no pictures")
        self._images = advertise(self, Image, IMAGE_TOPIC, qos_profile_sensor_data)
        self._infos = advertise(self, CameraInfo, INFO_TOPIC, qos_profile_sensor_data)
        self._good = advertise(self, Header, "~/good_frames", 10)
        steady_timer(self, 1.0 / rate, self._on_timer)
        self.get_logger().info(f"{bag or 'synthetic frames'} at {rate:g} Hz")
        if bag and rate < _LOWEST_RATE:
            self.get_logger().warning(
                f"a policy stops at {rate:g} pictures a second (camera_silent): give it a bag that "
                "was recorded with the recorder's image_rate 0.0, by params_file:="
            )

    def _on_timer(self) -> None:
        fault = self.get_parameter("fault").value
        delay = Duration(nanoseconds=round(self.get_parameter("delay").value * 1e9))
        now = self.get_clock().now()
        again = fault in ("freeze", "repeat") and self._last is not None
        image = self._last if again and self._last is not None else self._next()
        self._last = image
        if not (again and fault == "repeat"):
            image.header.stamp = stamp_of(fault, now, delay)
        image.header.frame_id = OTHER_FRAME_ID if fault == "frame_id" else self._frame_id
        if fault == "drop":
            self._late.clear()
        elif fault == "delay":
            self._late.append((now + delay, image))
            while self._late and self._late[0][0] <= now:
                self._publish(self._late.popleft()[1])
        else:
            self._late.clear()
            if fault == "none":
                self._good.publish(image.header)
            self._publish(damaged(image, fault))

    def _publish(self, image: Image) -> None:
        info = CameraInfo(header=image.header, width=image.width, height=image.height)
        self._images.publish(image)
        self._infos.publish(info)

    def _next(self) -> Image:
        self._index += 1
        if self._recorded is None:
            return to_message(synthetic_frame(self._index, self._height, self._width))
        image = next(self._recorded, None)
        if image is None:
            assert self._bag is not None
            self._recorded = recorded_images(self._bag)
            image = next(self._recorded)
        return image

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "fault" and parameter.value not in FAULTS:
                return SetParametersResult(
                    successful=False,
                    reason=f"fault {parameter.value!r} is unknown; allowed: {', '.join(FAULTS)}",
                )
        return SetParametersResult(successful=True)


def stamp_of(fault: str, now: Time, delay: Duration) -> TimeMessage:
    """The stamp of a picture that is taken now."""
    if fault == "zero_stamp":
        return TimeMessage()
    if fault == "broken_stamp":
        return TimeMessage(sec=-1, nanosec=2**32 - 1)
    shift = {"stale": -1, "future_stamp": 1}.get(fault, 0)
    return (now + Duration(nanoseconds=shift * delay.nanoseconds)).to_msg()


def to_message(frame: NDArray[np.uint8], encoding: str = "rgb8") -> Image:
    """A picture as a message.

    Args:
        frame: (height, width, channels) uint8.
        encoding: of the channels.
    """
    height, width, channels = frame.shape
    image = Image(height=height, width=width, encoding=encoding, step=width * channels)
    image.data.frombytes(frame.tobytes())
    return image


def damaged(image: Image, fault: str) -> Image:
    """The picture as the fault has it; `image` itself for faults that are about time."""
    if fault == "black":
        result = to_message(np.zeros((image.height, image.width, 3), np.uint8))
    elif fault == "wrong_size":
        result = to_message(np.full((image.height // 2, image.width // 2, 3), 99, np.uint8))
    elif fault == "wrong_encoding":
        result = to_message(np.full((image.height, image.width, 1), 99, np.uint8), "mono8")
    elif fault == "truncated":
        result = Image(
            height=image.height,
            width=image.width,
            encoding=image.encoding,
            step=image.step,
            data=image.data[: len(image.data) // 2],
        )
    else:
        return image
    result.header = image.header
    return result


def _give_images_room() -> None:
    """Gives this sender the shared memory that images need, unless the user has a profile.

    The default segment of Fast DDS is smaller than one image, and best-effort subscribers then lose
    many. Read once, when the middleware is loaded.
    """
    variables = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if not any(os.environ.get(name) for name in variables):
        profile = str(files("twist_sim.ros") / "fastdds_large_images.xml")
        os.environ.update(dict.fromkeys(variables, profile))


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script."""
    _give_images_room()
    return run_node("mock_camera", MockCamera, arguments)


if __name__ == "__main__":
    sys.exit(main())
