"""Two processes under torchrun do what one does with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from twist_training.configuration import ConfigurationError, parse_arguments
from twist_training.parallel import Processes

STEPS = Path(__file__).with_name("data_parallel_steps.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(600)
def test_two_processes_have_the_losses_of_one_with_the_whole_batch() -> None:
    one = json.loads(_run([sys.executable, str(STEPS)]))
    two = json.loads(_run([*TORCHRUN, str(STEPS)]))
    assert len(one["terms"]) == len(two["terms"]) == 9
    for number, (expected, found) in enumerate(zip(one["terms"], two["terms"], strict=True)):
        # Sums in another order; the steps after the first amplify the difference.
        assert found == pytest.approx(expected, rel=2e-3, abs=1e-4), f"step {number}"
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-4)


@pytest.mark.timeout(600)
def test_torchrun_trains_a_teacher_and_only_the_first_process_writes(tmp_path: Path) -> None:
    settings = {
        "teacher.environment_steps": 300,
        "teacher.scripted_episodes": 0,
        "teacher.random_episodes": 4,
        "teacher.pretrain_steps": 2,
        "teacher.environments": 2,
        "teacher.batch": 4,
        "teacher.length": 10,
        "teacher.imagination_starts": 8,
        "teacher.evaluation_episodes": 2,
    }
    arguments = ["teacher", "preset=smoke", *(f"{k}={v}" for k, v in settings.items())]
    output = _run([*TORCHRUN, "-m", "twist_training", *arguments, f"output={tmp_path}"])
    assert output.count("stage teacher: done") == 1
    assert "2 processes of 1 threads" in output
    assert torch.load(tmp_path / "teacher.pt", weights_only=False)["finished"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "teacher.jsonl").open()]
    assert steps == sorted(steps)
    assert len(list((tmp_path / "tensorboard" / "teacher").iterdir())) == 1


def test_batches_that_do_not_split_evenly_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigurationError, match=r"3 processes cannot split.*teacher\.batch 16"):
        Processes(parse_arguments([]))
