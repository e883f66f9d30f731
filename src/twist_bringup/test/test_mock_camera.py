"""The mock camera's pictures and faults."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rclpy.duration import Duration
from rclpy.time import Time
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from twist_bringup.mock_camera import (
    MockCameraError,
    damaged,
    recorded_images,
    recorded_rate,
    stamp_of,
    synthetic_frame,
    to_message,
)

TYPES = get_typestore(Stores.ROS2_JAZZY)


def write_bag(folder: Path, kind: str, messages: list[object], period: int = 1) -> Path:
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/x", kind, typestore=TYPES)
        for index, message in enumerate(messages):
            writer.write(connection, index * period, TYPES.serialize_cdr(message, kind))
    return folder


def image(level: int) -> object:
    types = TYPES.types
    stamp = types["builtin_interfaces/msg/Time"](sec=level, nanosec=0)
    return types["sensor_msgs/msg/Image"](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera"),
        height=2,
        width=3,
        encoding="rgb8",
        is_bigendian=0,
        step=9,
        data=np.full(18, level, np.uint8),
    )


def test_consecutive_pictures_differ_and_have_contrast() -> None:
    frames = [synthetic_frame(index, 480, 640) for index in range(300)]
    assert all((a != b).any() for a, b in pairwise(frames))
    assert frames[0].shape == (480, 640, 3)
    assert min(float(frame.std()) for frame in frames[::50]) > 10.0


def test_a_good_picture_is_left_as_it_is() -> None:
    good = to_message(synthetic_frame(1, 48, 64))
    about_time = ("freeze", "repeat", "delay", "stale", "zero_stamp", "broken_stamp")
    assert all(damaged(good, fault) is good for fault in ("none", *about_time, "frame_id"))
    assert len(good.data) == good.height * good.step == 48 * 64 * 3


def test_each_damage_is_what_its_name_says() -> None:
    good = to_message(synthetic_frame(1, 48, 64))
    assert not any(damaged(good, "black").data)
    small = damaged(good, "wrong_size")
    assert (small.height, small.width) == (24, 32)
    assert len(small.data) == small.height * small.step
    assert damaged(good, "wrong_encoding").encoding == "mono8"
    truncated = damaged(good, "truncated")
    assert len(truncated.data) < truncated.height * truncated.step


def test_each_stamp_is_what_its_name_says() -> None:
    now, delay = Time(seconds=1000, nanoseconds=5), Duration(seconds=2)
    assert stamp_of("none", now, delay) == now.to_msg()
    assert stamp_of("stale", now, delay).sec == 998
    assert stamp_of("future_stamp", now, delay).sec == 1002
    zero, broken = stamp_of("zero_stamp", now, delay), stamp_of("broken_stamp", now, delay)
    assert (zero.sec, zero.nanosec) == (0, 0)
    assert broken.sec < 0
    assert broken.nanosec >= 10**9


def test_recorded_pictures_come_back_in_order(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", "sensor_msgs/msg/Image", [image(5), image(7)])
    assert [bytes(message.data) for message in recorded_images(bag)] == [
        bytes([5] * 18),
        bytes([7] * 18),
    ]


def test_a_bag_is_played_as_fast_as_it_was_recorded(tmp_path: Path) -> None:
    pictures = [image(level) for level in range(4)]
    slow = write_bag(tmp_path / "slow", "sensor_msgs/msg/Image", pictures, period=200_000_000)
    assert recorded_rate(slow) == pytest.approx(5.0)
    single = write_bag(tmp_path / "single", "sensor_msgs/msg/Image", pictures[:1])
    assert recorded_rate(single) == 30.0


def test_a_bag_without_pictures_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    text = TYPES.types["std_msgs/msg/String"](data="x")
    bag = write_bag(tmp_path / "bag", "std_msgs/msg/String", [text])
    with pytest.raises(MockCameraError, match=r"holds no sensor_msgs/msg/Image, only \['/x'\]"):
        next(recorded_images(bag))


def test_something_that_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MockCameraError, match="cannot read the bag"):
        next(recorded_images(tmp_path))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [("fault:=explode", "must be one of none, drop"), ("bag:=/nowhere", "cannot read the bag")],
)
def test_a_wrong_parameter_ends_the_process_with_its_reason(parameter: str, message: str) -> None:
    start = "import sys; from twist_bringup.mock_camera import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", start, "--ros-args", "-p", parameter],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
