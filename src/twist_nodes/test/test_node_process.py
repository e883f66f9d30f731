"""A node's process starts or says why not, and ends when it is told to, whatever holds it up."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

BEGINNING = """
import sys, time
from rclpy.node import Node
from twist_nodes.node_process import FatalNodeError, run_node

class Tested(Node):
    def __init__(self):
        super().__init__("tested")
        self.create_timer(0.01, self.on_timer)

    def on_timer(self):
        pass

    def close(self):
        print("closed", flush=True)
"""
RUNS = """
class Runs(Tested):
    def on_timer(self):
        print("running", flush=True)
        time.sleep(0.5)
        print("done", flush=True)

sys.exit(run_node("tested", Runs, []))
"""
CANNOT_START = """
def create():
    raise ValueError("there is no camera; plug one in")

sys.exit(run_node("tested", create, []))
"""
CANNOT_GO_ON = """
class Fails(Tested):
    def on_timer(self):
        raise FatalNodeError("the camera is gone; plug it in")

sys.exit(run_node("tested", Fails, []))
"""
STUCK = """
def create():
    print("stuck", flush=True)
    while True:
        time.sleep(1)

run_node("stuck", create, [])
"""


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGINNING + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_process_after_the_callback_in_progress(
    ros_domain_id: int, number: signal.Signals
) -> None:
    with start(RUNS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        said, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    assert said.splitlines()[-2:] == ["done", "closed"]
    assert not complaints


def test_a_node_that_cannot_start_ends_its_process_with_1_and_the_reason(
    ros_domain_id: int,
) -> None:
    with start(CANNOT_START) as process:
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "there is no camera; plug one in" in complaints
    assert "Traceback" not in complaints


def test_a_node_that_cannot_go_on_is_closed_and_says_why(ros_domain_id: int) -> None:
    with start(CANNOT_GO_ON) as process:
        said, complaints = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said == "closed\n"
    assert "the camera is gone; plug it in" in complaints
    assert "Traceback" not in complaints


def test_a_process_that_is_stuck_at_its_start_ends_after_a_signal(ros_domain_id: int) -> None:
    with start(STUCK) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "ended hard" in said
