"""The viewer: what the policy believes and may do, as markers, paths and a camera overlay.

Whoever looks decides what it costs: the overlay is drawn only while somebody subscribes to it. The
viewer is no part of the control: it may be slow, die, or be left out.
"""

from __future__ import annotations

import json
import time
from array import array
from collections import OrderedDict
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from nav_msgs.msg import Path
from rclpy.node import Node
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from twist_msgs.msg import Belief, PolicyStep
from twist_nodes.endpoints import LATCHED, advertise, subscribe_newest
from twist_nodes.node_process import FatalNodeError, run_node
from twist_nodes.parameters import ParameterRow, declare_parameters
from twist_nodes.timers import steady_timer
from twist_policy.contract import ContractError, PolicyContract
from twist_sim.ros.shared_memory import enlarge_shared_memory
from twist_sim.task_card import TaskCardError, load_task_card
from twist_viewer.marker_messages import marker_array, path_message
from twist_viewer.overlay import draw_overlay
from twist_viewer.shapes import Believed, Shape, ShapeBuilder, Step, yaw_of

NODE_NAME = "viewer"
_CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0)}
_FIXED_PERIOD = 1.0
_KEPT_IMAGES = 30
"""Images that wait for the belief about them."""

PARAMETERS = (
    ParameterRow("task", "block_push", "Task card: a shipped one's name, or a YAML file's path."),
    ParameterRow(
        "checkpoint",
        "",
        "Folder of the checkpoint, whose contract has camera, workspace and leash; empty: the "
        "task card's.",
    ),
    ParameterRow("base_frame", "", "Frame of everything shown; empty: the contract's."),
    ParameterRow("policy_node", "twist_policy_node", "Name of the policy node."),
    ParameterRow("overlay_rate", 10.0, "Most overlay images per second.", (0.1, 60.0)),
    ParameterRow(
        "stale_time",
        1.0,
        "Seconds after which a step or belief is not shown any more.",
        (0.1, 60.0),
    ),
    ParameterRow("surprise_limit", 60.0, "Nats above which surprise is shown red.", (0.0, 1e6)),
)


