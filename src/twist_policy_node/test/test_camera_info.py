"""The camera's own calibration at activation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from twist_policy.contract import PolicyContract
from twist_policy_node.camera_info_input import CameraInfoInput


@pytest.fixture
def camera(ros_domain_id: int, contract: PolicyContract) -> Iterator[Any]:
    """An input, what publishes a calibration to it, and what takes the publisher away."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    node = Node("policy", context=context)
    camera = CameraInfoInput(node, contract, time.monotonic)
    publisher = node.create_publisher(CameraInfo, "camera_info", 1)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def publish(**changes: float) -> None:
        values = {"fx": 0.0, "cx": 0.0, "width": contract.camera.width} | changes
        model = contract.camera
        message = CameraInfo(
            width=int(values["width"]), height=model.height, distortion_model="plumb_bob"
        )
        if values["fx"]:
            # From the middle of the first pixel; the contract counts from its edge.
            cx, cy = values["cx"] - 0.5, model.cy - 0.5
            k = [values["fx"], 0.0, cx, 0.0, model.fy, cy, 0.0, 0.0, 1.0]
            message.k, message.d = k, [0.0] * 5
        before = time.monotonic()
        while camera.received is None or camera.received < before:
            publisher.publish(message)
            executor.spin_once(timeout_sec=0.1)

    def stop() -> None:
        node.destroy_publisher(publisher)
        while node.count_publishers("camera_info"):
            executor.spin_once(timeout_sec=0.1)

    yield camera, publish, stop
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_a_calibration_is_compared_where_there_is_one_and_demanded_where_required(
    camera: Any, contract: PolicyContract
) -> None:
    inputs, publish, _ = camera
    model, began = contract.camera, time.monotonic()
    assert inputs.trouble(15.0, began, required=False) is None
    assert "no calibration on /camera_info" in inputs.trouble(15.0, began, required=True)

    publish()  # as a driver without a calibration does
    assert inputs.trouble(15.0, began, required=False) is None
    assert "K is 0" in inputs.trouble(15.0, began, required=True)

    publish(fx=model.fx, cx=model.cx + 14.0)
    assert inputs.trouble(15.0, began, required=True) is None
    publish(fx=model.fx, cx=model.cx + 16.0)
    assert "up to 16.0 pixels (limit 15" in inputs.trouble(15.0, began, required=False)
    publish(fx=model.fx, cx=model.cx, width=1280)
    assert "1280x" in inputs.trouble(15.0, began, required=False)


def test_a_calibration_from_before_the_activation_is_no_calibration_of_this_camera(
    camera: Any, contract: PolicyContract
) -> None:
    inputs, publish, stop = camera
    good = {"fx": contract.camera.fx, "cx": contract.camera.cx}
    publish(**good)
    began = time.monotonic()
    # Waited for, as long as its publisher is there: it comes with the next frame.
    for required in (True, False):
        assert "since activation" in inputs.trouble(15.0, began, required=required)
    publish(**good)
    assert inputs.trouble(15.0, began, required=True) is None

    # Another camera, that sends none.
    began = time.monotonic()
    stop()
    assert "since activation" in inputs.trouble(15.0, began, required=True)
    assert inputs.trouble(15.0, began, required=False) is None
