"""The node ``camera_check``: does realsense2_camera really use the settings that were asked for?

    ros2 run twist_camera camera_check --ros-args -p once:=true -p settings_file:=realsense.yaml

The driver takes exposure, white balance and gain from its config file only, warns when the camera
refuses one, and shows the wanted value as its parameter all the same. So every setting is set once
more through the driver's parameter services (automatic ones off first; the driver hands each on to
the camera and reports its refusal), read back, and compared; and where the driver publishes frames'
metadata, the values that a frame was taken with are compared too. This is repeated, because
anybody may change a parameter while an evaluation runs.

The wanted settings are this node's own parameters of the driver's names, or a file. A line for each
setting says wanted and found; the process ends with code 1 if one is wrong, and with 130 or 143
when a signal ends it before it knows.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.signals import SignalHandlerOptions

from twist_camera.camera_settings import (
    EXPOSURE,
    Finding,
    SettingsError,
    Value,
    check_wanted,
    compare,
    compare_metadata,
    describe,
    in_order,
    read_settings,
)
from twist_nodes.end_signals import on_end
from twist_nodes.endpoints import advertise, subscribe_newest
from twist_nodes.parameters import ParameterError, ParameterRow, declare_parameters

_PREFIXES = ("rgb_camera.", "enable_")
_LONGEST_WAIT = 0.2
"""Seconds after which a signal is noticed at the latest."""
_SETTLE = 0.3
"""Seconds until a camera's frames show new settings."""


class DriverSilent(RuntimeError):
    """The driver does not answer; the message says what to do."""


