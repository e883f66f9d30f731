"""Stage 1: the teacher learns from privileged state (Algorithm 1 of the paper, first half)."""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from twist_policy.statistics import wilson_interval
from twist_sim.task_card import TaskCard
from twist_training.progress import ProgressBar
from twist_training.rollout import CONTACT_FORCE_LIMIT, make_environments, run_episodes
from twist_training.runners.teacher_episodes import (
    add_episodes,
    draw_batch,
    first_episodes,
    measured_episodes,
    practice_starts,
    seed_replay,
)
from twist_training.runners.teacher_trainer import TeacherTrainer
from twist_training.session import MetricLog, Session, random_state, restore_random_state
from twist_training.storage.episodes import EpisodeFileError, Episodes, Replay, judged_again
from twist_training.teacher_policy import Teacher, TeacherPolicy

CHECKPOINT = "teacher.pt"
REPLAY = "teacher_replay.npz"
REPLAY_BEFORE = "teacher_replay.previous.npz"


def train_teacher(session: Session) -> Teacher:
    """Trains the teacher, or finishes its training; returns the best one seen.

    Writes ``teacher.pt`` (everything a resume needs, and the best weights) and
    ``teacher_replay.npz`` into the run folder.
    """
    config = session.config.teacher
    generator = session.seed("teacher")
    teacher = Teacher(session).to(session.device)
    episodes = config.environment_steps // config.episode_steps - first_episodes(config)
    rounds = max(1, -(-episodes // config.environments))
    trainer = TeacherTrainer(
        teacher, session, config.pretrain_steps + rounds * config.episode_steps
    )
    replay = Replay(session.contract, config.moving)
    training = _Training(session, teacher, trainer, replay, _Progress(), generator)
    saved, kept = _load(session)
    if saved is not None:
        if saved["finished"]:
            teacher.load_state_dict(saved["best"])
            return teacher
        assert kept is not None
        training.restore(saved, kept)
    progress = training.progress
    with MetricLog(session, "teacher", resumed_from=trainer.steps) as log:
        if progress.episodes == 0:
            training.begin(log)
        if progress.refined_from is None:
            training.learn(rounds, log)
        if config.refined_steps and session.card.refinement:
            if progress.refined_from is None:
                training.begin_refinement()
            training.learn(-(-config.refined_steps // config.episode_steps), log)
    teacher.load_state_dict(progress.weights)
    training.save(finished=True)
    return teacher


@dataclass
class _Training:
    """A teacher in training, everything random, and the checkpoint that holds both."""

    session: Session
    teacher: Teacher
    trainer: TeacherTrainer
    replay: Replay
    progress: _Progress
    generator: np.random.Generator

    @property
    def card(self) -> TaskCard:
        """The task, with the rules that the teacher learns by now."""
        card = self.session.card
        return card if self.progress.refined_from is None else card.refined()

    def restore(self, saved: dict[str, Any], kept: Episodes) -> None:
        """Goes on from a checkpoint and its replay."""
        self.teacher.load_state_dict(saved["teacher"])
        for name, optimizer in self.trainer.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
        self.progress = saved["progress"]
        self.trainer.steps = saved["steps"]
        self.trainer.refined_from = self.progress.refined_from
        self.replay.add(judged_again(kept, self.card.task_rules))
        restore_random_state(saved["random"], self.generator)

    def begin(self, log: MetricLog) -> None:
        """The episodes that the replay starts from, and the gradient steps before the first action.

        A checkpoint follows, so that a kill in the first rounds does not lose them.
        """
        session, config = self.session, self.session.config.teacher
        environments = make_environments(session.card, config.environments, config.episode_steps)
        seed_replay(session, self.replay, environments, self.generator)
        self.progress.episodes = len(self.replay)
        for step in ProgressBar(range(config.pretrain_steps), "teacher: pretraining", unit="step"):
            behaviour = step >= 2 * config.pretrain_steps // 3
            batch = draw_batch(session, self.replay, self.generator)
            log.add(self.trainer.step(batch, behaviour=behaviour))
        log.flush(
            self.trainer.steps,
            environment_steps=float(first_episodes(config) * config.episode_steps),
        )
        self.save()

    def begin_refinement(self) -> None:
        """From here on the card's refined rules count."""
        self.progress.begin_refinement(self.trainer.steps)
        self.trainer.refined_from = self.trainer.steps
        self.trainer.forget_gripper()
        self.replay = self.replay.judged_again(self.card.task_rules)

    def learn(self, rounds: int, log: MetricLog) -> None:
        """Rounds of new episodes and gradient steps until there are `rounds` of them.

        Those by the card's own rules end before when the target is reached.
        """
        session, trainer, progress = self.session, self.trainer, self.progress
        config, card = session.config.teacher, self.card
        refining = progress.refined_from is not None
        environments = make_environments(card, config.environments, config.episode_steps)
        bar = ProgressBar(
            total=rounds * config.episode_steps,
            initial=progress.rounds * config.episode_steps,
            desc="teacher: refined rules" if refining else "teacher",
            unit="step",
        )

        def step() -> None:
            log.add(trainer.step(draw_batch(session, self.replay, self.generator)))
            bar.update()

        while progress.rounds < rounds:
            trials = progress.episodes + np.arange(config.environments)
            share = (
                config.refined_practice
                if refining
                else config.practice_share(progress.rounds / rounds)
            )
            episodes = run_episodes(
                environments,
                TeacherPolicy(
                    self.teacher,
                    session,
                    explore=True,
                    noise=config.exploration_noise,
                    generator=self.generator,
                ),
                seed=session.layout_seed("teacher"),
                trials=trials,
                steps=config.episode_steps,
                practice=practice_starts(session, share, len(trials), self.generator),
                after_step=step,
            )
            add_episodes(session, self.replay, episodes, card.task_rules, self.generator)
            progress.rounds += 1
            progress.episodes = len(self.replay)
            acted = trainer.steps - config.pretrain_steps  # of every environment
            values = log.flush(
                trainer.steps,
                environment_steps=float(
                    first_episodes(config) * config.episode_steps + acted * config.environments
                ),
                **{"training/success": float(episodes.success.mean())},
            )
            bar.set_postfix_str(
                f"{progress}, training {episodes.success.mean():.0%}, "
                f"return {values.get('actor/return', float('nan')):.1f}",
                refresh=False,
            )
            done = progress.rounds == rounds
            if done or trainer.steps - progress.evaluated >= config.evaluate_every:
                self._evaluate(log)
                bar.set_postfix_str(str(progress))
                if progress.streak >= 2 and not refining:
                    progress.rounds = rounds
                self.save()
        bar.close()

    def _evaluate(self, log: MetricLog) -> None:
        session, progress, steps = self.session, self.progress, self.trainer.steps
        config = session.config.teacher
        started = time.monotonic()
        episodes, force = measured_episodes(
            session,
            TeacherPolicy(self.teacher, session, explore=False),
            seed=session.layout_seed("selection"),
            episodes=config.evaluation_episodes,
        )
        gentle = episodes.success & (force <= CONTACT_FORCE_LIMIT)
        # Processors that round differently must not come to different ends.
        success, gentle = session.processes.from_first((episodes.success, gentle))
        # A beginner presses; where gentleness is what is learned, it is what counts.
        progress.last = float((success if progress.refined_from is None else gentle).mean())
        progress.evaluated = steps
        if progress.last >= progress.best:
            progress.best = progress.last
            progress.weights = copy.deepcopy(self.teacher.state_dict())
        progress.streak = progress.streak + 1 if progress.last >= config.target_success else 0
        low, high = wilson_interval(int(success.sum()), len(success)).bounds
        log.write(
            steps,
            **{
                "evaluation/success": float(success.mean()),
                "evaluation/low": low,
                "evaluation/high": high,
                "evaluation/gentle": float(gentle.mean()),
                "evaluation/seconds": time.monotonic() - started,
            },
        )

    def save(self, finished: bool = False) -> None:
        """Writes the replay, then ``teacher.pt``."""
        folder = self.session.folder
        if self.session.processes.first:
            self.replay.episodes.save(folder / REPLAY, previous=folder / REPLAY_BEFORE)
        self.session.save(
            CHECKPOINT,
            {
                "finished": finished,
                "teacher": self.teacher.state_dict(),
                "best": self.progress.weights,
                "optimizers": {k: o.state_dict() for k, o in self.trainer.optimizers.items()},
                "steps": self.trainer.steps,
                "progress": self.progress,
                "random": random_state(self.generator),
            },
        )


class _Progress:
    """Counters that a resume needs."""

    refined_from: int | None = None
    """The trainer's steps when the card's refined rules took over; None before."""

    def __init__(self) -> None:
        self.rounds = 0
        self.episodes = 0
        self.evaluated = 0
        self.last = 0.0
        self.best = -1.0
        self.streak = 0
        self.weights: dict[str, Any] = {}

    def begin_refinement(self, steps: int) -> None:
        """From here on other rules count, and what was best by the card's own is forgotten."""
        self.refined_from = self.evaluated = steps
        self.rounds, self.best, self.streak = 0, -1.0, 0

    def __str__(self) -> str:
        if self.best < 0:
            return "not evaluated yet"
        counted = "success" if self.refined_from is None else "gentle success"
        return f"{counted} {self.last:.0%}, best {self.best:.0%}"


def _load(session: Session) -> tuple[dict[str, Any] | None, Episodes | None]:
    """The newest checkpoint that can be continued, and its replay; None where training begins.

    The replay is written before the checkpoint: a kill between the two leaves a newer replay,
    whose surplus belongs to the round that is repeated. A damaged replay leaves the one before it,
    which is enough for the checkpoint before the last.

    Raises:
        RunError: all checkpoints are damaged.
        EpisodeFileError: no checkpoint has its replay.
    """
    problem: EpisodeFileError | None = None
    for saved in session.checkpoints(CHECKPOINT):
        if saved["finished"]:
            return saved, None
        count = saved["progress"].episodes
        try:
            return saved, load_replay(session, at_least=count).first(count)
        except EpisodeFileError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None, None


def load_replay(session: Session, at_least: int = 0) -> Episodes:
    """The teacher's replay; the one before the last where that is damaged.

    Raises:
        EpisodeFileError: both are damaged, missing, or of fewer than `at_least` episodes.
    """
    problems: list[str] = []
    for path in (session.folder / REPLAY, session.folder / REPLAY_BEFORE):
        try:
            episodes = Episodes.load(path)
        except EpisodeFileError as error:
            problems.append(str(error))
            continue
        if len(episodes) >= at_least:
            if problems and session.processes.first:
                print(f"{problems[-1]}; continuing from {path}", file=sys.stderr)
            return episodes
        problems.append(f"{path} has {len(episodes)} episodes, {at_least} are needed")
    raise EpisodeFileError("; ".join(problems))
