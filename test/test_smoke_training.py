"""The smallest training, from nothing, and its checkpoint running in the node graph."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)


def _run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert result.returncode == 0, (
        f"{command[0]} ended with {result.returncode}:\n{result.stdout[-3000:]}\n"
        f"{result.stderr[-3000:]}"
    )
    return result.stdout


# Whether the policy is stopped in time is tested elsewhere; here a busy machine must not stop it.
_LIMITS = """
/twist_policy_node:
  ros__parameters:
    frame_age_limit: 1.0
    frame_interval_limit: 1.0
    pose_age_limit: 1.0
    robot_state_age_limit: 1.0
    servo_silence_limit: 1.0
    activation_timeout: 30.0
"""


def test_a_smoke_checkpoint_runs_in_the_graph(tmp_path: Path, ros_domain_id: int) -> None:
    run = tmp_path / "run"
    _run("twist-train", "all", "task=block_push", "preset=smoke", f"output={run}")
    output, limits = tmp_path / "bags", tmp_path / "limits.yaml"
    limits.write_text(_LIMITS)
    _run(
        "run_stack",
        f"checkpoint:={run / 'checkpoint'}",
        "trials:=1",
        "episode_steps:=30",
        f"output:={output}",
        f"params_file:={limits}",
        "report:=false",
    )
    results = json.loads((output / "results.json").read_text())
    # So little training solves nothing; the trial has to be run and judged.
    assert [trial["outcome"] for trial in results["results"]] in (["failure"], ["success"])
    assert list(output.rglob("*.mcap"))
    assert list(output.rglob("metadata.yaml"))
