"""A node's process ends when it is told to, whatever holds it up."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

STUCK = """
import time
from twist_sim.ros.node_process import run_node

def create():
    print("stuck", flush=True)
    while True:
        time.sleep(1)

run_node("stuck", create, [])
"""


def test_a_process_that_is_stuck_at_its_start_ends_after_a_signal(ros_domain_id: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "ended hard" in said
