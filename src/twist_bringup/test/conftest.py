"""Fixtures: a checkpoint without training, and the graph in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What launch tests and pytest share lies beside this file and is no part of a package.
sys.path.insert(0, str(Path(__file__).parent))

from running_graph import PATIENT_LIMITS, RunningGraph, StartGraph


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
def swaying_checkpoint(tmp_path: Path) -> Path:
    """A checkpoint that moves to and fro, made without training: it never comes to the end."""
    from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
    from twist_sim.task_card import load_task_card

    contract = load_task_card("block_push").contract(observes_ee_position=True)
    write_synthetic_checkpoint(tmp_path / "sway", contract, behaviour="sway")
    return tmp_path / "sway"


@pytest.fixture
def start_graph(tmp_path: Path, synthetic_checkpoint: Path) -> Iterator[StartGraph]:
    """Starts ``run_stack`` with arguments; ends what is left of it after the test."""
    from twist_bringup.preflight import free_domain_id

    started: list[RunningGraph] = []

    def start(
        *words: str, checkpoint: Path = synthetic_checkpoint, limits: str = PATIENT_LIMITS
    ) -> RunningGraph:
        domain = free_domain_id()
        output = tmp_path / f"run_{len(started)}" / "bags"
        output.parent.mkdir()
        limits_file = output.parent / "limits.yaml"
        limits_file.write_text(limits)
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONUNBUFFERED": "1",
        }
        arguments = [
            f"checkpoint:={checkpoint}",
            f"output:={output}",
            f"params_file:={limits_file}",
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
