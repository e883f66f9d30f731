"""Two processes do what one does with the whole batch, whoever starts them."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from started_processes import is_alive, wait_for

from twist_training import parallel
from twist_training.configuration import ConfigurationError, parse_arguments
from twist_training.local_processes import companions, free_port, process_count
from twist_training.parallel import Processes
from twist_training.run_identity import RunError
from twist_training.shared_sum import shared_sum

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


SETTINGS = {
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


def _teacher(**changed: int) -> list[str]:
    settings = SETTINGS | {f"teacher.{name}": value for name, value in changed.items()}
    arguments = ["teacher", "preset=smoke", "precision=float32"]
    return ["-m", "twist_training", *arguments, *(f"{k}={v}" for k, v in settings.items())]


TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([*TORCHRUN, *_teacher()], id="torchrun"),
        pytest.param(
            [sys.executable, *_teacher(), "processes=2"], id="processes=2", marks=TWO_CORES
        ),
    ],
)
@pytest.mark.timeout(600)
def test_two_processes_train_a_teacher_and_only_the_first_writes(
    tmp_path: Path, command: list[str]
) -> None:
    output = _run([*command, f"output={tmp_path}"])
    assert output.count("stage teacher: done") == 1
    assert "2 processes of 1 threads" in output
    assert torch.load(tmp_path / "teacher.pt", weights_only=False)["finished"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "teacher.jsonl").open()]
    assert steps == sorted(steps)
    assert len(list((tmp_path / "tensorboard" / "teacher").iterdir())) == 1


def _sum_three_times(rank: int, port: int, results: Any, full: bool) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    if full:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))  # as a full /dev/shm
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    torch.distributed.init_process_group("gloo")
    total = shared_sum(rank, 1000)
    if total is None:
        results.put((rank, None))
    else:
        # A third sum uses the memory of the first again.
        sums = [
            total([torch.full((600,), 10.0**n), torch.full((20, 20), rank + n)]) for n in range(3)
        ]
        results.put((rank, torch.stack(sums).numpy()))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("full", [False, True])
def test_shared_memory_has_everybodys_sum_or_is_done_without(full: bool) -> None:
    before = set(Path("/dev/shm").iterdir())
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    port = free_port()
    processes = [
        context.Process(target=_sum_three_times, args=(rank, port, results, full))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=90) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    if full:
        assert found == {0: None, 1: None}
    else:
        expected = np.array([[2 * 10.0**n] * 600 + [1 + 2 * n] * 400 for n in range(3)], "f4")
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1], expected)
    assert not {
        path.name for path in set(Path("/dev/shm").iterdir()) - before if "twist" in path.name
    }


@TWO_CORES
@pytest.mark.timeout(300)
def test_a_process_that_ends_before_its_time_is_named(tmp_path: Path) -> None:
    command = [sys.executable, *_teacher(pretrain_steps=100_000), "processes=2"]
    command.append(f"output={tmp_path}")
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as first:
        try:
            wait_for((tmp_path / "teacher.jsonl").exists, first)  # both are there, and training
            (other,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
            os.kill(int(other), signal.SIGKILL)
            _, error = first.communicate(timeout=120)
        finally:
            first.kill()
    assert first.returncode == 1
    assert "process 1 of 2 of this run ended with code -9" in error
    assert "the same command continues" in error
    assert "Traceback" not in error


@TWO_CORES
@pytest.mark.timeout(300)
def test_the_others_end_with_a_first_process_that_is_killed_whatever_they_do(
    tmp_path: Path,
) -> None:
    command = [sys.executable, *_teacher(pretrain_steps=100_000), "processes=2"]
    command.append(f"output={tmp_path}")
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    ) as first:
        try:
            wait_for((tmp_path / "teacher.jsonl").exists, first)
            (other,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
            os.kill(int(other), signal.SIGSTOP)  # it hangs
        finally:
            first.kill()
    wait_for(lambda: not is_alive(int(other)))


def test_one_of_several_processes_leaves_the_others_before_it_ends() -> None:
    """Whoever started it: one that is still joined at its exit may abort."""
    with companions(1, []):
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    assert not torch.distributed.is_initialized()


@pytest.mark.timeout(200)
def test_a_process_that_never_joins_is_named_at_once() -> None:
    assert parallel._JOINING.total_seconds() > 200, "nobody waited for it in vain"
    config = parse_arguments(["preset=smoke"])
    expected = r"process 1 of 2 of this run ended with code 2;(.|\n)*nonsense"
    with (
        pytest.raises(RunError, match=expected),
        companions(2, ["teacher", "nonsense=1"]),
    ):
        Processes(config)


def test_there_are_never_more_processes_than_processors_or_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = parse_arguments(["processes=8"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert process_count(config) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert process_count(config) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    for count, expected in ((0, 1), (1, 1), (3, 2), (8, 8)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert process_count(dataclasses.replace(config, device="cuda")) == expected
    assert process_count(config) == 8
    monkeypatch.setenv("WORLD_SIZE", "2")  # torchrun has started the others
    assert process_count(config) == 1


def test_batches_that_do_not_split_evenly_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigurationError, match=r"3 processes cannot split.*teacher\.batch 16"):
        Processes(parse_arguments([]))
