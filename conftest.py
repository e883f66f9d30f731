"""What every test of the workspace starts with: a ROS graph and threads of its own."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import secrets
import tempfile

import hypothesis
import pytest

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("workspace", deadline=None)
hypothesis.settings.load_profile("workspace")

# Before any renderer, as twist_training does and says why.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

DOMAIN_IDS = range(1, 101)
"""Domain ids whose UDP ports stay below Linux's ephemeral ports; 0 is everyone's default."""


def random_domain_id() -> int:
    """Returns a ROS domain id; not from `random`, which test plugins seed."""
    return secrets.choice(DOMAIN_IDS)


def _default_gl() -> str:
    return "egl" if ctypes.util.find_library("EGL") else "osmesa"


# Set before any test module is imported: torch, MuJoCo and Fast DDS read these once.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(random_domain_id())
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="twist-test-ros-log-"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", _default_gl())


@pytest.fixture
def ros_domain_id(monkeypatch: pytest.MonkeyPatch) -> int:
    """Gives the test, and the processes it starts, a ROS domain of its own."""
    domain_id = random_domain_id()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))
    return domain_id
