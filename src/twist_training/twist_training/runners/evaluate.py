"""Stage 5: the exported checkpoint, exactly as a robot loads it, on held-out appearances."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twist_policy.statistics import wilson_interval
from twist_sim.task_card import load_task_card
from twist_training.robustness.disturbance import Disturbance
from twist_training.robustness.trial import Trace, TrialWorld
from twist_training.rollout import CONTACT_FORCE_LIMIT
from twist_training.worker_pool import run_in_processes


@dataclass(frozen=True)
class EvaluationResult:
    """Success on evaluation layouts.

    Attributes:
        episodes: how many.
        successes: in how many the task's rule held at the end.
        low: lower end of the Wilson 95 % interval.
        high: upper end.
        mean_distance: metres between object and goal at the end.
        object_error: mean distance between believed and true object, metres; NaN for the teacher.
        surprise: mean KL[posterior || prior] in nats; NaN for the teacher.
        surprise_p99: its 99th percentile over all steps, to set a robot's limits by.
        force_median: of the episodes' largest contact forces, newtons.
        force_largest: of all of them.
        pressed: in how many it was above `CONTACT_FORCE_LIMIT`.
    """

    episodes: int
    successes: int
    low: float
    high: float
    mean_distance: float
    object_error: float
    surprise: float
    surprise_p99: float
    force_median: float = math.nan
    force_largest: float = math.nan
    pressed: float = math.nan

    def to_dict(self) -> dict[str, float]:
        """Plain data for the manifest."""
        return asdict(self)

    def __str__(self) -> str:
        forces = ""
        if not math.isnan(self.pressed):
            forces = (
                f", contact force {self.force_median:.0f} N (median of the episodes), "
                f"{self.force_largest:.0f} N at most, above {CONTACT_FORCE_LIMIT:.0f} N in "
                f"{self.pressed:.0f}"
            )
        return (
            f"{self.successes}/{self.episodes} "
            f"(95 % interval {100 * self.low:.0f} to {100 * self.high:.0f} %), "
            f"final distance {100 * self.mean_distance:.1f} cm{forces}"
        )


@dataclass(frozen=True)
class _Job:
    checkpoint: Path
    task: str
    seed: int
    trials: tuple[int, ...]


def evaluate_checkpoint(
    checkpoint: Path, *, task: str, episodes: int, seed: int, workers: int
) -> EvaluationResult:
    """Runs `checkpoint` on full camera frames with held-out appearances, one per episode.

    Every frame goes through the checkpoint's own image path and every action through the gate.

    Args:
        checkpoint: a folder.
        task: name or path of the task card that it was trained with.
        episodes: how many.
        seed: of layouts and looks.
        workers: processes.
    """
    jobs = [
        _Job(checkpoint, task, seed, tuple(int(t) for t in part))
        for part in np.array_split(np.arange(episodes), max(1, min(workers, episodes)))
    ]
    parts = list(run_in_processes(_evaluate, jobs, len(jobs)))
    rows = np.concatenate([part[0] for part in parts])
    surprise = np.concatenate([part[1] for part in parts])
    successes = int(rows[:, 0].sum())
    low, high = wilson_interval(successes, episodes).bounds
    return EvaluationResult(
        episodes=episodes,
        successes=successes,
        low=low,
        high=high,
        mean_distance=float(rows[:, 1].mean()),
        object_error=float(rows[:, 2].mean()),
        surprise=float(surprise.mean()),
        surprise_p99=float(np.quantile(surprise, 0.99)),
        force_median=float(np.median(rows[:, 3])),
        force_largest=float(rows[:, 3].max()),
        pressed=float((rows[:, 3] > CONTACT_FORCE_LIMIT).sum()),
    )


def _evaluate(job: _Job) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of (success, final distance, mean error of the belief, largest force); all surprises."""
    card = load_task_card(job.task)
    world = TrialWorld(job.checkpoint, Disturbance(), seed=job.seed, pixels="frame", card=card)
    rows, surprises = [], []
    for trial in job.trials:
        trace = Trace()
        result = world.run(trial, trace)
        rows.append([result.success, result.distance, result.object_error, result.contact_force])
        surprises += trace.surprise
    return np.array(rows, float), np.array(surprises)
