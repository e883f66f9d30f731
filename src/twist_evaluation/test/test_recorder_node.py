"""The recorder over real middleware, in this process."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rosbags.highlevel import AnyReader

from twist_evaluation.bag_writer import BagWriter, read_metadata

pytestmark = pytest.mark.realtime
rclpy = pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs.msg")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402

from twist_evaluation.recorded_topics import DEFAULT_TOPICS, TopicError, parse_topics  # noqa: E402
from twist_evaluation.recorder_node import Recorder, main  # noqa: E402
from twist_msgs.msg import Trial  # noqa: E402
from twist_msgs.srv import StartRecording, StopRecording  # noqa: E402

TOPICS = [
    "joint_states sensor_msgs/msg/JointState reliable",
    "image sensor_msgs/msg/Image best_effort",
    "trial twist_msgs/msg/Trial latched",
]


class Graph:
    """A recorder with its clients and publishers."""

    def __init__(self, context: Context, **options: Any) -> None:
        parameters = {"topics": TOPICS, "minimum_free_megabytes": 1, "image_rate": 10.0}
        parameters["required_topics"] = ["image"]
        parameters.update(options.pop("parameters", {}))
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.recorder = Recorder(context=context, parameter_overrides=overrides, **options)
        self.node = Node("client", context=context)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.joints = self.node.create_publisher(JointState, "joint_states", 100)
        self.images = self.node.create_publisher(Image, "image", 100)
        self.trials = self.node.create_publisher(Trial, "trial", latched)
        self.start_client = self.node.create_client(StartRecording, "recorder/start_recording")
        self.stop_client = self.node.create_client(StopRecording, "recorder/stop_recording")
        self.statuses: list[DiagnosticStatus] = []
        self.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda m: self.statuses.extend(m.status), 10
        )
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.recorder)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()
        self.wait(lambda: all(p.get_subscription_count() for p in (self.joints, self.images)))

    def wait(self, condition: Callable[[], Any], timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "the awaited event did not come"
            time.sleep(0.005)

    def call(self, client: Any, request: Any) -> Any:
        assert client.wait_for_service(20)
        future = client.call_async(request)
        self.wait(future.done)
        return future.result()

    def start(self, folder: Path, **custom: str) -> Any:
        request = StartRecording.Request(
            path=str(folder), keys=list(custom), values=list(custom.values())
        )
        return self.call(self.start_client, request)

    def stop(self, **custom: str) -> Any:
        request = StopRecording.Request(keys=list(custom), values=list(custom.values()))
        return self.call(self.stop_client, request)

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join(5)
        self.recorder.close("the test ended")
        self.recorder.destroy_node()
        self.node.destroy_node()


@pytest.fixture
def make_graph(ros_domain_id: int) -> Iterator[Callable[..., Graph]]:
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    graphs: list[Graph] = []

    def make(**options: Any) -> Graph:
        graphs.append(Graph(context, **options))
        return graphs[-1]

    yield make
    for graph in graphs:
        graph.close()
    rclpy.shutdown(context=context)


def _joints(index: int) -> JointState:
    return JointState(name=["panda_joint1"], position=[float(index)])


def _recorded(bag: Path, topic: str) -> list[bytes]:
    with AnyReader([bag]) as reader:
        return [bytes(data) for c, _, data in reader.messages() if c.topic == topic]


def test_recorded_bytes_are_the_published_ones_and_custom_data_is_kept(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph()
    assert graph.start(tmp_path / "bag", task="block_push", trial="4").success
    # Serialised here once: the padding in a message is whatever the memory held.
    sent = [serialize_message(_joints(index)) for index in range(20)]
    for message in sent:
        graph.joints.publish(message)
        time.sleep(0.002)
    recording = graph.recorder._recording
    assert recording is not None
    graph.wait(lambda: recording._writer.summary().messages >= len(sent))

    answer = graph.stop(outcome="success", steps="20")

    assert answer.success, answer.message
    assert answer.path == str(tmp_path / "bag")
    assert answer.messages == len(sent)
    assert _recorded(tmp_path / "bag", "/joint_states") == sent
    custom = read_metadata(tmp_path / "bag")["custom_data"]
    assert custom.items() >= {"task": "block_push", "trial": "4", "outcome": "success"}.items()
    assert custom["dropped"] == "0"


def test_images_are_thinned_to_the_rate_and_nothing_else_is(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph()
    graph.start(tmp_path / "bag")
    for index in range(30):
        graph.images.publish(Image(height=1, width=1, encoding="rgb8", step=3, data=[1, 2, 3]))
        graph.joints.publish(_joints(index))
        time.sleep(1 / 30)

    graph.stop()

    # One second of images at 30 Hz, thinned to 10 Hz; timer jitter may shift one or two.
    assert 7 <= len(_recorded(tmp_path / "bag", "/image")) <= 12
    assert len(_recorded(tmp_path / "bag", "/joint_states")) >= 28


def test_latched_message_from_before_the_recording_is_in_every_bag(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph()
    graph.trials.publish(Trial(trial=3))
    graph.wait(lambda: graph.recorder._latched)
    for name in ("first", "second"):
        graph.start(tmp_path / name)
        graph.stop()
        assert _recorded(tmp_path / name, "/trial") == [serialize_message(Trial(trial=3))]


def test_one_recording_at_a_time_and_none_without_a_start(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph()
    assert "start_recording first" in graph.stop().message
    assert graph.start(tmp_path / "bag").success
    refused = graph.start(tmp_path / "other")
    assert not refused.success
    assert "stop_recording first" in refused.message
    assert graph.stop().success
    existing = graph.start(tmp_path / "bag")
    assert not existing.success
    assert "exists already" in existing.message


def test_recording_without_a_required_publisher_is_refused_and_named(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph(
        parameters={
            "topics": [*TOPICS, "camera sensor_msgs/msg/Image"],
            "required_topics": ["camera"],
            "discovery_timeout": 0.1,
        }
    )

    answer = graph.start(tmp_path / "bag")

    assert not answer.success
    assert "nobody publishes /camera" in answer.message
    assert not (tmp_path / "bag").exists()


def test_too_little_space_refuses_the_recording_and_says_so(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph(parameters={"minimum_free_megabytes": 1_000_000})

    answer = graph.start(tmp_path / "bag")

    assert not answer.success
    assert "MiB are free" in answer.message
    assert not (tmp_path / "bag").exists()
    graph.wait(lambda: any(s.level == DiagnosticStatus.ERROR for s in graph.statuses))


def test_disk_full_closes_the_bag_latches_an_error_and_the_next_recording_clears_it(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    class FullDisk(BagWriter):
        def write(self, topic: str, data: bytes, log_time: int, publish_time: int) -> None:
            if self.folder.name == "full" and self.summary().messages >= 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(topic, data, log_time, publish_time)

    graph = make_graph(open_writer=FullDisk)
    graph.start(tmp_path / "full")
    for index in range(8):
        graph.joints.publish(_joints(index))
        time.sleep(0.005)
    errors = lambda: [s for s in graph.statuses if s.level == DiagnosticStatus.ERROR]  # noqa: E731
    graph.wait(errors)

    assert "disk full while recording" in errors()[0].message
    assert errors()[0].name == "recorder: recording"
    answer = graph.stop(outcome="aborted")
    assert not answer.success
    assert "disk full" in answer.message
    assert len(_recorded(tmp_path / "full", "/joint_states")) == 5
    assert read_metadata(tmp_path / "full")["custom_data"]["outcome"] == "aborted"

    assert graph.start(tmp_path / "next").success
    graph.statuses.clear()
    graph.wait(lambda: graph.statuses)
    assert graph.statuses[-1].level == DiagnosticStatus.OK
    assert graph.stop().success


def test_a_failed_recording_whose_disk_hangs_does_not_end_the_recorder(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    class Hanging:
        fault = "disk full while recording"
        dropped = 0

        def stop(self, custom_data: dict[str, str]) -> None:
            raise TimeoutError("the disk did not take the last 9 bytes")

    graph = make_graph()
    graph.recorder._recording = Hanging()  # type: ignore[assignment]

    assert graph.start(tmp_path / "next").success
    assert graph.stop().success


def test_recording_that_nobody_stops_is_closed(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph(parameters={"maximum_duration": 1.0})
    graph.start(tmp_path / "bag")

    graph.wait(lambda: (tmp_path / "bag" / "metadata.yaml").exists())

    assert "maximum_duration" in read_metadata(tmp_path / "bag")["custom_data"]["reason"]


def test_a_publisher_that_cannot_be_recorded_is_named(make_graph: Callable[..., Graph]) -> None:
    graph = make_graph()
    wrong = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    graph.node.create_publisher(JointState, "joint_states", wrong)

    def warned() -> bool:
        return any(
            status.level == DiagnosticStatus.WARN and status.message.endswith("fit: /joint_states")
            for status in graph.statuses
        )

    graph.wait(warned)


def test_default_topics_are_valid_here() -> None:
    topics = parse_topics(DEFAULT_TOPICS)
    assert len({topic.name for topic in topics}) == len(DEFAULT_TOPICS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("joint_states", "is not 'NAME TYPE"),
        ("joint_states sensor_msgs/JointState", "package/msg/Name"),
        ("joint_states juggling_msgs/msg/Ball", "Install its package"),
        ("joint_states sensor_msgs/msg/JointState often", "'often'"),
    ],
)
def test_wrong_topic_lines_are_named(line: str, expected: str) -> None:
    with pytest.raises(TopicError, match=expected):
        parse_topics([line])


def test_topic_listed_twice_is_refused() -> None:
    with pytest.raises(TopicError, match="twice"):
        parse_topics(["a sensor_msgs/msg/Image", "a sensor_msgs/msg/Image"])


def test_a_wrong_parameter_ends_the_process_with_2_and_the_reason(
    ros_domain_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ros-args", "-p", "queue_megabytes:=0"]) == 2
    assert "recorder: parameter queue_megabytes is refused" in capsys.readouterr().err
