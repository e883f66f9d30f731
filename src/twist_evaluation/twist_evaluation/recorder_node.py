"""The recorder: writes one MCAP bag per recording, on request."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription

from twist_evaluation.bag_recording import BagRecording, RecordingSummary
from twist_evaluation.bag_writer import COMPRESSIONS, BagError, BagWriter
from twist_evaluation.message_definitions import (
    DefinitionError,
    MessageDefinition,
    message_definition,
)
from twist_evaluation.recorded_topics import (
    DEFAULT_TOPICS,
    REQUIRED_TOPICS,
    RecordedTopic,
    TopicError,
    parse_topics,
)
from twist_msgs.srv import StartRecording, StopRecording
from twist_nodes.end_signals import END_SIGNALS, on_end
from twist_nodes.endpoints import advertise, unheard
from twist_nodes.parameters import ParameterError, ParameterRow, declare_parameters
from twist_nodes.timers import steady_timer

PARAMETERS = (
    ParameterRow(
        "topics",
        list(DEFAULT_TOPICS),
        "what to record: 'NAME TYPE[|OTHER_TYPE] [best_effort|reliable|latched]' per topic",
    ),
    ParameterRow(
        "required_topics",
        list(REQUIRED_TOPICS),
        "names out of topics: a recording starts when each has a publisher; [''] for none",
    ),
    ParameterRow(
        "discovery_timeout", 5.0, "s: how long a start waits for these publishers", (0.0, 9.0)
    ),
    ParameterRow(
        "image_rate",
        5.0,
        "Hz: most sensor_msgs/msg/Image messages recorded of a topic; 0 records every one",
        (0.0, 1000.0),
    ),
    ParameterRow("compression", "zstd", f"of the bag's chunks: {', '.join(COMPRESSIONS)}"),
    ParameterRow("queue_megabytes", 64, "MiB that may wait for the disk before drops", (1, 4096)),
    ParameterRow(
        "minimum_free_megabytes",
        256,
        "MiB: no recording starts or goes on with less free on the disk",
        (0, 1_000_000),
    ),
    ParameterRow(
        "maximum_duration",
        600.0,
        "s: a recording that nobody stopped is closed after this time",
        (1.0, 86400.0),
    ),
)

_TICKS_OF_DISCOVERY = 3
"""Seconds after which a publisher that is not heard is one that does not fit."""
_IMAGE_TYPE = "sensor_msgs/msg/Image"


class Recorder(Node):
    """Node with the services ``~/start_recording`` and ``~/stop_recording``.

    Messages are taken as raw bytes and never decoded. A recording that ends early (disk full) is
    closed so that it stays readable; the fault stays in the diagnostics until a recording is
    started again.

    Args:
        open_writer: creates the bag; replaced in tests.
        arguments: passed to the node, e.g. ``parameter_overrides``.

    Raises:
        ParameterError: a parameter is not usable.
        TopicError: the ``topics`` parameter is wrong.
        DefinitionError: a message type's definition is not installed.
    """

    def __init__(
        self, *, open_writer: Callable[..., BagWriter] = BagWriter, **arguments: Any
    ) -> None:
        super().__init__("recorder", **arguments)
        self._parameters = declare_parameters(self, PARAMETERS)
        self._open_writer = open_writer
        self._recording: BagRecording | None = None
        self._folder = Path()
        self._deadline = 0.0
        self._fault = ""
        self._warning = ""
        self._lock = threading.Lock()
        self._definitions: dict[str, MessageDefinition] = {}
        self._latched: dict[str, tuple[bytes, int, int]] = {}
        self._required: dict[str, Subscription] = {}
        self._ticks_unheard: dict[Subscription, int] = {}
        self._last_image: dict[str, int] = {}
        rate = self._parameters["image_rate"]
        self._image_interval = int(0.9e9 / rate) if rate > 0 else 0
        topics = parse_topics(self._parameters["topics"])
        required = [name for name in self._parameters["required_topics"] if name]
        if unknown := set(required) - {topic.name for topic in topics}:
            raise TopicError(f"required_topics: {', '.join(sorted(unknown))} is not in topics")
        for topic in topics:
            subscription = self._subscribe(topic)
            self._ticks_unheard[subscription] = 0
            if topic.name in required:
                self._required[subscription.topic_name] = subscription
        self.create_service(StartRecording, "~/start_recording", self._start)
        self.create_service(StopRecording, "~/stop_recording", self._stop)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics", 10)
        steady_timer(self, 1.0, self._tick)

    def _subscribe(self, topic: RecordedTopic) -> Subscription:
        image = topic.type_name == _IMAGE_TYPE
        profile = QoSProfile(
            depth=5 if image else 100,
            reliability=ReliabilityPolicy.BEST_EFFORT
            if topic.reliability == "best_effort"
            else ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if topic.reliability == "latched"
            else DurabilityPolicy.VOLATILE,
        )
        name = self.resolve_topic_name(topic.name)
        self._definitions[name] = message_definition(topic.type_name)
        latched = topic.reliability == "latched"

        def record(data: bytes, information: dict[str, Any]) -> None:
            self._record(name, data, information, image=image, latched=latched)

        return self.create_subscription(
            topic.message_type,
            topic.name,
            record,
            profile,
            # See twist_nodes.endpoints; what is not heard is told by `_tell_what_is_not_heard`.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            raw=True,
        )

    def _record(
        self, topic: str, data: bytes, information: dict[str, Any], *, image: bool, latched: bool
    ) -> None:
        recording = self._recording
        if recording is None and not latched:
            return
        received = int(information.get("received_timestamp") or 0)
        if not received or self.get_clock().ros_time_is_active:
            received = self.get_clock().now().nanoseconds
        published = int(information.get("source_timestamp") or 0) or received
        if latched:
            self._latched[topic] = (data, received, published)
        if recording is None:
            return
        if image and self._image_interval:
            if received - self._last_image.get(topic, 0) < self._image_interval:
                return
            self._last_image[topic] = received
        recording.put(topic, data, received, published)

    def _start(
        self, request: StartRecording.Request, response: StartRecording.Response
    ) -> StartRecording.Response:
        response.success, response.message = False, ""
        if len(request.keys) != len(request.values):
            response.message = (
                f"{len(request.keys)} keys but {len(request.values)} values; send one value per key"
            )
        elif not request.path:
            response.message = "path is empty; name the folder to create"
        elif self._recording is not None and not self._recording.fault:
            response.message = (
                f"{self._folder} is being recorded; call {self.get_name()}/stop_recording first"
            )
        else:
            if self._recording is not None:
                with contextlib.suppress(TimeoutError):  # its disk hangs; its fault is told already
                    self._close({})
            custom_data = dict(zip(request.keys, request.values, strict=True))
            response.message = self._open(Path(request.path).expanduser().absolute(), custom_data)
            response.success = not response.message
        if response.success:
            self.get_logger().info(f"recording {self._folder}")
        else:
            self.get_logger().error(f"not recording: {response.message}")
        return response

    def _open(self, folder: Path, custom_data: dict[str, str]) -> str:
        """Starts a recording; returns why it could not, else an empty text."""
        minimum = self._parameters["minimum_free_megabytes"] * 2**20
        if missing := self._await_publishers():
            return (
                f"nobody publishes {', '.join(missing)} (waited "
                f"{self._parameters['discovery_timeout']:g} s). Start the node that does, remap "
                "the topic, or take it out of required_topics"
            )
        try:
            free = _free_bytes(folder)
            if free < minimum:
                self._fault = (
                    f"only {free / 2**20:.0f} MiB are free for {folder}, minimum_free_megabytes is "
                    f"{self._parameters['minimum_free_megabytes']}. Free space, or record to "
                    "another disk"
                )
                self._publish_diagnostics()
                return self._fault
            custom_data["image_rate"] = f"{self._parameters['image_rate']:g}"
            writer = self._open_writer(
                folder, custom_data, compression=self._parameters["compression"]
            )
            for topic, definition in self._definitions.items():
                writer.add_topic(topic, definition)
        except (BagError, OSError) as error:
            return str(error)
        self._folder = folder
        self._fault = self._warning = ""
        self._deadline = time.monotonic() + self._parameters["maximum_duration"]
        self._last_image.clear()
        recording = BagRecording(
            writer,
            queue_bytes=self._parameters["queue_megabytes"] * 2**20,
            minimum_free_bytes=minimum,
            on_fault=self._latch_fault,
        )
        for topic, (data, received, published) in self._latched.items():
            recording.put(topic, data, received, published)
        self._recording = recording
        return ""

    def _await_publishers(self) -> list[str]:
        """Waits until every required topic has a publisher; returns those without one."""
        deadline = time.monotonic() + self._parameters["discovery_timeout"]
        while True:
            missing = [n for n, s in self._required.items() if not s.get_publisher_count()]
            if not missing or time.monotonic() >= deadline:
                return missing
            time.sleep(0.02)  # discovery has no event in rclpy

    def _stop(
        self, request: StopRecording.Request, response: StopRecording.Response
    ) -> StopRecording.Response:
        response.success = False
        if len(request.keys) != len(request.values):
            response.message = (
                f"{len(request.keys)} keys but {len(request.values)} values; send one value per key"
            )
            return response
        if self._recording is None:
            response.message = self._fault or (
                f"nothing is being recorded; call {self.get_name()}/start_recording first"
            )
            return response
        try:
            summary = self._close(dict(zip(request.keys, request.values, strict=True)))
        except TimeoutError as error:
            response.message = str(error)
            self._latch_fault(response.message)
            return response
        response.success = not summary.fault
        response.path = str(summary.bag.folder)
        response.messages = summary.bag.messages
        response.message = summary.fault or self._warning
        return response

    def _close(self, custom_data: dict[str, str]) -> RecordingSummary:
        recording, self._recording = self._recording, None
        assert recording is not None
        summary = recording.stop(custom_data)
        bag = summary.bag
        self.get_logger().info(
            f"closed {bag.folder}: {bag.messages} messages, {bag.size / 2**20:.1f} MiB"
        )
        if summary.dropped:
            topics = ", ".join(f"{name}: {count}" for name, count in summary.dropped.items())
            self._warning = f"{sum(summary.dropped.values())} messages were dropped ({topics})"
            self.get_logger().warning(self._warning)
        return summary

    def close(self, reason: str) -> None:
        """Closes an open recording properly, e.g. because the process ends."""
        if self._recording is not None:
            with contextlib.suppress(TimeoutError):
                self._close({"outcome": "aborted", "reason": reason})

    def _tick(self) -> None:
        if self._recording is not None and time.monotonic() > self._deadline:
            limit = self._parameters["maximum_duration"]
            reason = f"nobody stopped the recording within {limit:g} s (maximum_duration)"
            self.close(reason)
            self._latch_fault(reason)
        self._tell_what_is_not_heard()
        self._publish_diagnostics()

    def _tell_what_is_not_heard(self) -> None:
        for subscription, before in self._ticks_unheard.items():
            ticks = before + 1 if unheard(self, subscription) else 0
            self._ticks_unheard[subscription] = ticks
            if ticks == _TICKS_OF_DISCOVERY:
                self.get_logger().warning(
                    f"a publisher of {subscription.topic_name} is not recorded: its type or its "
                    "quality of service does not fit the line in topics; compare "
                    f"`ros2 topic info --verbose {subscription.topic_name}`"
                )

    def _not_recorded(self) -> list[str]:
        return [
            subscription.topic_name
            for subscription, ticks in self._ticks_unheard.items()
            if ticks >= _TICKS_OF_DISCOVERY
        ]

    def _latch_fault(self, fault: str) -> None:
        """Called from the writing thread, too; publishing is thread-safe."""
        self._fault = fault
        self.get_logger().error(fault)
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        with self._lock:
            recording = self._recording
            dropped = recording.dropped if recording else 0
            status = DiagnosticStatus(name=f"{self.get_name()}: recording", hardware_id="")
            if self._fault:
                status.level, status.message = DiagnosticStatus.ERROR, self._fault
            elif dropped or self._warning:
                status.level = DiagnosticStatus.WARN
                status.message = self._warning or f"{dropped} messages dropped: the disk is slow"
            elif not_recorded := self._not_recorded():
                status.level = DiagnosticStatus.WARN
                status.message = f"publishers that do not fit: {', '.join(not_recorded)}"
            else:
                status.level = DiagnosticStatus.OK
                status.message = f"recording {self._folder}" if recording else "idle"
            status.values = [KeyValue(key="dropped", value=str(dropped))]
            message = DiagnosticArray(status=[status])
            message.header.stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(message)


def _free_bytes(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    status = os.statvfs(existing)
    return status.f_bavail * status.f_frsize


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``recorder``; a signal closes the bag before the process ends."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        recorder = Recorder()
    except (ParameterError, TopicError, DefinitionError) as error:
        print(f"recorder: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    stopped: list[int] = []

    def request_stop(number: int, _: object) -> None:
        stopped.append(number)
        executor.wake()

    on_end(request_stop)
    try:
        while not stopped:
            executor.spin_once(timeout_sec=1.0)
    except ExternalShutdownException:
        pass
    finally:
        for number in END_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the bag is being closed; that is quick
        recorder.close("the recorder was stopped")
        executor.shutdown()
        recorder.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
