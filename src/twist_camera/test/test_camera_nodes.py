"""The nodes: our camera, the check of the driver's settings, and the reference view's service."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from fake_pyrealsense2 import Library
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from twist_camera.camera_settings import (
    SettingsError,
    check_wanted,
    compare_metadata,
    parse_profile,
    read_settings,
)
from twist_camera.reference_view import make_reference
from twist_camera.ros import pyrealsense_camera
from twist_camera.ros.camera_check import CameraCheck, DriverSilent
from twist_camera.ros.camera_reference import CameraReference
from twist_camera.ros.pyrealsense_camera import PyrealsenseCamera
from twist_camera.session import SessionError

WANTED: dict[str, Any] = {
    "enable_color": True,
    "rgb_camera.color_profile": "640x480x30",
    "rgb_camera.enable_auto_exposure": False,
    "rgb_camera.exposure": 156,
    "rgb_camera.gain": 64,
    "rgb_camera.enable_auto_white_balance": False,
    "rgb_camera.white_balance": 4600.0,
}
SETTINGS = Path(__file__).resolve().parents[2] / "twist_bringup" / "config" / "realsense.yaml"


class Graph:
    """Nodes of one test, spun in a thread of their own."""

    def __init__(self, context: rclpy.Context | None = None) -> None:
        rclpy.init(context=context)  # in the domain of the test
        self.context = context
        self.executor = SingleThreadedExecutor(context=context)
        self.nodes: list[Node] = []
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join(5.0)
        for node in self.nodes:
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def graph(ros_domain_id: int) -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.close()


def wait_for(condition: Callable[[], object], timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "what was awaited did not happen"
        time.sleep(0.02)


def overrides(values: dict[str, Any]) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


class FakeDriver(Node):
    """realsense2_camera's parameters; `set_to` is what becomes of a setting that is set."""

    def __init__(self, start: dict[str, Any], set_to: Callable[[Parameter], Any]) -> None:
        super().__init__("camera", namespace="/camera")
        for name, value in start.items():
            self.declare_parameter(name, value)
        self.order: list[str] = []
        self._set_to = set_to
        self.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        self.order += [parameter.name for parameter in parameters]
        try:
            for parameter in parameters:
                self._set_to(parameter)
        except RuntimeError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def check_of(**values: Any) -> CameraCheck:
    return CameraCheck(parameter_overrides=overrides(WANTED | {"timeout": 10.0} | values))


def test_settings_of_the_driver_are_set_again_read_back_and_reported(graph: Graph) -> None:
    driver = graph.add(FakeDriver(WANTED | {"rgb_camera.exposure": 300}, lambda _: None))
    check = check_of()
    try:
        findings = check.check(first=True)
        assert check.report(findings)
        assert {f.name for f in findings} == set(WANTED)
        assert all(finding.good for finding in findings)
        # What would override the others is switched off before; the profile is not touched.
        assert driver.order[:2] == [  # type: ignore[attr-defined]
            "rgb_camera.enable_auto_exposure",
            "rgb_camera.enable_auto_white_balance",
        ]
        assert "rgb_camera.color_profile" not in driver.order  # type: ignore[attr-defined]
        # Somebody changes one while an evaluation runs.
        driver.set_parameters(overrides({"rgb_camera.gain": 90}))
        wrong = [str(f) for f in check.check(first=False) if not f.good]
        assert wrong == ["WRONG rgb_camera.gain: wanted 64, found 90 (the driver's parameter)"]
    finally:
        check.destroy_node()


def test_a_setting_that_the_camera_refuses_is_wrong_whatever_the_parameter_says(
    graph: Graph,
) -> None:
    def refuse(parameter: Parameter) -> None:
        if parameter.name == "rgb_camera.white_balance":
            raise RuntimeError("set_xu(...) failed")

    graph.add(FakeDriver(dict(WANTED), refuse))
    check = check_of()
    try:
        wrong = [finding for finding in check.check(first=True) if not finding.good]
        assert [finding.name for finding in wrong] == ["rgb_camera.white_balance"]
        assert "refused: set_xu(...) failed" in str(wrong[0])
        assert not check.report(wrong)
    finally:
        check.destroy_node()


