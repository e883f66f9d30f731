"""The camera's own calibration at activation."""

from __future__ import annotations

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
    """An input, and a function that publishes a calibration to it."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    node = Node("policy", context=context)
    camera = CameraInfoInput(node, contract)
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
        camera._serialized = None
        while camera._serialized is None:
            publisher.publish(message)
            executor.spin_once(timeout_sec=0.1)

    yield camera, publish
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_a_calibration_is_compared_where_there_is_one_and_demanded_where_required(
    camera: Any, contract: PolicyContract
) -> None:
    inputs, publish = camera
    model = contract.camera
    assert inputs.trouble(15.0, required=False) is None
    assert "no calibration on /camera_info" in inputs.trouble(15.0, required=True)

    publish()  # as a driver without a calibration does
    assert inputs.trouble(15.0, required=False) is None
    assert "K is 0" in inputs.trouble(15.0, required=True)

    publish(fx=model.fx, cx=model.cx + 14.0)
    assert inputs.trouble(15.0, required=True) is None
    publish(fx=model.fx, cx=model.cx + 16.0)
    assert "up to 16.0 pixels (limit 15" in inputs.trouble(15.0, required=False)
    publish(fx=model.fx, cx=model.cx, width=1280)
    assert "1280x" in inputs.trouble(15.0, required=False)
