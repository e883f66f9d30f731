"""The student acting in simulation, with pictures: for relabelling and for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twist_sim.task_card import load_task_card
from twist_sim.textures import Split
from twist_training.algorithms.distillation import Student
from twist_training.configuration import TrainingConfig
from twist_training.modules.networks import Actor
from twist_training.modules.rssm import Rssm
from twist_training.rollout import Float, Observation, make_environments, run_episodes
from twist_training.storage.episodes import Episodes
from twist_training.storage.images import make_sampler, shared_renderer
from twist_training.worker_pool import run_in_processes


@dataclass(frozen=True)
class StudentJob:
    """One worker's share of episodes.

    Attributes:
        config: the run's settings.
        student: the student's weights, on the CPU.
        actor: the actor's weights, on the CPU.
        split: ``train`` draws a look per step, ``held_out`` one per episode.
        seed: layouts and looks are drawn from (seed, trial).
        trials: trial numbers.
        steps: actions per episode.
        keep_images: return what the student saw.
    """

    config: TrainingConfig
    student: dict[str, Any]
    actor: dict[str, Any]
    split: Split
    seed: int
    trials: NDArray[np.int64]
    steps: int
    keep_images: bool


class StudentPolicy:
    """Student and actor on rendered images, for N environments at once; latents are modes."""

    def __init__(self, job: StudentJob) -> None:
        card = load_task_card(job.config.task)
        contract = card.contract(job.config.student.observes_ee_position)
        self._job = job
        self._student = Student(job.config.student, job.config.teacher, contract).eval()
        self._student.load_state_dict(job.student)
        features = job.config.teacher.rssm.features
        self._actor = Actor(
            features,
            contract.action_size,
            job.config.teacher.head_width,
            job.config.teacher.head_layers,
        ).eval()
        self._actor.load_state_dict(job.actor)
        self.card = card
        self._renderer = shared_renderer(job.config.task, job.split, job.config.textures)
        self.images: list[NDArray[np.uint8]] = []

    def reset(self, trials: NDArray[np.int64]) -> None:
        """Forgets the past and draws each episode's look from (seed, trial)."""
        rssm: Rssm = self._student.rssm
        self._h, self._z = rssm.initial(len(trials))
        self.images = []
        self._samplers = [
            make_sampler(
                self._job.config.task,
                self._job.split,
                int(np.random.SeedSequence([self._job.seed, int(trial)]).generate_state(1)[0]),
                self._job.config.textures,
            )
            for trial in trials
        ]
        self._looks = [sampler.draw() for sampler in self._samplers]
        self._noise = [np.random.default_rng([self._job.seed, int(trial)]) for trial in trials]

    @torch.no_grad()
    def act(self, observation: Observation) -> Float:
        """Actions in [-1, 1], (N, A)."""
        if self._job.split == "train":
            self._looks = [
                sampler.draw(keep_camera=look.camera)
                for sampler, look in zip(self._samplers, self._looks, strict=True)
            ]
        image = np.stack(
            [
                self._renderer.render_training_image(state, look, noise)
                for state, look, noise in zip(
                    observation.sim_state, self._looks, self._noise, strict=True
                )
            ]
        )
        if self._job.keep_images:
            self.images.append(image)
        embedding = self._student.embed(
            torch.from_numpy(image), torch.from_numpy(observation.ee_position)
        )
        self._h, self._z = self._student.rssm.observe_step(
            embedding, torch.from_numpy(observation.executed_action), self._h, self._z
        )
        action: Float = self._actor(torch.cat([self._h, self._z], -1)).mode.numpy()
        return action


def run_student(job: StudentJob) -> tuple[Episodes, NDArray[np.uint8] | None]:
    """Runs a job in this process.

    Returns:
        The episodes and, when the images are to be kept, these, (N, T, 1, W, W, 3). The student
        never sees the state after its last action, so that the episodes then lack it, too.
    """
    torch.set_num_threads(1)
    block = 25
    policy = StudentPolicy(job)
    environments = make_environments(policy.card, min(block, len(job.trials)), job.steps)
    parts, images = [], []
    for start in range(0, len(job.trials), block):
        trials = job.trials[start : start + block]
        episodes = run_episodes(environments, policy, seed=job.seed, trials=trials, steps=job.steps)
        parts.append(episodes)
        if job.keep_images:
            images.append(np.stack(policy.images, axis=1)[:, :, None])
    joined = Episodes.concatenate(parts)
    if job.keep_images:
        joined = _without_last_instant(joined)
    return joined, np.concatenate(images) if job.keep_images else None


def _without_last_instant(episodes: Episodes) -> Episodes:
    return Episodes(
        state=episodes.state[:, :-1],
        previous_action=episodes.previous_action[:, :-1],
        requested_action=episodes.requested_action[:, :-1],
        reward=episodes.reward[:, :-1],
        sim_state=episodes.sim_state[:, :-1],
        success=episodes.success,
    )


def run_student_in_processes(
    config: TrainingConfig,
    student: Student,
    actor: Actor,
    *,
    split: Split,
    seed: int,
    episodes: int,
    steps: int,
    keep_images: bool,
) -> tuple[Episodes, NDArray[np.uint8] | None]:
    """`episodes` episodes of the student over the configured rendering processes."""
    workers = max(1, min(config.evaluation.workers, episodes // 4))
    weights = [
        {name: value.detach().cpu() for name, value in module.state_dict().items()}
        for module in (student, actor)
    ]
    jobs = [
        StudentJob(config, weights[0], weights[1], split, seed, trials, steps, keep_images)
        for trials in np.array_split(np.arange(episodes), workers)
    ]
    if workers == 1:
        threads = torch.get_num_threads()
        try:
            # New networks draw weights; training goes on as if that had been another process.
            with torch.random.fork_rng(devices=[]):
                results = [run_student(jobs[0])]
        finally:
            torch.set_num_threads(threads)
    else:
        results = list(run_in_processes(run_student, jobs, workers))
    joined = Episodes.concatenate([result[0] for result in results])
    kept = [result[1] for result in results if result[1] is not None]
    return joined, np.concatenate(kept) if kept else None