def test_a_driver_that_never_finds_its_camera_has_none_of_the_settings(graph: Graph) -> None:
    graph.add(FakeDriver({"enable_color": True}, lambda _: None))
    check = check_of(timeout=1.0)
    try:
        wrong = {f.name: f.found for f in check.check(first=True) if not f.good}
        assert wrong.keys() == WANTED.keys() - {"enable_color"}
        assert "refused" in str(wrong["rgb_camera.exposure"])
        assert wrong["rgb_camera.color_profile"] is None
    finally:
        check.destroy_node()


def test_without_a_driver_the_check_says_what_to_look_at(graph: Graph) -> None:
    check = check_of(timeout=0.5)
    try:
        with pytest.raises(DriverSilent, match="/camera/camera does not answer"):
            check.check(first=True)
    finally:
        check.destroy_node()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_check_that_is_told_to_stop_while_it_waits_says_that_it_knows_nothing(
    ros_domain_id: int, number: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "twist_camera.ros.camera_check", "--ros-args"]
    command += ["-p", f"settings_file:={SETTINGS}"]
    errors = tmp_path / "stderr"
    with errors.open("w") as file, subprocess.Popen(command, stderr=file) as process:
        observer = rclpy.Context()
        rclpy.init(context=observer)
        watcher = Node("watcher", context=observer)
        try:
            wait_for(lambda: "camera_check" in watcher.get_node_names())
        finally:
            watcher.destroy_node()
            rclpy.try_shutdown(context=observer)
        process.send_signal(number)
        assert process.wait(10.0) == 128 + number  # 1 is: the settings are wrong
    text = errors.read_text()
    assert f"ended by {number.name} before the settings were compared" in text
    assert "Traceback" not in text


def test_a_frames_metadata_tell_what_a_parameter_hides() -> None:
    taken = '{"frame_number":7,"actual_exposure":156,"gain_level":64,"auto_exposure":0}'
    assert all(f.good for f in compare_metadata(WANTED, taken))
    microseconds = compare_metadata(WANTED, '{"actual_exposure":15600}')
    assert [f.good for f in microseconds] == [True]
    automatic = compare_metadata(WANTED, '{"actual_exposure":312,"auto_exposure":1}')
    assert [(f.name, f.found) for f in automatic if not f.good] == [
        ("rgb_camera.enable_auto_exposure", True),
        ("rgb_camera.exposure", 312),
    ]
    assert compare_metadata(WANTED, '{"frame_number":7}') == []
    with pytest.raises(SettingsError, match="unreadable"):
        compare_metadata(WANTED, "[1")


def test_the_shipped_settings_fix_the_picture_and_what_does_not_is_refused(tmp_path: Path) -> None:
    shipped = read_settings(SETTINGS)
    check_wanted(shipped)
    assert shipped["rgb_camera.color_profile"] == "640x480x30"
    # The driver declares exposure and gain as whole numbers, white balance as a double, and
    # ignores a parameter of another type.
    assert [type(shipped[f"rgb_camera.{name}"]) for name in ("exposure", "gain")] == [int, int]
    assert type(shipped["rgb_camera.white_balance"]) is float
    with pytest.raises(SettingsError, match=r"lack rgb_camera\.gain"):
        check_wanted({name: value for name, value in WANTED.items() if "gain" not in name})
    with pytest.raises(SettingsError, match=r"enable_auto_exposure must be false"):
        check_wanted(WANTED | {"rgb_camera.enable_auto_exposure": True})
    (tmp_path / "nested.yaml").write_text("/**: {ros__parameters: {rgb_camera.gain: 64}}")
    assert read_settings(tmp_path / "nested.yaml") == {"rgb_camera.gain": 64}
    for text in ("[1]", "a: b: c", "rgb_camera.gain: [1]"):
        (tmp_path / "wrong.yaml").write_text(text)
        with pytest.raises(SettingsError, match=r"wrong\.yaml"):
            read_settings(tmp_path / "wrong.yaml")
    assert parse_profile("1280,720,15") == (1280, 720, 15)
    for text in ("640x480", "640x480x0", "big"):
        with pytest.raises(SettingsError, match="must be like 640x480x30"):
            parse_profile(text)


