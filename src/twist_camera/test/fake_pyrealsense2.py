"""A stand-in for pyrealsense2: the part of its interface that the camera node uses.

As the real one, it raises RuntimeError for everything that goes wrong, lists the stereo module
first, reads options back as single-precision numbers, and hands out memory that is reused.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np


class timestamp_domain(enum.Enum):
    hardware_clock = 0
    system_time = 1
    global_time = 2

    def __str__(self) -> str:
        return f"timestamp_domain.{self.name}"


option = SimpleNamespace(
    exposure="exposure",
    gain="gain",
    white_balance="white_balance",
    enable_auto_exposure="enable_auto_exposure",
    enable_auto_white_balance="enable_auto_white_balance",
    auto_exposure_priority="auto_exposure_priority",
)
RANGES = {
    "exposure": (1.0, 10000.0, 1.0),
    "gain": (0.0, 128.0, 1.0),
    "white_balance": (2800.0, 6500.0, 10.0),
    "enable_auto_exposure": (0.0, 1.0, 1.0),
    "enable_auto_white_balance": (0.0, 1.0, 1.0),
    "auto_exposure_priority": (0.0, 1.0, 1.0),
}


@dataclass
class Sensor:
    name: str
    values: dict[str, float]
    ignores: set[str] = field(default_factory=set)
    lost: bool = False

    def _alive(self) -> None:
        if self.lost:
            raise RuntimeError("hwmon command failed: device disconnected")

    def get_info(self, _info: str) -> str:
        return self.name

    def supports(self, name: str) -> bool:
        return name in self.values

    def get_option_range(self, name: str) -> SimpleNamespace:
        low, high, step = RANGES[name]
        return SimpleNamespace(min=low, max=high, step=step, default=low)

    def set_option(self, name: str, value: float) -> None:
        self._alive()
        low, high, _ = RANGES[name]
        if not low <= value <= high:
            raise RuntimeError(f"out of range value for argument {name!r}")
        if name not in self.ignores:
            self.values[name] = float(np.float32(value))

    def get_option(self, name: str) -> float:
        self._alive()
        return self.values[name]


class Library:
    """The module. Its attributes say what goes wrong.

    Args:
        size: width and height of the stream that the camera has.
        serials: of the cameras that are connected.
        clock: milliseconds of the camera's stamps.
    """

    option = option
    timestamp_domain = timestamp_domain
    stream = SimpleNamespace(color="color")
    format = SimpleNamespace(rgb8="rgb8")
    camera_info = SimpleNamespace(name="name", serial_number="serial_number")

    def __init__(
        self,
        size: tuple[int, int] = (64, 48),
        serials: tuple[str, ...] = ("0001",),
        clock: Callable[[], float] = lambda: time.time() * 1000,
    ) -> None:
        self.size = size
        self.serials = serials
        self.clock = clock
        usual = dict.fromkeys(RANGES, 1.0)
        self.stereo = Sensor("Stereo Module", {"exposure": 8500.0, "gain": 16.0})
        self.rgb = Sensor("RGB Camera", usual | {"exposure": 166.0, "white_balance": 4600.0})
        self.domain = timestamp_domain.global_time
        self.fault = ""
        """``frozen``, ``silent``, ``unplugged`` or empty."""
        self.starts = 0
        self.running = False
        self.number = 0
        self._buffer = np.zeros((size[1], size[0], 3), np.uint8)
        self._rng = np.random.default_rng(0)

    # What the library has.

    def context(self) -> Any:
        devices = [
            SimpleNamespace(get_info=lambda _info, serial=serial: serial)
            for serial in (() if self.fault == "unplugged" else self.serials)
        ]
        return SimpleNamespace(query_devices=lambda: devices)

    def config(self) -> Any:
        wanted: dict[str, Any] = {}
        return SimpleNamespace(
            wanted=wanted,
            enable_device=lambda serial: wanted.update(serial=serial),
            enable_stream=lambda *what: wanted.update(stream=what),
        )

    def pipeline(self) -> Any:
        return SimpleNamespace(start=self._start, stop=self._stop, try_wait_for_frames=self._wait)

    # How it behaves.

    def _start(self, config: Any) -> Any:
        if config.wanted["stream"] != ("color", *self.size, "rgb8", 30):
            raise RuntimeError("Couldn't resolve requests")
        self.starts += 1
        self.running = True
        intrinsics = SimpleNamespace(
            width=self.size[0],
            height=self.size[1],
            fx=61.0,
            fy=61.5,
            ppx=32.0,
            ppy=24.0,
            coeffs=[0.0] * 5,
        )
        video = SimpleNamespace(get_intrinsics=lambda: intrinsics)
        device = SimpleNamespace(query_sensors=lambda: [self.stereo, self.rgb])
        return SimpleNamespace(
            get_device=lambda: device,
            get_stream=lambda _stream: SimpleNamespace(as_video_stream_profile=lambda: video),
        )

    def _stop(self) -> None:
        if self.fault == "unplugged":
            raise RuntimeError("stop() cannot be called before start()")
        self.running = False

    def _wait(self, timeout: int) -> tuple[bool, Any]:
        if self.fault == "unplugged":
            raise RuntimeError("Device disconnected. Failed to recconect")
        if self.fault == "silent":
            time.sleep(timeout / 1000)
            return False, None
        time.sleep(0.002)
        self.number += 1
        if self.fault != "frozen":
            self._buffer[:] = self._rng.integers(0, 255, self._buffer.shape, dtype=np.uint8)
        stamp, number, domain = self.clock(), self.number, self.domain
        frame = SimpleNamespace(
            get_data=lambda: self._buffer,
            get_timestamp=lambda: stamp,
            get_frame_number=lambda: number,
            get_frame_timestamp_domain=lambda: domain,
        )
        return True, SimpleNamespace(get_color_frame=lambda: frame)
