"""A blind comparison, judged by the camera and an operator, through the whole graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from running_graph import StartGraph

from twist_evaluation.bag_writer import read_metadata
from twist_evaluation.comparison import compare_blind
from twist_evaluation.report import make_report
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_sim.task_card import load_task_card

pytestmark = [pytest.mark.realtime, pytest.mark.slow, pytest.mark.timeout(400)]


class Console:
    """An operator at the console who gives one answer to every question."""

    def __init__(self, domain: int, answer: str) -> None:
        self.asked: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "twist_evaluation.operator_console"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "ROS_DOMAIN_ID": str(domain),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "PYTHONUNBUFFERED": "1",
            },
        )
        self._thread = threading.Thread(target=self._answer, args=(answer,), daemon=True)
        self._thread.start()

    def _answer(self, answer: str) -> None:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        for line in stdout:
            self.asked.append(line)
            if line.startswith("  n  "):
                stdin.write(f"{answer}\n")
                stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)


def test_two_checkpoints_are_compared_blindly_and_judged_by_camera_and_operator(
    start_graph: StartGraph, tmp_path: Path
) -> None:
    contract = load_task_card("block_push").contract(observes_ee_position=True)
    write_synthetic_checkpoint(tmp_path / "other", contract, behaviour="hold")
    graph = start_graph(
        "trials:=1", "episode_steps:=10", "judge:=camera", f"compare_with:={tmp_path / 'other'}"
    )
    console = Console(graph.domain_id, "f")
    try:
        assert graph.wait(200.0) == 0, graph.terminal()
    finally:
        console.close()

    results = graph.results()
    assert [result["outcome"] for result in results] == ["failure", "failure"]
    document = json.loads((graph.output / "results.json").read_text())
    for result, bag in zip(results, sorted(graph.output.glob("trial_00?_*seed1")), strict=True):
        assert result["judge"] == "camera, confirmed by the operator"
        # Neither policy gets far in a second: the cube is where the layout put it.
        assert 0.05 < result["final_distance"] < 0.3
        assert Path(result["picture"]).exists()
        custom = read_metadata(bag)["custom_data"]
        assert custom["checkpoint"].startswith(document["checkpoint"])
        assert custom["picture"] == Path(result["picture"]).name
    assert sum("The camera measures" in line for line in console.asked) == 2
    # Nothing on the terminal says which policy ran.
    assert contract.task + "@" not in graph.terminal()
    assert "/other" not in graph.terminal().split("logs in", 1)[1]

    comparison = compare_blind(graph.output)
    assert comparison.table == (0, 0, 0, 1)
    report = make_report(graph.output, tmp_path / "page", video=False)
    assert "as judged" in report.page.read_text()
