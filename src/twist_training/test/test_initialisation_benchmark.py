"""``benchmarks/initialisation.py`` trains where and as it is told."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from benchmark_scripts import load_benchmark

from twist_training.configuration import parse_arguments
from twist_training.session import Session
from twist_training.teacher_policy import Teacher


@pytest.fixture
def benchmark() -> ModuleType:
    return load_benchmark("initialisation")


def test_its_seeds_begin_with_the_one_that_is_given(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def learn(config: object, *_: object) -> list[float]:
        seeds.append(config.seed)  # type: ignore[attr-defined]
        return [0.0, 0.0, 0.0]

    monkeypatch.setattr(benchmark, "_learn", learn)
    monkeypatch.setattr(sys, "argv", ["initialisation.py", "seeds=2", "seed=5", "preset=smoke"])
    benchmark.main()
    assert seeds == [5, 5, 6, 6], "both kinds of weights, each seed"


def test_its_networks_are_on_the_runs_device(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):
        pass

    class Elsewhere(Session):
        def __init__(self, config: object, folder: Path) -> None:
            super().__init__(config, folder)  # type: ignore[arg-type]
            self.device = torch.device("meta")
            self.autocast = contextlib.nullcontext  # type: ignore[method-assign]

    def trainer(teacher: Teacher, *_: object) -> None:
        assert {weights.device.type for weights in teacher.parameters()} == {"meta"}
        raise Reached

    monkeypatch.setattr(benchmark, "Session", Elsewhere)
    monkeypatch.setattr(benchmark, "seed_replay", lambda *_: 0)
    monkeypatch.setattr(benchmark, "TeacherTrainer", trainer)
    config = parse_arguments(["preset=smoke", "processes=1"])
    with pytest.raises(Reached):
        benchmark._learn(config, benchmark.initialise, 1, "")
