"""Runs the episodes of a diagnosis and keeps, of each, every belief and a few frames."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twist_training.atomic_files import write_atomically
from twist_training.diagnosis.look_parameters import look_parameters, picture_parameters
from twist_training.progress import ProgressBar
from twist_training.robustness.disturbance import Disturbance
from twist_training.robustness.trial import Pixels, Trace, TrialResult, TrialWorld
from twist_training.storage.result_table import ResultTable, Row
from twist_training.worker_pool import run_in_processes

KEY = ("seed", "trial")
FRAMES = 5
"""Frames kept of each episode, from its first to its last."""
_TRIALS_PER_JOB = 5


@dataclass(frozen=True)
class Episode:
    """One episode of a diagnosis.

    Attributes:
        trial: its number.
        success: whether the task's rule held at the end.
        distance: metres between object and goal at the end.
        parameters: of the look and of its first picture, by name.
        state: true privileged states, SI units, (T, S).
        belief: believed ones, (T, S).
        surprise: nats, (T,).
        frame_steps: which steps have a frame, (F,).
        frames: uint8 RGB, (F, H, W, 3).
    """

    trial: int
    success: bool
    distance: float
    parameters: dict[str, float]
    state: NDArray[np.float64]
    belief: NDArray[np.float64]
    surprise: NDArray[np.float64]
    frame_steps: NDArray[np.int64]
    frames: NDArray[np.uint8]


@dataclass(frozen=True)
class _Job:
    checkpoint: Path
    pixels: Pixels
    seed: int
    trials: tuple[int, ...]
    folder: Path


def run_episodes(
    table: ResultTable,
    folder: Path,
    checkpoint: Path,
    *,
    episodes: int,
    seed: int,
    workers: int,
    pixels: Pixels,
) -> list[Episode]:
    """Runs the trials that `table` lacks and returns all `episodes` of `seed`.

    Args:
        table: with `KEY`; a row per episode.
        folder: where the traces go, a file per episode.
        checkpoint: a folder.
        episodes: trials 0 to episodes - 1.
        seed: layouts and looks are drawn from (seed, trial).
        workers: processes.
        pixels: see `TrialWorld`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [t for t in range(episodes) if {"seed": seed, "trial": t} not in table]
    jobs = [
        _Job(checkpoint, pixels, seed, tuple(missing[first : first + _TRIALS_PER_JOB]), folder)
        for first in range(0, len(missing), _TRIALS_PER_JOB)
    ]
    results = map(_run, jobs) if workers <= 1 else run_in_processes(_run, jobs, workers)
    with ProgressBar(
        total=episodes, initial=episodes - len(missing), desc="diagnose", unit="trial"
    ) as bar:
        for rows in results:
            for row in rows:
                table.add(row)
                bar.update()
    wanted = [row for row in table.rows if row["seed"] == seed and row["trial"] < episodes]
    return [_read(row, folder) for row in sorted(wanted, key=lambda row: row["trial"])]


def _run(job: _Job) -> list[Row]:
    world = TrialWorld(job.checkpoint, Disturbance(), seed=job.seed, pixels=job.pixels)
    last = world.contract.episode_steps - 1
    keep = frozenset(round(step) for step in np.linspace(0, last, FRAMES))
    rows = []
    for trial in job.trials:
        trace = Trace(keep=keep)
        result = world.run(trial, trace)
        rows.append(
            save_episode(
                job.folder, job.seed, trial, result, look_parameters(world.look(trial)), trace
            )
        )
    return rows


def save_episode(
    folder: Path,
    seed: int,
    trial: int,
    result: TrialResult,
    parameters: dict[str, float],
    trace: Trace,
) -> Row:
    """Writes an episode's trace and returns its row for the table."""
    steps = sorted(trace.frames)
    with write_atomically(folder / _name(seed, trial)) as file:
        np.savez_compressed(
            file,
            state=np.array(trace.state),
            belief=np.array(trace.belief),
            surprise=np.array(trace.surprise),
            frame_steps=np.array(steps),
            frames=np.stack([trace.frames[step] for step in steps]),
        )
    return {
        "seed": seed,
        "trial": trial,
        **dataclasses.asdict(result),
        "parameters": {**parameters, **picture_parameters(trace.frames[steps[0]])},
    }


def _name(seed: int, trial: int) -> str:
    return f"seed{seed}_trial{trial:04d}.npz"


def _read(row: Row, folder: Path) -> Episode:
    with np.load(folder / _name(row["seed"], row["trial"])) as data:
        arrays: dict[str, Any] = {name: data[name] for name in data.files}
    return Episode(
        trial=row["trial"],
        success=row["success"],
        distance=row["distance"],
        parameters=row["parameters"],
        **arrays,
    )
