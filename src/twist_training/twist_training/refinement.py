"""``twist-train refine``: a trained behaviour learns more, without a new run.

It learns the reward that the task card has for a refinement, or the one that ``reward=`` asks for.
The teacher's world model stays as it is, frozen: what the world does has not changed. The episodes
of the run are judged again by the rules, the reward head learns what they say, and actor and critic
learn from it in imagination. That takes minutes where a new run takes hours.

With ``belief=student`` the behaviour also learns to bear what the student gets wrong. The imagined
world goes on from what the teacher knows of a stored instant, but the actor is shown what the
student makes of the picture of that instant: it is paid for what its actions do, not for what they
would do if the student were right.

A behaviour that acts otherwise leads to other pictures. With ``rounds`` the student acts in turn,
and is distilled with what it met, before the behaviour learns again.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twist_sim.task_card import TaskCard
from twist_sim.tasks import TaskRules
from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import Batch
from twist_training.atomic_files import write_atomically
from twist_training.configuration import (
    MACHINE_SETTINGS,
    ConfigurationError,
    TrainingConfig,
    parse_arguments,
    with_arguments,
)
from twist_training.local_processes import companions, is_first_process, process_count
from twist_training.modules.rssm import LatentSequence
from twist_training.progress import ProgressBar
from twist_training.run_lock import locked
from twist_training.runners.collect import render_episodes
from twist_training.runners.distil import (
    DistillationTrainer,
    add_student_rounds,
    let_student_act,
    student_rounds,
)
from twist_training.runners.pipeline import REFINEMENT, Pipeline, default_folder, refinements
from twist_training.runners.teacher_episodes import draw_batch
from twist_training.runners.teacher_trainer import BehaviourTrainer
from twist_training.session import MetricLog, RunError, Session
from twist_training.shared_data import link_files, settings_of, take_data_from
from twist_training.storage.episodes import (
    EpisodeFileError,
    Episodes,
    Replay,
    judged_again,
    sample_windows,
)
from twist_training.teacher_policy import Teacher

Weights = dict[str, Any]

_LOG_EVERY = 100
_PROGRESS = "refinement.pt"


@dataclass(frozen=True)
class RefinementSettings:
    """Arguments of ``twist-train refine``.

    Attributes:
        run: folder of a finished run; it stays as it is.
        output: new run folder; empty for ``<run>_refined``.
        steps: gradient steps of the behaviour in each of its turns.
        actor_lr: learning rate of the actor at the start; it falls to a twentieth.
        critic_lr: likewise of critic and reward head.
        belief: what the actor sees in imagination, ``teacher`` or ``student``.
        reward: rule parameters that are others than the card's, ``NAME=VALUE,NAME=VALUE``.
        rounds: turns of the student, each followed by another one of the behaviour.
        last: who learns last, ``behaviour`` or ``student``, for which it gets one more turn.
        student_steps: gradient steps of the student in each of its turns.
        student_lr: learning rate of the student at the start of a turn; it falls to a twentieth.

    The settings of the machine (`configuration.MACHINE_SETTINGS`) are those of the run unless they
    are given, too.
    """

    run: str = ""
    output: str = ""
    steps: int = 1500
    actor_lr: float = 2e-4
    critic_lr: float = 3e-4
    belief: str = "student"
    reward: str = ""
    rounds: int = 1
    last: str = "behaviour"
    student_steps: int = 800
    student_lr: float = 5e-4


def main(arguments: list[str]) -> None:
    """Refines a run into a new folder, exports and evaluates its checkpoint.

    Raises:
        ConfigurationError: an argument is wrong or missing.
        RunError: `run` is no finished run, or `output` was refined with other settings.
        DiskError: the disk is full.
    """
    machine = [a for a in arguments if a.partition("=")[0] in MACHINE_SETTINGS]
    settings = with_arguments(RefinementSettings(), [a for a in arguments if a not in machine])
    if not settings.run:
        raise ConfigurationError("run is missing: name the folder of a finished run")
    _validate(settings)
    parse_arguments(machine)  # refuses what would be wrong for any run
    source = Path(settings.run)
    folder = Path(settings.output or f"{source}_refined")
    if folder.resolve() == source.resolve():
        raise ConfigurationError("output must be another folder than run, which stays as it is")
    config = with_arguments(settings_of(source), machine)
    settings = _possible(settings, config)
    with locked(folder):
        if is_first_process():
            _prepare(source, folder, config)
        with companions(process_count(config), ["refine", *arguments]):
            _run(Pipeline(config, folder, folder / "checkpoint"), source, settings)


def _run(pipeline: Pipeline, source: Path, settings: RefinementSettings) -> None:
    """Every process's part."""
    folder, processes = pipeline.session.folder, pipeline.session.processes
    command = _command(settings, pipeline.session.config)
    if done := processes.from_first(refinements(folder)):
        _same(command, done[-1], folder)
    else:
        with pipeline.measured("refine"):
            refine(pipeline.session, source, settings)
        if processes.first:
            with write_atomically(folder / REFINEMENT) as file:
                record = {"before": refinements(source), "command": command}
                file.write(json.dumps(record, indent=2).encode())
    for stage in ("export", "evaluate"):
        pipeline.run(stage)
        processes.wait()
    if processes.first:
        print(f"refine: done, {pipeline.clock.seconds['refine'] / 60:.1f} min in all", flush=True)


