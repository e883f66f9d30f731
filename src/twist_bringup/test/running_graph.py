"""A started ``run_stack`` as tests see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class RunningGraph:
    """A started ``run_stack``."""

    process: subprocess.Popen[str]
    output: Path
    domain_id: int

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self, timeout: float = 90.0) -> int:
        return self.process.wait(timeout)

    def terminal(self) -> str:
        """What it printed."""
        return (self.output.parent / "terminal.log").read_text(encoding="utf-8")

    def results(self) -> list[dict[str, Any]]:
        """The judged and aborted trials, in order."""
        data = json.loads((self.output / "results.json").read_text(encoding="utf-8"))
        return list(data["results"])

    def kill(self, name: str) -> None:
        """Kills the node `name` as a crash would."""
        (pid,) = self.pids(name)
        os.kill(pid, signal.SIGKILL)

    def pids(self, name: str) -> list[int]:
        """Processes that were started as the node `name` of this graph."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except OSError:
                continue
            if f"__node:={name}".encode() in words and int(parent) == self.process.pid:
                found.append(int(entry.name))
        return found


PATIENT_LIMITS = """
/twist_policy_node:
  ros__parameters:
    frame_age_limit: 1.0
    frame_interval_limit: 1.0
    pose_age_limit: 1.0
    robot_state_age_limit: 1.0
    inference_overrun_limit: 100
    servo_silence_limit: 1.0
    servo_halt_limit: 3.0
    gripper_answer_limit: 5.0
    gripper_command_limit: 10.0
    gripper_silence_limit: 2.0
    activation_timeout: 30.0
/trial_runner:
  ros__parameters:
    first_step_timeout: 40.0
    step_timeout: 10.0
    service_timeout: 8.0
    ground_truth_max_age: 5.0
/servo_node:
  ros__parameters:
    joint_state_timeout: 60.0
"""
"""Watchdogs that bear a machine on which a compiler runs as well; the promises stay the same."""
QUICK_CAMERA_LIMITS = PATIENT_LIMITS.replace(
    "frame_age_limit: 1.0", "frame_age_limit: 0.18"
).replace("frame_interval_limit: 1.0", "frame_interval_limit: 0.17")
"""The same with the camera's everyday limits, to measure a stop by. Of the 0.2 s, 0.02 s are left
to the machine between a look at the clock and the stamp of a command."""

StartGraph = Callable[..., RunningGraph]
