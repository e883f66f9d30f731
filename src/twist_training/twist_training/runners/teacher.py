"""Stage 1: the teacher learns from privileged state (Algorithm 1 of the paper, first half)."""

from __future__ import annotations

import copy
import functools
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twist_policy.statistics import wilson_interval
from twist_sim.env import TaskEnv
from twist_sim.task_card import TaskCard
from twist_sim.tasks import TaskRules
from twist_training.algorithms.actor_critic import Belief
from twist_training.algorithms.world_model import Batch, detach_starts
from twist_training.configuration import TeacherConfig
from twist_training.hindsight import in_hindsight
from twist_training.modules.rssm import LatentSequence, Rssm
from twist_training.progress import ProgressBar
from twist_training.rollout import BatchPolicy, make_environments, run_episodes
from twist_training.session import MetricLog, RunError, Session, random_state, restore_random_state
from twist_training.storage.episodes import (
    EpisodeFileError,
    Episodes,
    Replay,
    judged_again,
    object_moved,
)
from twist_training.teacher_policy import RandomPolicy, ScriptedPolicy, Teacher, TeacherPolicy

CHECKPOINT = "teacher.pt"
_GRIPPER = 3
"""Where an action says whether the gripper is to close, after the translation."""
_MOST_TRIES = 200
"""Episodes of random actions tried for each one that is kept for having moved the object."""
REPLAY = "teacher_replay.npz"
REPLAY_BEFORE = "teacher_replay.previous.npz"


class BehaviourTrainer:
    """Gradient steps of actor and critic in imagination, beside those of one more module.

    Args:
        teacher: the networks.
        session: device, precision.
        modules: what is trained, with learning rates, by name; ``actor`` and ``critic`` among them.
    """

    def __init__(
        self, teacher: Teacher, session: Session, modules: Mapping[str, tuple[nn.Module, float]]
    ) -> None:
        self._teacher, self._session, self._config = teacher, session, session.config.teacher
        teacher.world_model.rssm.fused = session.config.fused
        self._modules = {name: module for name, (module, _) in modules.items()}
        self._rates = {name: rate for name, (_, rate) in modules.items()}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=rate, eps=1e-5, fused=True)
            for name, (module, rate) in modules.items()
        }
        self.steps = 0

    def _learn_behaviour(
        self, latents: LatentSequence, belief: tuple[Rssm, LatentSequence] | None = None
    ) -> dict[str, Tensor]:
        """A step of actor and critic from instants of `latents`; the world model must be frozen.

        Args:
            latents: of the imagined world.
            belief: what the actor sees instead, at the same instants, and how it goes on.
        """
        config, behaviour = self._config, self._teacher.behaviour
        count = config.imagination_starts // self._session.processes.count
        believed = None
        if belief is None:
            ((h, z),) = detach_starts(count, latents)
        else:
            (h, z), start = detach_starts(count, latents, belief[1])
            believed = Belief(belief[0], *start)
        with self._session.autocast():
            actor_loss, critic_loss, metrics = behaviour.losses(
                self._teacher.world_model, h, z, believed
            )
        self._apply({"actor": actor_loss, "critic": critic_loss})
        if self.steps % config.slow_critic_every == 0:
            behaviour.update_slow_critic()
        return metrics

    def _set_rates(self, factor: float) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self._rates[name] * factor

    def _apply(self, losses: dict[str, Tensor]) -> None:
        """One step of the modules with these names, each by its own loss."""
        modules = [self._modules[name] for name in losses]
        for name, loss in losses.items():
            self.optimizers[name].zero_grad(set_to_none=True)
            loss.backward()
        self._session.processes.average_gradients(
            parameter for module in modules for parameter in module.parameters()
        )
        for name, module in zip(losses, modules, strict=True):
            nn.utils.clip_grad_norm_(
                module.parameters(), self._config.clip, error_if_nonfinite=True
            )
            self.optimizers[name].step()


