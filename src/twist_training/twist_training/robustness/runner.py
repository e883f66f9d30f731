"""Runs every trial of a robustness measurement that the results table lacks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twist_training.progress import ProgressBar
from twist_training.robustness.disturbance import Disturbance
from twist_training.robustness.factors import Factor
from twist_training.robustness.trial import Pixels, TrialWorld
from twist_training.storage.result_table import ResultTable, Row
from twist_training.worker_pool import run_in_processes

KEY = ("factor", "level", "seed", "trial")

_TRIALS_PER_JOB = 5
"""Few enough that a kill loses little; enough that starting a world does not count."""


@dataclass(frozen=True)
class _Job:
    checkpoint: Path
    pixels: Pixels
    points: tuple[tuple[str, str, float], ...]
    """Factor, level and value of every point that is this world."""
    disturbance: Disturbance
    seed: int
    trials: tuple[int, ...]


def measure(
    table: ResultTable,
    checkpoint: Path,
    factors: tuple[Factor, ...],
    *,
    episodes: int,
    seed: int,
    workers: int,
    pixels: Pixels,
) -> None:
    """Adds the trials that `table` lacks; every row is on the disk before the next is awaited.

    Two levels that are the same world (all the zeros) are run once and entered under both.

    Args:
        table: with `KEY`.
        checkpoint: a folder.
        factors: the curves.
        episodes: trials per level, the same ones at every level.
        seed: layouts and looks are drawn from (seed, trial).
        workers: processes.
        pixels: see `TrialWorld`.

    Raises:
        CheckpointError: there is no valid checkpoint.
        RunError: it was trained with another task card.
    """
    jobs = list(_missing(table, checkpoint, factors, episodes, seed, pixels))
    total = sum(len(factor.levels) for factor in factors) * episodes
    missing = total - sum(
        {"factor": f.name, "level": v.label, "seed": seed, "trial": t} in table
        for f in factors
        for v in f.levels
        for t in range(episodes)
    )
    with ProgressBar(total=total, initial=total - missing, desc="robustness", unit="trial") as bar:
        for rows in _run(jobs, workers):
            for row in rows:
                if row not in table:
                    table.add(row)
                    bar.update()
            bar.set_postfix_str(f"{rows[-1]['factor']} {rows[-1]['level']}", refresh=False)


def _missing(
    table: ResultTable,
    checkpoint: Path,
    factors: tuple[Factor, ...],
    episodes: int,
    seed: int,
    pixels: Pixels,
) -> Iterator[_Job]:
    worlds: dict[Disturbance, list[tuple[str, str, float]]] = {}
    for factor in factors:
        for level in factor.levels:
            worlds.setdefault(level.disturbance, []).append((factor.name, level.label, level.value))
    # In blocks of trials over all levels: whenever it is stopped, all points of all curves rest
    # on about as many trials.
    for first in range(0, episodes, _TRIALS_PER_JOB):
        block = range(first, min(first + _TRIALS_PER_JOB, episodes))
        for disturbance, points in worlds.items():
            trials = tuple(
                trial
                for trial in block
                if any(
                    {"factor": factor, "level": label, "seed": seed, "trial": trial} not in table
                    for factor, label, _ in points
                )
            )
            if trials:
                yield _Job(checkpoint, pixels, tuple(points), disturbance, seed, trials)


def _run(jobs: list[_Job], workers: int) -> Iterator[list[Row]]:
    if workers <= 1:
        for job in jobs:
            yield _run_job(job)
    else:
        yield from run_in_processes(_run_job, jobs, workers)


def _run_job(job: _Job) -> list[Row]:
    world = TrialWorld(
        job.checkpoint,
        job.disturbance,
        seed=job.seed,
        pixels=job.pixels,
    )
    rows = []
    for trial in job.trials:
        started = time.monotonic()
        result = world.run(trial)
        seconds = round(time.monotonic() - started, 3)
        for factor, level, value in job.points:
            rows.append(
                {
                    "factor": factor,
                    "level": level,
                    "value": value,
                    "seed": job.seed,
                    "trial": trial,
                    **dataclasses.asdict(result),
                    "seconds": seconds,
                }
            )
    return rows
