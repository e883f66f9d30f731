"""The viewer over real middleware: markers come, go, and the overlay is drawn when asked for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import Point
from nav_msgs.msg import Path
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from twist_msgs.msg import Belief, PolicyStep
from twist_viewer.viewer_node import Viewer

pytestmark = pytest.mark.slow
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class Stand:
    """A viewer and a fake policy and camera around it, in this process."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(
            context=self.context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.viewer = Viewer(
            context=self.context,
            parameter_overrides=[Parameter("stale_time", value=0.5)],
        )
        self.node = Node("fake_policy", context=self.context)
        self.got: dict[str, list[Any]] = {}
        for topic, kind, qos in (
            ("viewer/markers", MarkerArray, 10),
            ("viewer/workspace", MarkerArray, LATCHED),
            ("viewer/imagined_tool_path", Path, 10),
        ):
            self.listen(topic, kind, qos)
        self.steps = self.node.create_publisher(PolicyStep, "twist_policy_node/step", 10)
        self.beliefs = self.node.create_publisher(Belief, "twist_policy_node/belief", 10)
        self.images = self.node.create_publisher(Image, "image_raw", 1)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.viewer)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def listen(self, topic: str, kind: Any, qos: Any) -> None:
        self.got[topic] = []
        self.node.create_subscription(kind, topic, self.got[topic].append, qos)

    def until(self, condition: Any, act: Any = None) -> None:
        """Repeats `act`: messages sent before discovery are lost."""
        end = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < end
            if act is not None:
                act()
            time.sleep(0.05)

    def decide(self) -> None:
        step = PolicyStep(step=4, surprise=1.5, speed_scale=1.0)
        step.measured, step.target = [0.5, 0.0, 0.05], [0.51, 0.0, 0.05]
        self.steps.publish(step)
        belief = Belief(
            ee_position=Point(x=0.5, y=0.0, z=0.05),
            object_position=Point(x=0.55, y=0.1, z=0.02),
            goal_position=Point(x=0.45, y=-0.1),
            imagined_ee_path=[Point(x=0.5, z=0.05), Point(x=0.52, z=0.05)],
            imagined_object_path=[Point(x=0.55, z=0.02), Point(x=0.56, z=0.02)],
        )
        self.beliefs.publish(belief)

    def believe(self) -> None:
        """A belief without imagined paths: they come at a lower rate."""
        self.beliefs.publish(Belief(goal_position=Point(x=0.45, y=-0.1)))

    def send_image(self, encoding: str = "bgr8", second: int = 0) -> None:
        image = Image(height=480, width=640, encoding=encoding, step=1920)
        image.header.stamp.sec = second
        image.data = bytes(480 * 1920)
        image.header.frame_id = "camera_color_optical_frame"
        self.images.publish(image)

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join(5.0)
        self.viewer.destroy_node()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def stand(ros_domain_id: int) -> Iterator[Stand]:
    made = Stand(ros_domain_id)
    yield made
    made.close()


def test_beliefs_and_steps_become_markers_which_vanish_when_the_policy_stops(
    stand: Stand,
) -> None:
    arrays = stand.got["viewer/markers"]
    names = lambda action: {  # noqa: E731
        m.ns for array in arrays for m in array.markers if m.action == action
    }
    wanted = {"target", "leash", "believed_object", "believed_goal", "imagined_tool_path"}
    stand.until(lambda: wanted <= names(Marker.ADD), stand.decide)
    assert {m.header.frame_id for m in arrays[-1].markers} == {"panda_link0"}
    assert stand.got["viewer/imagined_tool_path"][-1].poses[-1].pose.position.x == 0.52
    # What is old is not shown as if it were true: the path goes while beliefs still come.
    stand.until(lambda: "imagined_tool_path" in names(Marker.DELETE), stand.believe)
    assert "believed_goal" not in names(Marker.DELETE)
    stand.until(lambda: wanted <= names(Marker.DELETE))
    stand.until(lambda: len(stand.got["viewer/workspace"]) == 1)


def test_the_overlay_is_drawn_only_for_who_looks_and_only_on_usable_images(
    stand: Stand,
) -> None:
    stand.until(lambda: stand.viewer.count_publishers("/image_raw") == 1)
    stand.send_image()
    stand.listen("viewer/overlay", Image, 2)
    overlays = stand.got["viewer/overlay"]
    stand.until(lambda: len(overlays) > 0, lambda: (stand.decide(), stand.send_image()))
    picture = np.frombuffer(overlays[-1].data, np.uint8)
    assert overlays[-1].encoding == "rgb8"
    assert picture.any()  # the camera's image is black
    assert overlays[-1].header.frame_id == "camera_color_optical_frame"
    stand.until(lambda: "mono8" in stand.viewer._bad_image, lambda: stand.send_image("mono8"))


def test_a_belief_is_drawn_over_the_image_it_is_about(stand: Stand) -> None:
    stand.listen("viewer/overlay", Image, 10)
    overlays = stand.got["viewer/overlay"]
    # Without beliefs every image is shown as it comes.
    stand.until(lambda: len(overlays) > 0, lambda: stand.send_image(second=1))

    def held(second: int) -> bool:
        return second * 1_000_000_000 in stand.viewer._images

    # Images are taken one at a time; the newer one is not what was decided on.
    stand.until(lambda: held(2), lambda: stand.send_image(second=2))
    stand.until(lambda: held(3), lambda: stand.send_image(second=3))

    def act() -> None:
        belief = Belief(goal_position=Point(x=0.45, y=-0.1))
        belief.header.stamp.sec = 2
        stand.beliefs.publish(belief)

    stand.until(lambda: stand.viewer._fresh_belief() is not None, act)
    count = len(overlays)
    stand.until(lambda: len(overlays) > count + 2, act)
    assert {image.header.stamp.sec for image in overlays[count + 1 :]} == {2}


@pytest.mark.parametrize(
    ("parameter", "complaint"),
    [("task:=knit_a_jumper", "known tasks"), ("checkpoint:=/nowhere", "manifest.json")],
)
def test_a_wrong_parameter_ends_the_start_with_one_clear_message(
    ros_domain_id: int, parameter: str, complaint: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twist_viewer.viewer_node", "--ros-args", "-p", parameter],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
