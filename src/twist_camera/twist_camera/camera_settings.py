"""A camera's settings: what is wanted, what is there, and whether they are the same.

Names and types are those of realsense2_camera's parameters, which come from librealsense's names of
the options of the "RGB Camera": whole numbers where an option's step is 1 (exposure, in units of
0.1 ms; gain), doubles elsewhere (white balance, kelvin).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Value = bool | int | float | str

AUTO_EXPOSURE = "rgb_camera.enable_auto_exposure"
AUTO_WHITE_BALANCE = "rgb_camera.enable_auto_white_balance"
EXPOSURE = "rgb_camera.exposure"
GAIN = "rgb_camera.gain"
WHITE_BALANCE = "rgb_camera.white_balance"
PROFILE = "rgb_camera.color_profile"

NEEDED = (AUTO_EXPOSURE, EXPOSURE, GAIN, AUTO_WHITE_BALANCE, WHITE_BALANCE, PROFILE)
"""Without a fixed value of each of these a camera changes its picture by itself."""
_SWITCHES_FIRST = (AUTO_EXPOSURE, AUTO_WHITE_BALANCE)
_METADATA = {
    AUTO_EXPOSURE: "auto_exposure",
    EXPOSURE: "actual_exposure",
    GAIN: "gain_level",
    WHITE_BALANCE: "manual_white_balance",
}
"""Settings to the names that realsense2_camera's metadata topic gives them."""


class SettingsError(ValueError):
    """Settings are missing or contradict each other; the message says what to write."""


@dataclass(frozen=True)
class Finding:
    """One setting.

    Attributes:
        name: of the driver's parameter.
        wanted: value asked for.
        found: value there is; None when the driver does not have it.
        source: who said so.
        good: whether they are the same.
    """

    name: str
    wanted: Value
    found: Value | None
    source: str
    good: bool

    def __str__(self) -> str:
        found = "none" if self.found is None else f"{self.found}"
        mark = "ok" if self.good else "WRONG"
        return f"{mark:5} {self.name}: wanted {self.wanted}, found {found} ({self.source})"


def read_settings(path: Path) -> dict[str, Value]:
    """The driver's parameters from its config file: a mapping, or a ROS parameter file.

    Raises:
        SettingsError: not readable, or no mapping of names to plain values.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read the camera's settings {path}: {error}") from error
    while isinstance(data, dict) and len(data) == 1 and isinstance(next(iter(data.values())), dict):
        data = next(iter(data.values()))  # <node>: {ros__parameters: {...}}
    if not isinstance(data, dict) or not all(
        isinstance(name, str) and isinstance(value, bool | int | float | str)
        for name, value in data.items()
    ):
        raise SettingsError(f"{path} must hold `name: value` lines, such as {EXPOSURE}: 156")
    return data


def check_wanted(wanted: Mapping[str, Value]) -> None:
    """Checks that the picture is fixed.

    Raises:
        SettingsError: a setting is missing, or something automatic is on.
    """
    missing = [name for name in NEEDED if name not in wanted]
    if missing:
        raise SettingsError(
            f"the camera's settings lack {', '.join(missing)}; without them it changes its picture "
            "by itself. They only work in the driver's config file, not as launch arguments"
        )
    automatic = [name for name in _SWITCHES_FIRST if wanted[name] is not False]
    if automatic:
        raise SettingsError(
            f"{', '.join(automatic)} must be false: a policy needs a picture of fixed exposure and "
            "white balance"
        )


def in_order(wanted: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Settings in the order in which they can be set: first what would override the others."""
    return sorted(wanted.items(), key=lambda item: item[0] not in _SWITCHES_FIRST)


def same(wanted: Value, found: Value | None) -> bool:
    """Whether a setting has the value wanted; numbers of either type, profiles in either style."""
    if found is None or isinstance(wanted, bool) is not isinstance(found, bool):
        return False
    if isinstance(wanted, str) or isinstance(found, str):
        plain = [str(v).lower().replace(",", "x").replace(" ", "") for v in (wanted, found)]
        return plain[0] == plain[1]
    return abs(float(wanted) - float(found)) < 1e-3 * max(1.0, abs(float(wanted)))


def compare(
    wanted: Mapping[str, Value], found: Mapping[str, Value | None], source: str
) -> list[Finding]:
    """One finding per wanted setting."""
    return [
        Finding(name, value, found.get(name), source, same(value, found.get(name)))
        for name, value in wanted.items()
    ]


def compare_metadata(wanted: Mapping[str, Value], metadata: str) -> list[Finding]:
    """What the camera itself wrote beside a frame, where it did.

    A parameter tells what the driver was asked for; the metadata of a frame tells how the frame was
    taken.

    Args:
        wanted: settings.
        metadata: ``json_data`` of realsense2_camera_msgs/Metadata.

    Raises:
        SettingsError: no JSON object.
    """
    try:
        data = json.loads(metadata)
        if not isinstance(data, dict):
            raise ValueError(f"a {type(data).__name__}")
    except ValueError as error:
        raise SettingsError(f"the camera's metadata are unreadable: {error}") from error
    findings = []
    for name, key in _METADATA.items():
        if name not in wanted or key not in data:
            continue
        value, found = wanted[name], data[key]
        if isinstance(value, bool):
            found = bool(found)
        elif name == EXPOSURE and same(float(value) * 100, found):
            found = found / 100  # some firmware counts microseconds here
        findings.append(Finding(name, value, found, "the frame's metadata", same(value, found)))
    return findings


def describe(findings: Sequence[Finding]) -> str:
    """A line for each."""
    return "\n".join(str(finding) for finding in findings)


def parse_profile(text: Any) -> tuple[int, int, int]:
    """Width, height, frames per second of ``640x480x30``.

    Raises:
        SettingsError: something else.
    """
    parts = str(text).lower().replace(",", "x").split("x")
    try:
        width, height, rate = (int(part) for part in parts)
        if min(width, height, rate) <= 0:
            raise ValueError
    except ValueError:
        raise SettingsError(f"{PROFILE} must be like 640x480x30, found {text!r}") from None
    return width, height, rate
