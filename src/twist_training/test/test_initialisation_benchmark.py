"""``benchmarks/initialisation.py`` trains where and as it is told."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from twist_training.configuration import parse_arguments
from twist_training.session import Session
from twist_training.teacher_policy import Teacher

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "initialisation.py"


@pytest.fixture
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("initialisation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
