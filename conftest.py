"""What every test of the workspace starts with: a ROS graph and threads of its own."""

from __future__ import annotations

import contextlib
import ctypes.util
import itertools
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

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

# `make test &` in a script starts with Ctrl-C ignored, and every process below inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Under nohup the tests go on through a hang-up, but what they start has to take note of one.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs a failed test of a running graph once more.

    There the machine's time counts: one that is held up for half a second has late frames and lost
    answers, and the graph does what it is to do then, which is not what the test is about. What is
    wrong in the code fails twice. The summary names every test that was run again.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.get_closest_marker("realtime") or "ros_domain_id" in fixtures:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture
def ros_domain_id(monkeypatch: pytest.MonkeyPatch) -> int:
    """Gives the test, and the processes it starts, a ROS domain of its own."""
    domain_id = next(_unused_domain_ids)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))
    return domain_id


class SilentClient:
    """A service client whose requests get no answer but those that the test gives."""

    service_name = "/servo_node/pause_servo"

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.pending: list[Any] = []

    def call_async(self, request: Any) -> Any:
        """Remembers the request."""
        from rclpy.task import Future

        future = Future()
        self.sent.append(future)
        self.pending.append(future)
        return future

    def remove_pending_request(self, future: Any) -> None:
        """Forgets one; it must be pending."""
        self.pending.remove(future)

    def hear_answer(self, number: int, answer: Any) -> None:
        """The answer to the request of this number, from 0, arrives."""
        future = self.sent[number]
        self.pending.remove(future)  # as rclpy does
        future.set_result(answer)


@pytest.fixture
def silent_client() -> SilentClient:
    """A service client without a server."""
    return SilentClient()
