"""``twist-train refine``: a trained behaviour learns the task card's present reward.

World model and student stay as they are, frozen: what the world does has not changed. The episodes
of the run are judged again by the card's rules, the reward head learns what they say, and actor and
critic learn from it in imagination. That takes minutes where a new run takes hours.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from twist_sim.tasks import TaskRules
from twist_training.algorithms.world_model import Batch
from twist_training.atomic_files import write_atomically
from twist_training.configuration import (
    ConfigurationError,
    TrainingConfig,
    with_arguments,
)
from twist_training.runners.pipeline import REFINEMENT, Pipeline, default_folder
from twist_training.runners.teacher import BehaviourTrainer, draw_batch
from twist_training.session import MetricLog, RunError, Session
from twist_training.shared_data import link_files, settings_of, take_data_from
from twist_training.storage.episodes import Episodes, Replay
from twist_training.teacher_policy import Teacher

_LOG_EVERY = 100


@dataclass(frozen=True)
class RefinementSettings:
    """Arguments of ``twist-train refine``.

    Attributes:
        run: folder of a finished run; it stays as it is.
        output: new run folder; empty for ``<run>_refined``.
        steps: gradient steps.
        actor_lr: learning rate of the actor at the start; it falls to a twentieth.
        critic_lr: likewise of critic and reward head.
        evaluation_workers: processes of the evaluation.
    """

    run: str = ""
    output: str = ""
    steps: int = 3000
    actor_lr: float = 2e-4
    critic_lr: float = 3e-4
    evaluation_workers: int = 2


def main(arguments: list[str]) -> None:
    """Refines a run into a new folder, exports and evaluates its checkpoint.

    Raises:
        ConfigurationError: an argument is wrong or missing.
        RunError: `run` is no finished run.
        DiskError: the disk is full.
    """
    settings = with_arguments(RefinementSettings(), arguments)
    if not settings.run:
        raise ConfigurationError("run is missing: name the folder of a finished run")
    if settings.steps < 1 or min(settings.actor_lr, settings.critic_lr) <= 0.0:
        raise ConfigurationError(
            "steps must be 1 or more, and learning rates above 0; found "
            f"{settings.steps}, {settings.actor_lr:g} and {settings.critic_lr:g}"
        )
    source = Path(settings.run)
    folder = Path(settings.output or f"{source}_refined")
    if folder.resolve() == source.resolve():
        raise ConfigurationError("output must be another folder than run, which stays as it is")
    pipeline = Pipeline(_prepare(source, folder, settings), folder, folder / "checkpoint")
    if not (folder / REFINEMENT).exists():
        with pipeline.clock.measure("refine"):
            refine(pipeline.session, source, settings)
        with write_atomically(folder / REFINEMENT) as file:
            command = _command(settings, pipeline.session.config)
            file.write(json.dumps({"command": command}, indent=2).encode())
    for stage in ("export", "evaluate"):
        pipeline.run(stage)


def _prepare(source: Path, folder: Path, settings: RefinementSettings) -> TrainingConfig:
    """Makes the run folder: everything of `source`, to be read only. Returns its settings."""
    config = settings_of(source)
    if not (source / "student.pt").exists():
        raise RunError(f"{source} has no student.pt: run its stage distil first")
    take_data_from(source, config, folder)
    students = [*source.glob("student_[0-9]*.npz"), *source.glob("images_student_[0-9]*.npy")]
    link_files(source, folder, ["student.pt", *(path.name for path in students)])
    for name in ("student.jsonl", "timing.json"):  # may be written to
        if (source / name).exists() and not (folder / name).exists():
            shutil.copyfile(source / name, folder / name)
    evaluation = dataclasses.replace(config.evaluation, workers=settings.evaluation_workers)
    return dataclasses.replace(config, evaluation=evaluation)


def _command(settings: RefinementSettings, config: TrainingConfig) -> str:
    """The command line that repeats this, after the one that repeats the run."""
    usual = RefinementSettings()
    changed = [
        f"{name}={getattr(settings, name)}"
        for name in ("steps", "actor_lr", "critic_lr")
        if getattr(settings, name) != getattr(usual, name)
    ]
    return " ".join(["twist-train", "refine", f"run={default_folder(config)}", *changed])


def judged_again(episodes: Episodes, rules: TaskRules) -> Episodes:
    """The episodes with the rewards that `rules` give now."""
    reward = np.zeros_like(episodes.reward)
    for row, states in zip(reward, episodes.state, strict=True):
        row[1:] = [rules.reward(state) for state in states[1:]]
    return dataclasses.replace(episodes, reward=reward)


def refine(session: Session, source: Path, settings: RefinementSettings) -> None:
    """Trains reward head, actor and critic of the run `source`; writes ``teacher.pt``.

    An interrupted refinement begins anew, from the teacher of `source`.

    Raises:
        RunError: the teacher of `source` is missing, damaged or not finished.
    """
    saved = Session(session.config, source).load("teacher.pt")
    if saved is None or not saved["finished"]:
        raise RunError(f"the teacher of {source} is not trained to its end: finish its stages")
    teacher = Teacher(session).to(session.device)
    teacher.load_state_dict(saved["best"])
    generator = session.seed("refine")
    replays = _replays(session, source)
    trainer = RefinementTrainer(teacher, session, settings)
    with MetricLog(session.folder, "refine") as log:
        for step in tqdm(range(1, settings.steps + 1), "refine", unit="step"):
            replay = replays[step % len(replays)]
            log.add(trainer.step(draw_batch(session, replay, generator)))
            if step % _LOG_EVERY == 0 or step == settings.steps:
                log.flush(step)
    session.save("teacher.pt", {**saved, "best": teacher.state_dict()})


def _replays(session: Session, source: Path) -> list[Replay]:
    """Of the teacher's collected episodes, and of the student's own, which are longer."""
    replays = []
    blocks = [[source / "collected.npz"], sorted(source.glob("student_[0-9]*.npz"))]
    for paths in filter(None, blocks):
        replay = Replay()
        for path in paths:
            replay.add(judged_again(Episodes.load(path), session.card.task_rules))
        replays.append(replay)
    return replays


class RefinementTrainer(BehaviourTrainer):
    """Gradient steps of reward head, actor and critic; the rest of the world model is frozen.

    Args:
        teacher: the networks; left with gradients switched off in its world model.
        session: device, precision.
        settings: learning rates and their schedule's length.
    """

    def __init__(self, teacher: Teacher, session: Session, settings: RefinementSettings) -> None:
        modules = {
            "reward": (teacher.world_model.reward, settings.critic_lr),
            "actor": (teacher.behaviour.actor, settings.actor_lr),
            "critic": (teacher.behaviour.critic, settings.critic_lr),
        }
        super().__init__(teacher, session, modules)
        self._total = settings.steps
        teacher.world_model.requires_grad_(False)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step of each; returns the terms for the log."""
        world_model = self._teacher.world_model
        self._set_rates(0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * self.steps / self._total)))
        with self._session.autocast():
            with torch.no_grad():
                latents = world_model.rssm.observe(
                    world_model.embed(batch.state), batch.previous_action
                )
            world_model.reward.requires_grad_(True)
            predicted = world_model.reward(latents.features).float().squeeze(-1)
            reward_loss = 0.5 * (predicted - batch.reward).square().mean()
        self._apply("reward", reward_loss)
        world_model.reward.requires_grad_(False)
        metrics = self._learn_behaviour(latents)
        self.steps += 1
        return metrics | {"world_model/reward": reward_loss.detach()}
