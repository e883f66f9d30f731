"""Fixtures: a checkpoint without training, and the graph in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# The launch test imports the same promises, and is no part of a package either.
sys.path.insert(0, str(Path(__file__).parent))


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
    inference_overrun_limit: 100
    servo_silence_limit: 1.0
    servo_halt_limit: 3.0
    activation_timeout: 30.0
/trial_runner:
  ros__parameters:
    first_step_timeout: 40.0
    step_timeout: 10.0
    service_timeout: 8.0
    ground_truth_max_age: 5.0
"""
"""Watchdogs that bear a machine on which a compiler runs as well; the promises stay the same."""

StartGraph = Callable[..., RunningGraph]


@pytest.fixture(scope="session")
def synthetic_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that pushes forward, made without training."""
    from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
    from twist_sim.task_card import load_task_card

    folder = tmp_path_factory.mktemp("checkpoint") / "forward"
    contract = load_task_card("block_push").contract(observes_ee_position=True)
    write_synthetic_checkpoint(folder, contract, behaviour="forward")
    return folder


@pytest.fixture
def start_graph(tmp_path: Path, synthetic_checkpoint: Path) -> Iterator[StartGraph]:
    """Starts ``run_stack`` with arguments; ends what is left of it after the test."""
    from twist_bringup.preflight import free_domain_id

    started: list[RunningGraph] = []

    def start(*words: str, checkpoint: Path = synthetic_checkpoint) -> RunningGraph:
        domain = free_domain_id()
        output = tmp_path / f"run_{len(started)}" / "bags"
        output.parent.mkdir()
        limits = output.parent / "limits.yaml"
        limits.write_text(PATIENT_LIMITS)
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONUNBUFFERED": "1",
        }
        arguments = [
            f"checkpoint:={checkpoint}",
            f"output:={output}",
            f"params_file:={limits}",
            "report:=false",
            *words,
        ]
        with (output.parent / "terminal.log").open("w") as terminal:
            process = subprocess.Popen(
                [sys.executable, "-m", "twist_bringup.run_stack", *arguments],
                stdout=terminal,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        graph = RunningGraph(process, output, domain)
        started.append(graph)
        return graph

    yield start
    for graph in started:
        if graph.process.poll() is None:
            graph.process.kill()  # its children die with it
            graph.process.wait()
