"""``benchmarks/train_step.py`` compares settings as it is told, and says why it cannot."""

from __future__ import annotations

import subprocess
import sys

from benchmark_scripts import BENCHMARKS, load_benchmark

from twist_training.configuration import parse_arguments


def test_other_settings_take_the_place_of_those_with_their_names() -> None:
    benchmark = load_benchmark("train_step")
    arguments = ["preset=cpu", "device=cuda", "cuda_graph=true"]
    others = benchmark.replaced(arguments, ["cuda_graph=false", "fused=false"])
    config = parse_arguments(others)
    assert (config.device, config.cuda_graph, config.fused) == ("cuda", False, False)


def test_a_setting_that_cannot_be_is_named() -> None:
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / "train_step.py"), "batch=3"],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "unknown setting 'batch'" in ended.stderr
    assert "CalledProcessError" not in ended.stderr
