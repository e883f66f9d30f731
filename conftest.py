"""What every test of the workspace starts with: a ROS graph and threads of its own."""

from __future__ import annotations

import contextlib
import ctypes.util
import itertools
import os
import secrets
import tempfile
from collections.abc import Iterator

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


def _domain_ids() -> Iterator[int]:
    """All ids in random order, again and again; not from `random`, which test plugins seed."""
    shuffled = list(DOMAIN_IDS)
    secrets.SystemRandom().shuffle(shuffled)
    return itertools.cycle(shuffled)


_unused_domain_ids = _domain_ids()


def _default_gl() -> str:
    return "egl" if ctypes.util.find_library("EGL") else "osmesa"


# Set before any test module is imported: torch, MuJoCo and Fast DDS read these once.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(next(_unused_domain_ids))
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="twist-test-ros-log-"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", _default_gl())


@pytest.fixture
def ros_domain_id(monkeypatch: pytest.MonkeyPatch) -> int:
    """Gives the test, and the processes it starts, a ROS domain of its own."""
    domain_id = next(_unused_domain_ids)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))
    return domain_id
