"""The pyrealsense2 camera: its settings, its stamps, and what happens when it fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from fake_pyrealsense2 import Library, timestamp_domain

from twist_camera.arrival_watch import ArrivalWatch
from twist_camera.capture_loop import CaptureLoop, CaptureRules
from twist_camera.device_clock import ClockError, DeviceClock
from twist_camera.realsense_device import (
    CameraLost,
    DeviceFrame,
    RealSenseCamera,
    RealSenseError,
    StreamSettings,
)

SETTINGS = StreamSettings(exposure=156, gain=64, white_balance=4600, width=64, height=48)
QUICK = CaptureRules(silence=0.1, frozen=4, restarts=2, restart_delay=0.0, settings_period=0.05)
SECOND = 1_000_000_000


def opened(library: Library) -> RealSenseCamera:
    camera = RealSenseCamera(SETTINGS, library)
    camera.open()
    return camera


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(RealSenseError, match="pip install pyrealsense2"):
        RealSenseCamera(SETTINGS)


def test_settings_go_to_the_colour_sensor_and_never_to_the_stereo_module() -> None:
    library = Library()
    before = dict(library.stereo.values)
    camera = RealSenseCamera(SETTINGS, library)
    intrinsics = camera.open()
    assert library.stereo.values == before
    assert library.rgb.values == {
        "exposure": 156.0,
        "gain": 64.0,
        "white_balance": 4600.0,
        "enable_auto_exposure": 0.0,
        "enable_auto_white_balance": 0.0,
        "auto_exposure_priority": 0.0,
    }
    assert (intrinsics.fx, intrinsics.cy, intrinsics.distortion) == (61.0, 24.0, (0.0,) * 5)


def test_a_setting_that_the_camera_ignores_is_noticed_and_named() -> None:
    library = Library()
    library.rgb.ignores = {"exposure"}
    with pytest.raises(RealSenseError, match=r"WRONG exposure: wanted 156, found 166\.0"):
        opened(library)
    assert not library.running


@pytest.mark.parametrize(
    ("prepare", "settings", "message"),
    [
        (lambda lib: setattr(lib, "serials", ()), SETTINGS, "none is connected.*lsusb"),
        (lambda lib: setattr(lib, "serials", ("1", "2")), SETTINGS, "say which by.*serial_no"),
        (
            lambda lib: None,
            StreamSettings(156, 64, 4600, 64, 48, serial="77"),
            "no RealSense camera 77: found 0001",
        ),
        (
            lambda lib: None,
            StreamSettings(156, 64, 4600, 1280, 720),
            "does not start 1280x720.*USB 2",
        ),
        (
            lambda lib: None,
            StreamSettings(156, 500, 4600, 64, 48),
            "gain must lie within 0 and 128",
        ),
        (
            lambda lib: setattr(lib.rgb, "name", "L500 RGB"),
            SETTINGS,
            "no 'RGB Camera', only Stereo Module, L500 RGB",
        ),
    ],
)
def test_a_camera_that_cannot_be_used_says_why(
    prepare: Callable[[Library], None], settings: StreamSettings, message: str
) -> None:
    library = Library()
    prepare(library)
    with pytest.raises(RealSenseError, match=message):
        RealSenseCamera(settings, library).open()
    assert not library.running


def test_frames_are_copies_with_the_cameras_stamp_and_clock() -> None:
    library = Library(clock=lambda: 1234.5)
    library.domain = timestamp_domain.hardware_clock
    camera = opened(library)
    first, second = camera.read(1.0), camera.read(1.0)
    assert first is not None
    assert second is not None
    assert (first.domain, first.milliseconds, first.number) == ("hardware_clock", 1234.5, 1)
    assert (first.pixels != second.pixels).any()


def run(
    library: Library, until: Callable[[CaptureLoop, list[str]], bool], rules: CaptureRules = QUICK
) -> tuple[list[tuple[DeviceFrame, int]], list[str]]:
    """Runs a loop over a fake camera until something is true."""
    frames: list[tuple[DeviceFrame, int]] = []
    warnings: list[str] = []
    end = time.monotonic() + 20.0

    def watch(frame: DeviceFrame, stamp: int) -> None:
        frames.append((frame, stamp))
        if until(loop, warnings):
            loop.stop()
        assert time.monotonic() < end, "what was awaited did not happen"

    loop = CaptureLoop(
        RealSenseCamera(SETTINGS, library),
        rules,
        on_open=lambda _: None,
        on_frame=watch,
        warn=warnings.append,
        ros_time=time.time_ns,
    )
    loop.run()
    return frames, warnings


def test_good_frames_come_with_ros_stamps_and_no_warning() -> None:
    library = Library()
    frames, warnings = run(library, lambda loop, _: loop.frames >= 20)
    assert warnings == []
    stamps = [stamp for _, stamp in frames]
    assert stamps == sorted(stamps)
    assert abs(stamps[-1] - time.time_ns()) < 5 * SECOND
    assert not library.running


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("frozen", "frames in a row are the same picture"),
        ("silent", "no frame for"),
        ("unplugged", "the camera was lost: Device disconnected"),
    ],
)
def test_a_camera_that_fails_is_started_again_and_goes_on(fault: str, message: str) -> None:
    library = Library()

    def mended(loop: CaptureLoop, warnings: list[str]) -> bool:
        if loop.frames == 5:
            library.fault = fault
        return len(warnings) >= 1 and loop.frames >= 15

    class Mending(list[str]):
        def append(self, text: str) -> None:
            library.fault = ""
            super().append(text)

    frames: list[int] = []
    warnings = Mending()

    def on_frame(_frame: DeviceFrame, _stamp: int) -> None:
        frames.append(1)
        if mended(loop, warnings):
            loop.stop()

    loop = CaptureLoop(
        RealSenseCamera(SETTINGS, library),
        CaptureRules(silence=0.1, frozen=4, restarts=2, restart_delay=0.0),
        on_open=lambda _: None,
        on_frame=on_frame,
        warn=warnings.append,
        ros_time=time.time_ns,
        # The first frame is given two seconds more; here they pass at once.
        steady=lambda: time.monotonic() * (20 if fault == "silent" else 1),
    )
    loop.run()
    assert message in warnings[0]
    assert "starting the camera again (1 of 2)" in warnings[0]
    assert library.starts == 2


def test_a_camera_that_stays_broken_ends_the_loop_with_the_reason() -> None:
    library = Library()
    library.fault = "frozen"
    with pytest.raises(RealSenseError, match=r"same picture.*started again 2 times in vain"):
        run(library, lambda *_: False)
    assert library.starts == 3
    assert not library.running


def test_settings_that_somebody_changes_are_noticed_and_set_again() -> None:
    library = Library()

    def until(loop: CaptureLoop, warnings: list[str]) -> bool:
        if loop.frames == 5:
            library.rgb.values["enable_auto_exposure"] = 1.0
        return bool(warnings) and loop.frames > 10

    _, warnings = run(library, until)
    assert "WRONG enable_auto_exposure: wanted 0.0, found 1.0" in warnings[0]
    assert library.rgb.values["enable_auto_exposure"] == 0.0


def test_a_stamp_that_contradicts_this_computers_clock_is_an_error() -> None:
    clock, now = DeviceClock(max_age=1.0, tolerance=0.05), 1_700_000_000 * SECOND
    assert clock.stamp("global_time", now / 1e6 - 20.0, now) == now - 20_000_000
    with pytest.raises(ClockError, match=r"2\.000 s before its arrival"):
        clock.stamp("global_time", now / 1e6 - 2000.0, now)
    with pytest.raises(ClockError, match=r"0\.500 s after"):
        clock.stamp("system_time", now / 1e6 + 500.0, now)
    with pytest.raises(ClockError, match="unknown clock: 'sundial'"):
        clock.stamp("sundial", 0.0, now)


def test_a_hardware_clock_is_fitted_to_the_quickest_frame_and_restarts_after_a_jump_back() -> None:
    clock, now = DeviceClock(), 1_700_000_000 * SECOND
    rng = np.random.default_rng(0)
    delays = rng.uniform(0.010, 0.030, 200)
    stamps = []
    for index, delay in enumerate(delays):
        taken = now + round(index / 30 * 1e9)
        stamps.append(
            (clock.stamp("hardware_clock", index / 30 * 1e3, taken + round(delay * 1e9)), taken)
        )
    # Late by the shortest transport, whatever the single frame took.
    late = np.array([stamp - taken for stamp, taken in stamps[50:]]) / 1e9
    assert late.min() >= 0.009
    assert late.max() <= 0.0125
    restarted = clock.stamp("hardware_clock", 5.0, now + 100 * SECOND)
    assert restarted == now + 100 * SECOND
    assert clock.restarts == 1
    clock.stamp("global_time", (now + 101 * SECOND) / 1e6, now + 101 * SECOND)
    assert clock.restarts == 2


def test_fresh_stamps_on_an_old_picture_and_fresh_pictures_on_an_old_stamp_are_noticed() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(6)]
    watch = ArrivalWatch(silence=0.5, frozen=3)
    watch.begin(0.0)
    found = [watch.frame(n, "global_time", 33.0 * n, pictures[0], n / 30) for n in range(3)]
    assert found[:2] == [None, None]
    assert "3 frames in a row are the same picture" in str(found[2])
    watch.begin(0.0)
    found = [watch.frame(n, "global_time", 7.0, pictures[n], n / 30) for n in range(3)]
    assert "same number or stamp" in str(found[2])
    watch.begin(1.0)
    assert watch.silence(1.4) is None
    assert "no frame for 0.60 s" in str(watch.silence(1.6))


def test_an_unplugged_camera_that_is_looked_at_is_lost_not_a_crash() -> None:
    library = Library()
    camera = opened(library)
    library.rgb.lost = True
    with pytest.raises(CameraLost, match="does not answer"):
        camera.settings()
    library.fault = "unplugged"
    camera.close()
