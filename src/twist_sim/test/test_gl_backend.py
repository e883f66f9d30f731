from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from twist_sim import gl_backend
from twist_sim.gl_backend import RenderError, probe, report_renderer, select_backend


def test_a_backend_that_works_here_is_found_and_left_for_child_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "")
    backend = select_backend()
    assert backend in gl_backend.BACKENDS
    assert os.environ["MUJOCO_GL"] == backend


def test_osmesa_is_the_fallback_when_egl_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(gl_backend, "probe", lambda b: "no device" if b == "egl" else None)
    assert select_backend() == "osmesa"


def test_without_any_backend_the_error_names_the_debian_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(gl_backend, "probe", lambda b: f"{b} is broken")
    with pytest.raises(RenderError, match=r"egl is broken.*libegl1 .*libosmesa6"):
        select_backend()
    assert not os.environ["MUJOCO_GL"]


def test_an_explicit_choice_is_taken_without_probing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "OSMesa")
    monkeypatch.setattr(gl_backend, "probe", lambda b: pytest.fail("probed"))
    assert select_backend() == "osmesa"


def test_a_choice_that_cannot_render_off_screen_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(RenderError, match=r"'glfw'.*'egl' or 'osmesa'"):
        select_backend()


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl_backend, "_PROBE", "import threading; threading.Event().wait()")
    assert probe("egl", timeout=0.5) == "no answer within 0.5 s"


def test_a_driver_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl_backend, "_PROBE", "raise OSError('libEGL is missing')")
    assert probe("egl") == "OSError: libEGL is missing"


@pytest.mark.parametrize(
    ("name", "gpu", "level"),
    [
        ("llvmpipe (LLVM 15)", True, logging.WARNING),
        ("llvmpipe (LLVM 15)", False, logging.INFO),
        ("NVIDIA H200/PCIe/SSE2", True, logging.INFO),
    ],
)
def test_software_rendering_is_a_warning_only_where_a_gpu_is_present(
    name: str, gpu: bool, level: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = tmp_path / "nvidia0"
    if gpu:
        device.touch()
    with caplog.at_level(logging.INFO, logger="twist_sim.gl_backend"):
        report_renderer(name, device)
    assert [(record.levelno, name in record.message) for record in caplog.records] == [
        (level, True)
    ]