def _validate(settings: RefinementSettings) -> None:
    for name in ("steps", "student_steps"):
        if getattr(settings, name) < 1:
            raise ConfigurationError(f"{name} must be 1 or more, found {getattr(settings, name)}")
    for name in ("actor_lr", "critic_lr", "student_lr"):
        if getattr(settings, name) <= 0.0:
            raise ConfigurationError(f"{name} must be above 0, found {getattr(settings, name):g}")
    if settings.rounds < 0:
        raise ConfigurationError(f"rounds must not be negative, found {settings.rounds}")
    if settings.belief not in ("teacher", "student"):
        raise ConfigurationError(f"belief is {settings.belief!r}; use teacher or student")
    if settings.last not in ("behaviour", "student"):
        raise ConfigurationError(f"last is {settings.last!r}; use behaviour or student")


def _same(mine: str, theirs: str, folder: Path) -> None:
    if mine != theirs:
        raise RunError(
            f"the refinement in {folder} was started as '{theirs}', now '{mine}'; continue it with "
            "the same settings, or choose another folder with output=..."
        )


def _possible(settings: RefinementSettings, config: TrainingConfig) -> RefinementSettings:
    """The settings without the student's turns, where the run has switched its episodes off."""
    if config.distillation.student_episodes:
        return settings
    if settings.last == "student":
        raise ConfigurationError(
            "last=student needs the student's own episodes, and the run has "
            "distillation.student_episodes=0; leave last=student out"
        )
    if settings.rounds and is_first_process():
        print("refine: rounds=0, since the run has distillation.student_episodes=0", flush=True)
    return dataclasses.replace(settings, rounds=0)


def _prepare(source: Path, folder: Path, config: TrainingConfig) -> None:
    """Makes the run folder: everything of `source`, to be read only."""
    if not (source / "student.pt").exists():
        raise RunError(f"{source} has no student.pt: run its stage distil first")
    rounds = student_rounds(source, config.distillation.rounds)
    for path in rounds:
        try:
            Episodes.load(path)
        except EpisodeFileError as error:
            raise RunError(
                f"{error}; the command that trained {source} repeats this round of the student"
            ) from error
    take_data_from(source, config, folder)
    pictures = source.glob("images_student_[0-9]*.npy")
    link_files(source, folder, ["student.pt", *(path.name for path in (*rounds, *pictures))])
    for name in ("student.jsonl", "timing.json"):  # may be written to
        if (source / name).exists() and not (folder / name).exists():
            shutil.copyfile(source / name, folder / name)


def _command(settings: RefinementSettings, config: TrainingConfig) -> str:
    """The command line that repeats this, after those that repeat the run and its refinements."""
    changed = [
        f"{item.name}={getattr(settings, item.name)}"
        for item in dataclasses.fields(settings)
        if item.name not in ("run", "output") and getattr(settings, item.name) != item.default
    ]
    before = len(refinements(Path(settings.run)))
    run = f"{default_folder(config)}{before * '_refined'}"
    return " ".join(["twist-train", "refine", f"run={run}", *changed])


def rules_with(card: TaskCard, reward: str) -> TaskRules:
    """The rules of a behaviour that has learned the task, with those that `reward` names changed.

    Args:
        card: of the task.
        reward: ``NAME=VALUE,NAME=VALUE``.

    Raises:
        ConfigurationError: a value is no number.
        TaskCardError: a parameter is not one of the card's, or the rules refuse its value.
    """
    parameters = {}
    for item in filter(None, reward.split(",")):
        name, _, value = item.partition("=")
        try:
            parameters[name] = float(value)
        except ValueError:
            raise ConfigurationError(
                f"reward: {name} must be a number, found {value!r}; write NAME=VALUE,NAME=VALUE"
            ) from None
    return card.refined(**parameters).task_rules