def test_our_camera_takes_the_drivers_place_and_parameters(graph: Graph) -> None:
    library = Library(size=(64, 48))
    camera = PyrealsenseCamera(
        library,
        namespace="/camera",
        parameter_overrides=overrides(WANTED | {"rgb_camera.color_profile": "64x48x30"}),
    )
    graph.add(camera)
    peer = graph.add(Node("peer"))
    images: list[Image] = []
    infos: list[CameraInfo] = []
    topic = "/camera/camera/color/"
    peer.create_subscription(Image, f"{topic}image_raw", images.append, qos_profile_sensor_data)
    peer.create_subscription(CameraInfo, f"{topic}camera_info", infos.append, 10)
    runner = threading.Thread(target=camera.loop.run)
    # A best-effort subscriber of another process fits too; this reliable one does not.
    infos_best: list[CameraInfo] = []
    peer.create_subscription(
        CameraInfo, f"{topic}camera_info", infos_best.append, qos_profile_sensor_data
    )
    runner.start()
    try:
        wait_for(lambda: len(images) >= 3 and len(infos_best) >= 3)
    finally:
        camera.loop.stop()
        runner.join(5.0)
    image, info = images[-1], infos_best[-1]
    assert (image.width, image.height, image.encoding, image.step) == (64, 48, "rgb8", 192)
    assert len(image.data) == 48 * 192
    assert image.header.frame_id == "camera_color_optical_frame"
    assert abs(image.header.stamp.sec - time.time()) < 30
    assert (info.width, info.k[0], info.k[4], info.k[2]) == (64, 61.0, 61.5, 32.0)
    assert library.rgb.values["exposure"] == 156.0


def test_our_camera_without_its_library_or_with_automatic_exposure_ends_with_the_reason(
    ros_domain_id: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    assert pyrealsense_camera.main([]) == 1
    assert "pip install pyrealsense2" in capsys.readouterr().err
    for switch in ("rgb_camera.enable_auto_exposure", "enable_depth"):
        assert pyrealsense_camera.main(["--ros-args", "-p", f"{switch}:=true"]) == 1
        assert f"{switch} must be false" in capsys.readouterr().err


class Camera(Node):
    """Publishes one picture again and again."""

    def __init__(self, picture: Any, context: rclpy.Context) -> None:
        super().__init__("pictures", context=context)
        self.picture = picture
        self._images = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self.create_timer(0.02, self._send)

    def _send(self) -> None:
        height, width = self.picture.shape[:2]
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.header.stamp = self.get_clock().now().to_msg()
        message.data = self.picture.tobytes()
        self._images.publish(message)


def test_the_reference_service_answers_by_what_the_camera_sees(
    graph: Graph, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
    picture = np.kron(coarse, np.ones((10, 10, 1), np.uint8))
    points = np.array([[160.0, 120.0]])
    path = tmp_path / "reference.png"
    make_reference([picture], points, datetime(2026, 1, 1)).save(path)
    values = {"reference": str(path), "frames": 3, "timeout": 10.0}
    with pytest.raises(SessionError, match=r"ends in \.png"):
        CameraReference(parameter_overrides=overrides(values | {"output": str(tmp_path / "both")}))
    graph.add(CameraReference(parameter_overrides=overrides(values)))
    # The service keeps its node busy: camera and caller are spun by another thread.
    lab = Graph(rclpy.Context())
    try:
        peer = lab.add(Node("peer", context=lab.context))
        client = peer.create_client(Trigger, "camera_reference/check")
        wait_for(client.service_is_ready)

        def check() -> Trigger.Response:
            future = client.call_async(Trigger.Request())
            wait_for(future.done, 40.0)
            return future.result()

        assert "0 of 3 fresh pictures on /image_raw" in check().message
        camera: Any = lab.add(Camera(picture, lab.context))
        assert check().success
        camera.picture = np.roll(picture, 6, axis=1)
        answer = check()
        assert not answer.success
        assert "6.0 pixels (limit 3)" in answer.message
        assert (tmp_path / "reference_check.png").is_file()
        camera.picture = np.zeros_like(picture)
        assert not check().success
    finally:
        lab.close()