class Viewer(Node):
    """Publishes ``~/markers``, ``~/workspace``, two imagined paths and ``~/overlay``.

    Raises:
        FatalNodeError: task card or checkpoint cannot be read.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NODE_NAME, **options)
        values = declare_parameters(self, PARAMETERS)
        card, contract = _task(values["task"], values["checkpoint"])
        self._camera = contract.camera
        self._frame_id = values["base_frame"] or contract.base_frame
        self._stale = values["stale_time"]
        self._overlay_period = 1.0 / values["overlay_rate"]
        self._builder = ShapeBuilder(
            contract,
            card.object.size,
            None if card.goal is None else card.goal.radius,
            values["surprise_limit"],
        )
        self._step: tuple[Step, float] | None = None
        self._belief: tuple[Believed, float] | None = None
        self._imagined = (np.zeros((0, 3)), np.zeros((0, 3)), -np.inf)
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._shown: set[str] = set()
        self._drawn = 0.0
        self._bad_image = ""
        self._markers = advertise(self, MarkerArray, "~/markers", 10)
        self._workspace = advertise(self, MarkerArray, "~/workspace", LATCHED)
        self._tool_path = advertise(self, Path, "~/imagined_tool_path", 10)
        self._object_path = advertise(self, Path, "~/imagined_object_path", 10)
        self._overlay = advertise(self, Image, "~/overlay", 2)
        policy = values["policy_node"]
        self.create_subscription(PolicyStep, f"{policy}/step", self._on_step, 10)
        self.create_subscription(Belief, f"{policy}/belief", self._on_belief, 10)
        subscribe_newest(self, Image, "image_raw", self._on_image)
        steady_timer(self, _FIXED_PERIOD, self._on_timer)
        self._publish_workspace()
        self.get_logger().info(f"ready: {card.task} in {self._frame_id}")

    def _publish_workspace(self) -> None:
        stamp = self.get_clock().now().to_msg()
        self._workspace.publish(marker_array(self._builder.fixed(), (), self._frame_id, stamp))

    def _on_timer(self) -> None:
        self._publish_markers()  # takes away what has become stale

    def _on_step(self, message: PolicyStep) -> None:
        step = Step(
            step=int(message.step),
            measured=np.array(message.measured),
            target=np.array(message.target),
            surprise=float(message.surprise),
            speed_scale=float(message.speed_scale),
            limited_by=tuple(message.limited_by),
        )
        self._step = (step, time.monotonic())
        self._publish_markers()

    def _on_belief(self, message: Belief) -> None:
        now = time.monotonic()
        imagined = (_points(message.imagined_ee_path), _points(message.imagined_object_path))
        if len(imagined[0]):
            self._imagined = (*imagined, now)
        # Imagined at a lower rate than believed: the last paths stay for a while.
        ee_path, object_path, since = self._imagined
        if now - since > self._stale:
            ee_path, object_path = imagined
        belief = Believed(
            ee=_point(message.ee_position),
            object=_point(message.object_position),
            goal=_point(message.goal_position),
            ee_path=ee_path,
            object_path=object_path,
            yaw=yaw_of(message.names, message.values),
        )
        self._belief = (belief, now)
        # Over the very image that the policy decided on: a later one shows another moment.
        image = self._images.get(_nanoseconds(message.header.stamp))
        if image is not None:
            self._draw(image)
        if len(imagined[0]):
            stamp = self.get_clock().now().to_msg()
            self._tool_path.publish(path_message(ee_path, self._frame_id, stamp))
            self._object_path.publish(path_message(object_path, self._frame_id, stamp))

    def _fresh_belief(self) -> Believed | None:
        known = self._belief
        fresh = known is not None and time.monotonic() - known[1] <= self._stale
        return known[0] if known is not None and fresh else None

    def _shapes(self) -> list[Shape]:
        """What is fresh enough to be shown."""
        shapes: list[Shape] = []
        belief = self._fresh_belief()
        if belief is not None:
            shapes += self._builder.of_belief(belief)
        if self._step is not None and time.monotonic() - self._step[1] <= self._stale:
            shapes += self._builder.of_step(self._step[0])
        return shapes

    def _publish_markers(self) -> None:
        shapes = self._shapes()
        names = {shape.name for shape in shapes}
        gone = self._shown - names
        self._shown = names
        if shapes or gone:
            stamp = self.get_clock().now().to_msg()
            self._markers.publish(marker_array(shapes, sorted(gone), self._frame_id, stamp))

    def _on_image(self, message: Image) -> None:
        if not self._overlay.get_subscription_count():
            return
        self._images[_nanoseconds(message.header.stamp)] = message
        while len(self._images) > _KEPT_IMAGES:
            self._images.popitem(last=False)
        if self._fresh_belief() is None:
            self._draw(message)

    def _draw(self, message: Image) -> None:
        """Draws what is known over an image, at most at the overlay's rate."""
        now = time.monotonic()
        # A little early is in time: decisions come at about the rate of the overlays.
        if now - self._drawn < 0.8 * self._overlay_period:
            return
        self._drawn = now
        frame = self._decoded(message)
        if frame is None:
            return
        picture = draw_overlay(frame, [*self._builder.fixed(), *self._shapes()], self._camera)
        overlay = Image(
            height=picture.shape[0],
            width=picture.shape[1],
            encoding="rgb8",
            step=picture.shape[1] * 3,
            data=array("B", picture.tobytes()),
        )
        overlay.header = message.header
        self._overlay.publish(overlay)

    def _decoded(self, message: Image) -> np.ndarray | None:
        order = _CHANNELS.get(message.encoding)
        size = (message.width, message.height)
        expected = (self._camera.width, self._camera.height)
        rows = message.height * message.step
        if order is None or size != expected or len(message.data) < rows or not rows:
            trouble = (
                f"no overlay: the camera sends {size[0]}x{size[1]} {message.encoding}, expected "
                f"{expected[0]}x{expected[1]} rgb8 or bgr8"
            )
            if trouble != self._bad_image:
                self.get_logger().warning(trouble)
            self._bad_image = trouble
            return None
        self._bad_image = ""
        data = np.frombuffer(message.data, np.uint8)[:rows].reshape(message.height, message.step)
        pixels = data[:, : message.width * 3].reshape(message.height, message.width, 3)
        return np.ascontiguousarray(pixels[..., order])


def _task(task: str, checkpoint: str) -> tuple[Any, PolicyContract]:
    try:
        card = load_task_card(task)
        contract = card.contract(observes_ee_position=False)
    except TaskCardError as error:
        raise FatalNodeError(str(error)) from error
    if checkpoint:
        path = FilePath(checkpoint).expanduser() / "manifest.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            contract = PolicyContract.from_dict(data["contract"])
        except (OSError, ValueError, KeyError, TypeError, ContractError) as error:
            raise FatalNodeError(
                f"{path} cannot be read ({error}); give the folder of an exported checkpoint"
            ) from error
        if contract.task != card.task:
            raise FatalNodeError(
                f"{checkpoint} is a checkpoint of {contract.task!r}, the viewer shows {card.task!r}"
            )
    return card, contract


def _nanoseconds(stamp: Time) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _point(point: Point) -> np.ndarray:
    return np.array([point.x, point.y, point.z])


def _points(points: list[Point]) -> np.ndarray:
    return np.array([[p.x, p.y, p.z] for p in points]).reshape(-1, 3)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the ``viewer`` executable."""
    enlarge_shared_memory()
    return run_node(NODE_NAME, Viewer, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
