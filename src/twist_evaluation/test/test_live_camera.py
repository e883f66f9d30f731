"""The camera's newest picture, whatever is sent as one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from twist_evaluation.live_camera import LiveCamera  # noqa: E402


@pytest.fixture
def camera(ros_domain_id: int) -> Iterator[LiveCamera]:
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    node = Node("runner", context=context)
    yield LiveCamera(node, "image")
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def _picture(**stamp: int) -> Image:
    image = Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(12))
    image.header.stamp = Time(**stamp)
    return image


def test_a_picture_with_an_impossible_stamp_is_skipped(camera: LiveCamera) -> None:
    camera.show(lambda frame: frame)
    camera._on_image(_picture(sec=-1, nanosec=5))
    assert camera.latest() is None
    camera._on_image(_picture(sec=7, nanosec=500_000_000))
    camera._on_image(_picture(sec=-(2**31), nanosec=2**32 - 1))
    latest = camera.latest()
    assert latest is not None
    assert latest.stamp == 7.5
