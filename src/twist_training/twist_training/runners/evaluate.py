"""Stage 5: the exported checkpoint, exactly as a robot loads it, on held-out appearances."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twist_policy.checkpoint import load_checkpoint
from twist_policy.latent_policy import LatentPolicy
from twist_policy.statistics import wilson_interval
from twist_sim.appearance import AppearanceSampler
from twist_sim.env import TaskEnv
from twist_sim.rendering import SceneRenderer
from twist_sim.task_card import load_task_card
from twist_training.session import RunError
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
    """

    episodes: int
    successes: int
    low: float
    high: float
    mean_distance: float
    object_error: float
    surprise: float
    surprise_p99: float

    def to_dict(self) -> dict[str, float]:
        """Plain data for the manifest."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.successes}/{self.episodes} "
            f"(95 % interval {100 * self.low:.0f} to {100 * self.high:.0f} %), "
            f"final distance {100 * self.mean_distance:.1f} cm"
        )


@dataclass(frozen=True)
class _Job:
    checkpoint: Path
    seed: int
    trials: tuple[int, ...]


def evaluate_checkpoint(
    checkpoint: Path, *, episodes: int, seed: int, workers: int
) -> EvaluationResult:
    """Runs `checkpoint` on full 640x480 frames with held-out appearances, one per episode.

    Every frame goes through the checkpoint's own image path and every action through the gate.
    """
    jobs = [
        _Job(checkpoint, seed, tuple(int(t) for t in part))
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
    )


def _evaluate(job: _Job) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of (success, final distance, mean error of the believed object), and all surprises."""
    checkpoint = load_checkpoint(job.checkpoint)
    contract = checkpoint.contract
    card = load_task_card(contract.task)
    differences = contract.differences(card.contract(contract.observes_ee_position))
    if differences:
        raise RunError(
            f"{job.checkpoint} was trained with another task card ({'; '.join(differences)}); "
            "train it again, or evaluate it with the card it was trained with"
        )
    policy = LatentPolicy(checkpoint, threads=1)
    sampler = AppearanceSampler(card, split="held_out", seed=job.seed)
    renderer = SceneRenderer(card, sampler)
    environment = TaskEnv(card)
    believed = contract.state_slice("object_position")
    rows, surprises = [], []
    for trial in job.trials:
        look = sampler.draw_trial(trial)
        generator = np.random.default_rng([job.seed, trial])
        state, info = environment.reset(options={"seed": job.seed, "trial": trial})
        policy.reset()
        errors = []
        for _ in range(contract.episode_steps):
            frame = renderer.render_camera_image(info["sim_state"], look, generator)
            output = policy.step(frame, info["ee_position"])
            errors.append(np.linalg.norm(output.belief[believed] - state[believed]))
            surprises.append(output.surprise)
            state, _, _, _, info = environment.step(output.action.astype(np.float32))
            if info["stopped"]:  # the gate refused: on a robot the trial ends here, unsolved
                break
            executed = info["executed_action"]
            policy.commit(
                executed[:3] * contract.action_bound,
                gripper_state=None if contract.gripper is None else float(executed[3]),
            )
        solved = info["success"] and not info["stopped"]
        rows.append([solved, info["distance"], np.mean(errors)])
    return np.array(rows, float), np.array(surprises)