def refine(session: Session, source: Path, settings: RefinementSettings) -> None:
    """Refines the run `source`; writes ``teacher.pt`` and, after rounds, ``student.pt``.

    Behaviour and student learn in turns, the behaviour first. An interrupted refinement repeats the
    turn that it was in.

    Raises:
        RunError: teacher, student or a file of pictures of `source` is missing, damaged or not
            finished.
    """
    original = Session(session.config, source)
    teacher, student = original.load("teacher.pt"), original.load("student.pt")
    if teacher is None or not teacher["finished"]:
        raise RunError(f"the teacher of {source} is not trained to its end: finish its stages")
    if student is None or not student["finished"]:
        raise RunError(f"the student of {source} is not trained to its end: finish its stages")
    command = _command(settings, session.config)
    progress = session.load(_PROGRESS) or {
        "command": command,
        "turns": 0,
        "teacher": teacher["best"],
        "student": student["student"],
    }
    _same(command, progress["command"], session.folder)
    rounds_before = len(student_rounds(source, session.config.distillation.rounds))
    rules = rules_with(session.card, settings.reward)
    turns = 2 * settings.rounds + (2 if settings.last == "student" else 1)
    with MetricLog(session, "refine", resumed_from=_begins(settings, progress["turns"])) as log:
        for turn in range(progress["turns"], turns):
            refined = _Refined(session, rules, progress["teacher"], progress["student"])
            if turn % 2 == 0:
                refined.learn_behaviour(settings, turn, log)
            else:
                refined.learn_to_see(settings, turn, log, rounds_before + turn // 2)
            progress = {
                "command": command,
                "turns": turn + 1,
                "teacher": refined.teacher.state_dict(),
                "student": refined.student.state_dict(),
            }
            session.save(_PROGRESS, progress)
    session.save("teacher.pt", {**teacher, "best": progress["teacher"]})
    if turns > 1:
        session.save("student.pt", {**student, "student": progress["student"]})


class _Refined:
    """Teacher and student in one turn of a refinement.

    Args:
        session: of the refinement's own folder.
        rules: whose reward is learned.
        teacher: weights.
        student: weights.
    """

    def __init__(
        self, session: Session, rules: TaskRules, teacher: Weights, student: Weights
    ) -> None:
        config = session.config
        self._session, self._rules = session, rules
        self.teacher = Teacher(session).to(session.device)
        self.teacher.load_state_dict(teacher)
        self.student = Student(config.student, config.teacher, session.contract)
        self.student.load_state_dict(student)
        self.student.to(session.device)

    def learn_behaviour(self, settings: RefinementSettings, turn: int, log: MetricLog) -> None:
        """Reward head, actor and critic learn; `turn` is logged and seeds the random numbers."""
        session = self._session
        generator = session.seed(f"refine {turn}")
        student = self.student if settings.belief == "student" else None
        trainer = RefinementTrainer(self.teacher, session, settings, student)
        # The teacher's collected episodes, and the student's own, which are longer.
        blocks = [[session.folder / "collected.npz"], student_rounds(session.folder)]
        episodes = [
            JudgedEpisodes(session, self._rules, paths, student) for paths in blocks if paths
        ]
        description, first = f"refine: behaviour {turn // 2 + 1}", _begins(settings, turn)
        for step in _steps(description, settings.steps, log, first):
            log.add(trainer.step(*episodes[step % len(episodes)].sample(generator)))

    def learn_to_see(
        self, settings: RefinementSettings, turn: int, log: MetricLog, number: int
    ) -> None:
        """The student acts with the behaviour as it now is, in its round `number`, and learns."""
        session = self._session
        generator = session.seed(f"refine {turn}")
        let_student_act(session, self.teacher, self.student, number)
        data = render_episodes(session, Episodes.load(session.folder / "collected.npz"))
        add_student_rounds(session, self.teacher, self.student, data, number + 1)
        config = dataclasses.replace(
            session.config.distillation, steps=settings.student_steps, lr=settings.student_lr
        )
        trainer = DistillationTrainer(session, self.teacher, self.student, config)
        description, first = f"refine: student {turn // 2 + 1}", _begins(settings, turn)
        for _ in _steps(description, settings.student_steps, log, first):
            log.add(trainer.distil(data, generator))


def _begins(settings: RefinementSettings, turn: int) -> int:
    """How many gradient steps there are before `turn`."""
    return (turn + 1) // 2 * settings.steps + turn // 2 * settings.student_steps


def _steps(description: str, count: int, log: MetricLog, first: int) -> Iterator[int]:
    """Counts a turn's steps with a progress bar; logs their terms, counted on from `first`."""
    for step in ProgressBar(range(1, count + 1), description, unit="step"):
        yield step
        if step % _LOG_EVERY == 0 or step == count:
            log.flush(first + step)


class JudgedEpisodes:
    """Episodes of a run with the rewards of other rules.

    Args:
        session: task and sizes.
        rules: the new judge.
        paths: files of equally long episodes.
        student: embeds the pictures that lie beside them; None leaves pictures alone.
    """

    def __init__(
        self, session: Session, rules: TaskRules, paths: list[Path], student: Student | None
    ) -> None:
        parts = [judged_again(Episodes.load(path), rules) for path in paths]
        self._session, self._replay = session, Replay()
        for part in parts:
            self._replay.add(part)
        self._embedding: NDArray[np.float32] | None = None
        if student is not None:
            self._embedding = np.concatenate(
                [
                    _embedded(session, student, part, path)
                    for part, path in zip(parts, paths, strict=True)
                ]
            )

    def sample(self, generator: np.random.Generator) -> tuple[Batch, Tensor | None]:
        """A batch of windows, and the student's embedding of their pictures, (B, L, E).

        Both are this process's rows.
        """
        session, config = self._session, self._session.config.teacher
        if self._embedding is None:
            return draw_batch(session, self._replay, generator), None
        episodes = self._replay.episodes
        rows, columns = sample_windows(
            len(episodes), episodes.steps + 1, config.batch, config.length, generator
        )
        rows, columns = session.processes.rows(rows), session.processes.rows(columns)
        # The student's pictures are of what was executed, never of what was asked for.
        arrays = (episodes.state, episodes.previous_action, episodes.reward)
        batch = Batch(*(session.tensor(array[rows, columns]) for array in arrays))
        return batch, session.tensor(self._embedding[rows, columns])


@torch.no_grad()
def _embedded(
    session: Session, student: Student, episodes: Episodes, path: Path
) -> NDArray[np.float32]:
    """The student's embedding of every picture of `episodes`' first look, (N, T + 1, E)."""
    pictures_path = path.with_name(f"images_{path.stem}.npy")
    try:
        images = np.load(pictures_path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise RunError(
            f"cannot read the pictures in {pictures_path} ({error}); belief=student needs the "
            "pictures of the run: refine a run that still has them"
        ) from error
    position = episodes.state[..., session.contract.state_slice("ee_position")]
    shares = np.array_split(np.arange(len(position)), session.processes.count)
    rows = []
    for episode in ProgressBar(
        shares[session.processes.rank], f"embed {path.stem}", unit="episode"
    ):
        with session.autocast():
            embedding = student.embed(
                session.tensor(images[episode, :, 0].copy()), session.tensor(position[episode])
            )
        rows.append(embedding.float())
    joined = session.processes.joined(torch.stack(rows), [len(share) for share in shares])
    return joined.cpu().numpy()


class RefinementTrainer(BehaviourTrainer):
    """Gradient steps of reward head, actor and critic; the rest of the world model is frozen.

    Args:
        teacher: the networks; left with gradients switched off in its world model.
        session: device, precision.
        settings: learning rates and their schedule's length.
        student: whose belief the actor sees; None shows it the teacher's.
    """

    def __init__(
        self,
        teacher: Teacher,
        session: Session,
        settings: RefinementSettings,
        student: Student | None = None,
    ) -> None:
        modules = {
            "reward": (teacher.world_model.reward, settings.critic_lr),
            "actor": (teacher.behaviour.actor, settings.actor_lr),
            "critic": (teacher.behaviour.critic, settings.critic_lr),
        }
        super().__init__(teacher, session, modules)
        self._total = settings.steps
        teacher.world_model.requires_grad_(False)
        self._student = student
        if student is not None:
            student.requires_grad_(False).rssm.fused = session.config.fused

    def step(self, batch: Batch, embedding: Tensor | None = None) -> dict[str, Tensor]:
        """One gradient step of each; returns the terms for the log.

        Args:
            batch: windows of stored episodes; with several processes, this one's rows.
            embedding: what the student's encoder makes of their pictures, (B, L, E).
        """
        with self._session.processes.share():
            return self._step(batch, embedding)

    def _step(self, batch: Batch, embedding: Tensor | None) -> dict[str, Tensor]:
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
        self._apply({"reward": reward_loss})
        world_model.reward.requires_grad_(False)
        belief = None
        if embedding is not None:
            assert self._student is not None
            belief = self._student.rssm, self._believe(batch, embedding)
        metrics = self._learn_behaviour(latents, belief)
        self.steps += 1
        return metrics | {"world_model/reward": reward_loss.detach()}

    @torch.no_grad()
    def _believe(self, batch: Batch, embedding: Tensor) -> LatentSequence:
        """The student's latent states, modes as where it is deployed."""
        assert self._student is not None
        rssm = self._student.rssm
        no_noise = embedding.new_zeros(*embedding.shape[:2], rssm.groups, rssm.classes)
        with self._session.autocast():
            return rssm.observe(embedding, batch.previous_action, no_noise)