class Stopped(Exception):
    """A signal came.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


PARAMETERS = (
    ParameterRow("driver", "/camera/camera", "full name of realsense2_camera's node"),
    ParameterRow("settings_file", "", "wanted settings; empty: this node's own parameters"),
    ParameterRow("apply", True, "set every setting once more before the first look"),
    ParameterRow("timeout", 30.0, "s until the driver answers", (0.1, 600.0)),
    ParameterRow("once", False, "look once and end, with 0 when all is as wanted"),
    ParameterRow("period", 10.0, "s between two looks", (0.5, 3600.0)),
)


class CameraCheck(Node):
    """See the module.

    Raises:
        ParameterError: a parameter is not usable.
        SettingsError: the wanted settings are incomplete.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            "camera_check", automatically_declare_parameters_from_overrides=True, **options
        )
        # Names of the driver's are wanted settings: one that it lacks is found wrong by the check.
        values = declare_parameters(self, PARAMETERS, prefixes=_PREFIXES)
        self._driver = str(values["driver"]).rstrip("/")
        self._apply, self._timeout = values["apply"], values["timeout"]
        self.once: bool = values["once"]
        """Whether one check is all."""
        self.period: float = values["period"]
        """Seconds between checks."""
        path = values["settings_file"]
        wanted = read_settings(Path(path)) if path else self._overrides()
        self._wanted = {n: v for n, v in wanted.items() if n.startswith(_PREFIXES)}
        check_wanted(self._wanted)
        self._get = self.create_client(GetParameters, f"{self._driver}/get_parameters")
        self._set = self.create_client(SetParameters, f"{self._driver}/set_parameters")
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics", 10)
        self._metadata: str | None = None
        self._signal = 0
        self._metadata_topic = ""
        self._listen_to_metadata()

    def _overrides(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for prefix in _PREFIXES:
            for name, parameter in self._parameters.items():
                if name.startswith(prefix):
                    found[name] = parameter.value
        return found

    def _listen_to_metadata(self) -> None:
        # Comes with the driver; without it the parameters alone are compared.
        try:
            from realsense2_camera_msgs.msg import Metadata
        except ImportError:
            return
        self._metadata_topic = f"{self._driver}/color/metadata"
        subscribe_newest(self, Metadata, self._metadata_topic, self._on_metadata)

    def _on_metadata(self, message: Any) -> None:
        self._metadata = str(message.json_data)

    def check(self, *, first: bool) -> list[Finding]:
        """One look at all settings.

        Args:
            first: whether they are set once more before.

        Raises:
            DriverSilent: no answer.
        """
        if first:
            self._await_camera()
        refusals = self._set_all() if first and self._apply else {}
        found = {name: self._read(name) for name in self._wanted}
        findings = [
            Finding(f.name, f.wanted, f"{f.found}, refused: {refusals[f.name]}", f.source, False)
            if f.name in refusals
            else f
            for f in compare(self._wanted, found, "the driver's parameter")
        ]
        self._await_metadata()
        if self._metadata is not None:
            findings += compare_metadata(self._wanted, self._metadata)
        return findings

    def _read(self, name: str) -> Value | None:
        """One parameter; None when the driver does not have it.

        One at a time: asked for several, a C++ node that lacks one gives none at all.
        """
        values = self._call(self._get, GetParameters.Request(names=[name])).values
        value: Value | None = parameter_value_to_python(values[0]) if len(values) == 1 else None
        return value

    def _await_camera(self) -> None:
        """The driver answers before it has found its camera; only then it has the settings."""
        end = time.monotonic() + self._timeout
        while self._read(EXPOSURE) is None and time.monotonic() < end:
            self.spin_for(_LONGEST_WAIT)

    def _await_metadata(self) -> None:
        """Waits for the metadata of a frame that was taken with the settings of now."""
        if not self._metadata_topic or self.count_publishers(self._metadata_topic) == 0:
            return
        self.spin_for(_SETTLE)
        end = time.monotonic() + 2.0
        # The first one may have waited since before the settings changed.
        for _ in range(2):
            self._metadata = None
            self.spin_for(end - time.monotonic(), lambda: self._metadata is not None)

    def _set_all(self) -> dict[str, str]:
        """Sets what may be set while running; returns refusals by name."""
        refused = {}
        for name, value in in_order(self._wanted):
            # Streams and profiles are fixed while the driver runs.
            if not name.startswith("rgb_camera.") or isinstance(value, str):
                continue
            message = Parameter(name, value=value).to_parameter_msg()
            request = SetParameters.Request(parameters=[message])
            result = self._call(self._set, request).results[0]
            if not result.successful:
                refused[name] = str(result.reason) or "no reason given"
        return refused

    def _call(self, client: Any, request: Any) -> Any:
        end = time.monotonic() + self._timeout
        while time.monotonic() < end:
            if client.service_is_ready():
                future = client.call_async(request)
                self.spin_for(min(3.0, max(0.1, end - time.monotonic())), future.done)
                if future.done():
                    return future.result()
                client.remove_pending_request(future)
            else:
                self.spin_for(_LONGEST_WAIT)
        raise DriverSilent(
            f"{self._driver} does not answer on {client.srv_name} within {self._timeout:g} s; is "
            "realsense2_camera running under this name and in this ROS_DOMAIN_ID, and has it found "
            "its camera (its log says)?"
        )

    def stop(self, number: int) -> None:
        """Makes whatever this node is waiting for end soon; for a signal's handler.

        Args:
            number: of the signal.
        """
        self._signal = number

    def spin_for(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Spins until so many seconds are over or `done` says so.

        Raises:
            Stopped: a signal came.
        """
        end = time.monotonic() + seconds
        while not done() and (rest := end - time.monotonic()) > 0:
            rclpy.spin_once(self, timeout_sec=min(rest, _LONGEST_WAIT))
            if self._signal:
                raise Stopped(self._signal)

    def report(self, findings: Sequence[Finding]) -> bool:
        """Says what was found, in the log and on /diagnostics; returns whether all is well."""
        good = all(finding.good for finding in findings)
        status = DiagnosticStatus(
            name=f"{self.get_name()}: settings",
            hardware_id=self._driver,
            level=DiagnosticStatus.OK if good else DiagnosticStatus.ERROR,
            message="as wanted" if good else "the camera does not use the settings wanted",
            values=[KeyValue(key=f.name, value=str(f)) for f in findings],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
        return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``camera_check``.

    Returns:
        0 all as wanted, also after a signal that came later than the first look; 1 not, or no
        answer; 128 + its number after a signal that came before anything was known.
    """
    node: CameraCheck | None = None
    early: list[int] = []

    def stop(number: int, _frame: object) -> None:
        early.append(number)
        if node is not None:
            node.stop(number)

    on_end(stop)
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = CameraCheck()
        if early:
            node.stop(early[0])
        return _run(node)
    except (SettingsError, DriverSilent, ParameterError) as error:
        print(f"camera_check: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def _run(node: CameraCheck) -> int:
    first = True
    while True:
        try:
            findings = node.check(first=first)
        except Stopped as stopped:
            if not first:
                return 0
            node.get_logger().warning(f"ended by {stopped} before the settings were compared")
            return 128 + stopped.number
        if not node.report(findings):
            node.get_logger().error(
                "the camera does not use the settings that were asked for:\n" + describe(findings)
            )
            return 1
        if first:
            node.get_logger().info("the camera's settings:\n" + describe(findings))
        if node.once:
            return 0
        first = False
        try:
            node.spin_for(node.period)
        except Stopped:
            return 0


if __name__ == "__main__":
    sys.exit(main())