class TeacherTrainer(BehaviourTrainer):
    """Gradient steps of world model and behaviour.

    Args:
        teacher: the networks.
        session: device, precision.
        total_steps: gradient steps in all, for the learning-rate schedule.

    Attributes:
        refined_from: the step from which the teacher learns by the card's refined rules, and the
            learning rates fall over the steps that are meant for that; None before.
    """

    def __init__(self, teacher: Teacher, session: Session, total_steps: int) -> None:
        config = session.config.teacher
        modules = {
            "model": (teacher.world_model, config.model_lr),
            "actor": (teacher.behaviour.actor, config.actor_lr),
            "critic": (teacher.behaviour.critic, config.critic_lr),
        }
        super().__init__(teacher, session, modules)
        self._total = total_steps
        self.refined_from: int | None = None

    def step(self, batch: Batch, *, behaviour: bool = True) -> dict[str, Tensor]:
        """One gradient step on `batch`; the world model alone when `behaviour` is False.

        With several processes, `batch` is this one's rows of the whole batch, and the terms for the
        log are those of its rows.
        """
        with self._session.processes.share():
            return self._step(batch, behaviour)

    def _step(self, batch: Batch, behaviour: bool) -> dict[str, Tensor]:
        world_model = self._teacher.world_model
        self._set_rates(self._rate(self.steps))
        world_model.requires_grad_(True)
        with self._session.autocast():
            loss, latents, metrics = world_model.loss(batch)
        self._apply({"model": loss})
        if behaviour:
            world_model.requires_grad_(False)
            metrics |= self._learn_behaviour(latents)
        self.steps += 1
        return metrics

    def forget_gripper(self) -> None:
        """Makes the actor undecided about the gripper; nothing where there is none.

        Whether the gripper is to close is a threshold. An actor that has settled far on one side of
        it never sees the other in imagination, and no gradient comes back through it: whatever
        closing too early then costs, it goes on doing so. What else the actor has learned stays.
        """
        if self._session.contract.gripper is None:
            return
        actor, optimizer = self._teacher.behaviour.actor, self.optimizers["actor"]
        rows = [_GRIPPER, _GRIPPER + self._session.contract.action_size]  # mean, deviation
        for parameter in actor.last_layer.parameters():
            moments = optimizer.state.get(parameter, {})
            parameter.data[rows] = 0.0
            for name in moments.keys() - {"step"}:
                moments[name][rows] = 0.0

    def _rate(self, step: int) -> float:
        """Factor on the learning rates."""
        last, half = self._config.final_lr, self._total / 2
        if self.refined_from is None or step <= self.refined_from:
            return 1.0 - _share(step - half, half) * (1.0 - last)
        first = self._rate(self.refined_from)
        fraction = _share(step - self.refined_from, self._config.refined_steps)
        return first - fraction * (first - last)


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))


