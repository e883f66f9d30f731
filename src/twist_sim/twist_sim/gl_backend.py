"""Chooses how MuJoCo draws off screen: EGL, else OSMesa, else an error that names the packages.

MuJoCo reads ``MUJOCO_GL`` when its GL context is made, and a process cannot change its mind after
that. So the choice is made once: an explicit ``MUJOCO_GL`` is taken at its word; otherwise EGL and
then OSMesa are tried in a child process (a hanging or crashing driver takes only the child), and
the answer is written to the environment, where child processes find it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)

BACKENDS = ("egl", "osmesa")
PROBE_TIMEOUT = 30.0
"""Seconds a probe may take; EGL drivers have been seen to hang when many processes start."""

_PACKAGES = {
    "egl": "libegl1 libgl1-mesa-dri libgles2",
    "osmesa": "libosmesa6",
}
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")
_PROBE = """
import mujoco
from mujoco.{backend} import GLContext
context = GLContext(16, 16)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""


class RenderError(RuntimeError):
    """Pictures cannot be rendered on this machine, or not from this input."""


def select_backend() -> str:
    """Returns ``egl`` or ``osmesa`` and sets ``MUJOCO_GL`` for this process and its children.

    Raises:
        RenderError: neither works, or ``MUJOCO_GL`` names something else.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen:
        if chosen not in BACKENDS:
            raise RenderError(
                f"MUJOCO_GL is {chosen!r}; rendering off screen needs 'egl' or 'osmesa'. Unset it "
                "to have one chosen"
            )
        return chosen
    failures = []
    for backend in BACKENDS:
        failure = probe(backend)
        if failure is None:
            os.environ["MUJOCO_GL"] = backend
            return backend
        _LOG.info("GL backend %s does not work: %s", backend, failure)
        failures.append(f"{backend}: {failure}")
    raise RenderError(
        "no way to render off screen works on this machine ("
        + "; ".join(failures)
        + "). Install one, on Debian or Ubuntu: apt-get install "
        + f"{_PACKAGES['egl']} (EGL), or apt-get install {_PACKAGES['osmesa']} (OSMesa)"
    )


def probe(backend: str, timeout: float = PROBE_TIMEOUT) -> str | None:
    """Tries `backend` in a child process; returns None if it works, else why not.

    Args:
        backend: one of `BACKENDS`.
        timeout: seconds.
    """
    environment = {**os.environ, "MUJOCO_GL": backend}
    environment.pop("PYOPENGL_PLATFORM", None)
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE.format(backend=backend)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return str(error)
    if result.returncode == 0:
        return None
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f"the probe ended with status {result.returncode}"


def make_context(width: int, height: int) -> Any:
    """An off-screen GL context of the selected backend, made current.

    Args:
        width: pixels.
        height: pixels.

    Raises:
        RenderError: the context cannot be made.
    """
    backend = select_backend()
    # Mesa's software renderer would start a thread per core, which small pictures do not repay.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        # Not mujoco.GLContext: it was bound to a backend when mujoco was first imported.
        if backend == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        context = GLContext(width, height)
        context.make_current()
    except Exception as error:  # the drivers raise ImportError, AttributeError, GLError, ...
        raise RenderError(
            f"the GL backend {backend!r} does not start: {error}. Install it, on Debian or "
            f"Ubuntu: apt-get install {_PACKAGES[backend]}; or unset MUJOCO_GL to have a working "
            "one chosen"
        ) from error
    return context


def renderer_name() -> str:
    """Name of the GL renderer of the current context, e.g. ``llvmpipe (LLVM 15.0.6, 256 bits)``."""
    from OpenGL import GL

    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode() if isinstance(name, bytes) else "unknown"


def report_renderer(name: str, gpu: Path = Path("/dev/nvidia0")) -> None:
    """Logs the renderer, as a warning if it is software on a machine that has a GPU."""
    if gpu.exists() and any(word in name.lower() for word in _SOFTWARE):
        _LOG.warning(
            "rendering in software (%s) although %s is present: hundreds of times slower. Install "
            "the driver's EGL libraries (Debian: libnvidia-egl... of your driver, libegl1), or in "
            "a container set NVIDIA_DRIVER_CAPABILITIES=all",
            name,
            gpu,
        )
    else:
        _LOG.info("rendering with %s (%s)", name, os.environ.get("MUJOCO_GL", ""))