def train_teacher(session: Session) -> Teacher:
    """Trains the teacher, or finishes its training; returns the best one seen.

    Writes ``teacher.pt`` (everything a resume needs, and the best weights) and
    ``teacher_replay.npz`` into the run folder.
    """
    config = session.config.teacher
    generator = session.seed("teacher")
    teacher = Teacher(session).to(session.device)
    episodes = config.environment_steps // config.episode_steps - _first_episodes(config)
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
            environment_steps=float(_first_episodes(config) * config.episode_steps),
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
            fraction = 1.0 if refining else progress.rounds / rounds
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
                practice=practice_starts(session, fraction, len(trials), self.generator),
                after_step=step,
            )
            _add(session, self.replay, episodes, card.task_rules, self.generator)
            progress.rounds += 1
            progress.episodes = len(self.replay)
            acted = trainer.steps - config.pretrain_steps  # of every environment
            values = log.flush(
                trainer.steps,
                environment_steps=float(
                    _first_episodes(config) * config.episode_steps + acted * config.environments
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
        success = teacher_episodes(
            session,
            TeacherPolicy(self.teacher, session, explore=False),
            seed=session.layout_seed("selection"),
            episodes=config.evaluation_episodes,
            steps=session.contract.episode_steps,
        ).success
        # Processors that round differently must not come to different ends.
        success = session.processes.from_first(success)
        progress.last = float(success.mean())
        progress.evaluated = steps
        if progress.last >= progress.best:
            progress.best = progress.last
            progress.weights = copy.deepcopy(self.teacher.state_dict())
        progress.streak = progress.streak + 1 if progress.last >= config.target_success else 0
        low, high = wilson_interval(int(success.sum()), len(success)).bounds
        log.write(
            steps,
            **{
                "evaluation/success": progress.last,
                "evaluation/low": low,
                "evaluation/high": high,
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


def _first_episodes(config: TeacherConfig) -> int:
    return config.scripted_episodes + config.random_episodes + config.lucky_episodes


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
        return f"success {self.last:.0%}, best {self.best:.0%}"


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


def seed_replay(
    session: Session, replay: Replay, environments: list[Any], generator: np.random.Generator
) -> None:
    """Adds the episodes that training starts from: random ones, scripted ones, lucky ones.

    Raises:
        RunError: random actions hardly ever move the object.
    """
    config, rules = session.config.teacher, session.card.task_rules
    random = RandomPolicy(session, generator)
    tried = 0

    def run(policy: BatchPolicy, count: int) -> Episodes:
        nonlocal tried
        trials = tried + np.arange(min(count, len(environments)))
        tried += len(trials)
        return run_episodes(
            environments,
            policy,
            seed=session.layout_seed("teacher"),
            trials=trials,
            steps=config.episode_steps,
            practice=practice_starts(session, 0.0, len(trials), generator),
        )

    kinds: list[tuple[int, BatchPolicy]] = [(config.random_episodes, random)]
    if config.scripted_episodes:
        kinds.append((config.scripted_episodes, ScriptedPolicy(session, 0.8, generator)))
    for count, policy in kinds:
        end = tried + count
        while tried < end:
            _add(session, replay, run(policy, end - tried), rules, generator)
    kept = 0
    last = tried + _MOST_TRIES * config.lucky_episodes
    with ProgressBar(
        total=config.lucky_episodes,
        desc="teacher: random actions that move the object",
        unit="episode",
        disable=not config.lucky_episodes,
    ) as bar:
        while kept < config.lucky_episodes:
            if tried >= last:
                raise RunError(
                    f"{last} episodes of random actions moved the object in too few of them for "
                    f"teacher.lucky_episodes={config.lucky_episodes}; give the task card practice "
                    "starts nearer to the object, or ask for fewer"
                )
            episodes = run(random, len(environments))
            moved = np.flatnonzero(object_moved(episodes, session.contract)).tolist()
            if moved := moved[: config.lucky_episodes - kept]:
                _add(session, replay, episodes.chosen(moved), rules, generator)
                kept += len(moved)
                bar.update(len(moved))


def _add(
    session: Session,
    replay: Replay,
    episodes: Episodes,
    rules: TaskRules,
    generator: np.random.Generator,
) -> None:
    replay.add(episodes)
    share = session.config.teacher.hindsight
    again = in_hindsight(episodes, rules, share, generator)
    if again is not None:
        replay.add(again)


def practice_starts(
    session: Session, fraction: float, count: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Which of `count` episodes begin at one of the task card's practice starts.

    Args:
        session: the task and its settings.
        fraction: how much of the training is over, in [0, 1].
        count: N.
        generator: draws them.

    Returns:
        (N,); all False where the card has no practice starts.
    """
    config = session.config.teacher
    if not session.card.practice:
        return np.zeros(count, bool)
    share = config.practice + (config.final_practice - config.practice) * min(1.0, 2 * fraction)
    return generator.random(count) < share


def draw_batch(session: Session, replay: Replay, generator: np.random.Generator) -> Batch:
    """This process's rows of a batch of windows."""
    config = session.config.teacher
    arrays = replay.sample(config.batch, config.length, generator)
    return Batch(*(session.tensor(session.processes.rows(array)) for array in arrays))


def teacher_episodes(
    session: Session,
    policy: BatchPolicy,
    *,
    seed: int,
    episodes: int,
    steps: int,
    first: int = 0,
    practice: float = 0.0,
    description: str | None = None,
    watch: Callable[[list[TaskEnv]], None] | None = None,
) -> Episodes:
    """`episodes` episodes in blocks of side-by-side environments.

    The share `practice` of them begins at one of the task card's practice starts. `watch` is called
    after every step with the environments of the block.
    """
    chosen = np.random.default_rng(seed).random(first + episodes) < practice
    chosen &= bool(session.card.practice)
    block = min(episodes, session.config.collection.environments)
    environments = make_environments(session.card, block, steps)
    parts = []
    with ProgressBar(
        total=episodes, desc=description, unit="episode", disable=description is None
    ) as bar:
        for start in range(0, episodes, block):
            trials = first + np.arange(start, min(start + block, episodes))
            active = environments[: len(trials)]
            parts.append(
                run_episodes(
                    active,
                    policy,
                    seed=seed,
                    trials=trials,
                    steps=steps,
                    practice=chosen[trials],
                    after_step=None if watch is None else functools.partial(watch, active),
                )
            )
            bar.update(len(trials))
    return Episodes.concatenate(parts)
