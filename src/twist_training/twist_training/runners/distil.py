"""Stage 4: the student world model is distilled from the frozen teacher (Algorithm 1)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twist_policy.statistics import wilson_interval
from twist_training.algorithms.distillation import (
    Student,
    StudentBatch,
    distillation_loss,
    encoder_loss,
)
from twist_training.atomic_files import write_atomically
from twist_training.configuration import DistillationConfig
from twist_training.gradient_pass import Outputs, clip_gradients
from twist_training.modules.batch_share import draw_rows
from twist_training.progress import ProgressBar
from twist_training.runners.student_episodes import run_student_in_processes
from twist_training.session import MetricLog, Session, random_state, restore_random_state
from twist_training.storage.episodes import EpisodeFileError, Episodes
from twist_training.storage.images import ImageEpisodes
from twist_training.teacher_policy import Teacher

CHECKPOINT = "student.pt"
ENCODER = "encoder.pt"
_SAVE_EVERY = 1000
_LOG_EVERY = 50
_POSITION_NOISE = 0.001
"""Standard deviation of the noise on the measured end-effector position in training, metres."""


class DistillationTrainer:
    """Gradient steps of the encoder warm-up and of Eq. 3 and Eq. 4.

    Args:
        session: settings, device, precision.
        teacher: frozen.
        student: trained.
        config: settings other than the session's.
    """

    def __init__(
        self,
        session: Session,
        teacher: Teacher,
        student: Student,
        config: DistillationConfig | None = None,
    ) -> None:
        config = config or session.config.distillation
        self._session, self._config = session, config
        self._teacher, self.student = teacher.requires_grad_(False).eval(), student
        for rssm in (teacher.world_model.rssm, student.rssm):
            rssm.fused = session.config.fused
        student.encoder.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        warmup_lr = config.warmup_lr if config.warmup_steps else config.lr
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(student.encoder.parameters()), "lr": warmup_lr},
                {"params": list(student.rssm.parameters()), "lr": config.lr},
            ],
            eps=1e-5,
            fused=True,
        )
        self._warmup_pass = session.gradient_pass(self._embedded, student.parameters())
        self._distillation_pass = session.gradient_pass(self._distilled, student.parameters())
        self.warmup_steps = 0
        self.steps = 0

    def warm_up(self, data: ImageEpisodes, generator: np.random.Generator) -> dict[str, Tensor]:
        """One step of the encoder warm-up on independent frames.

        Returns the terms for the log, of this process's rows of the batch.
        """
        config = self._config
        # One-cycle shape: the encoder starts the distillation proper at that stage's rate.
        self._set_rates(
            _decayed(config.warmup_lr, config.lr, self.warmup_steps, config.warmup_steps), 0.0
        )
        rows = self._rows(data.frames_at_random(config.warmup_batch, generator))
        with self._session.processes.share():
            terms, _ = self._warmup_pass(*rows)
        self._update()
        self.warmup_steps += 1
        return terms

    def _embedded(self, state: Tensor, image: Tensor, position: Tensor) -> Outputs:
        """The gradient pass of a step of `warm_up`."""
        with self._session.autocast():
            features = self.student.features(image, _measured(position))
            with torch.no_grad():
                embedding = self._teacher.world_model.embed(state)
            loss, terms = encoder_loss(
                self.student, features, embedding, self._teacher.world_model.scaling(state)
            )
        loss.backward()
        return terms, ()

    def distil(self, data: ImageEpisodes, generator: np.random.Generator) -> dict[str, Tensor]:
        """One step of Algorithm 1's second half; returns the terms for the log, as `warm_up`."""
        config = self._config
        rate = _decayed(config.lr, 0.05 * config.lr, self.steps, config.steps)
        self._set_rates(rate, rate)
        rows = self._rows(data.sequences(config.batch, config.length, generator))
        with self._session.processes.share():
            terms, _ = self._distillation_pass(*rows)
        self._update()
        self.steps += 1
        return terms

    def _distilled(
        self, state: Tensor, previous_action: Tensor, image: Tensor, position: Tensor
    ) -> Outputs:
        """The gradient pass of a step of `distil`."""
        config = self._config
        with self._session.autocast():
            loss, terms = distillation_loss(
                self._teacher.world_model,
                self._teacher.behaviour.actor,
                self.student,
                StudentBatch(state, previous_action, image, _measured(position)),
                horizon=config.horizon,
                imagination_starts=config.imagination_starts // self._session.processes.count,
                imagination_noise=config.imagination_noise,
                imagination_scale=config.imagination_scale,
                embedding_scale=config.embedding_scale,
                shared_noise=config.shared_noise,
            )
        loss.backward()
        return terms, ()

    def _rows(self, arrays: tuple[np.ndarray, ...]) -> list[Tensor]:
        """This process's rows of each array, as tensors."""
        processes = self._session.processes
        return [self._session.tensor(processes.rows(array)) for array in arrays]

    def _set_rates(self, encoder: float, rssm: float) -> None:
        for group, rate in zip(self.optimizer.param_groups, (encoder, rssm), strict=True):
            group["lr"] = rate

    def _update(self) -> None:
        self._session.processes.average_gradients(self.student.parameters())
        step = self.warmup_steps + self.steps + 1
        clip_gradients("student", self.student.parameters(), self._config.clip, step=step)
        self.optimizer.step()


def _decayed(first: float, last: float, step: int, steps: int) -> float:
    """Cosine from `first` to `last` over `steps`."""
    phase = 0.5 * (1.0 + np.cos(np.pi * min(1.0, step / max(1, steps))))
    return float(last + (first - last) * phase)


def _measured(position: Tensor) -> Tensor:
    noise = draw_rows(lambda shape: torch.randn(shape, device=position.device), position.shape)
    return position + _POSITION_NOISE * noise


class _Training:
    """A student in training, everything random, and the checkpoint that holds both.

    Continues from ``student.pt``; without one, from ``encoder.pt`` (see `warm_up_encoder`).
    """

    def __init__(self, session: Session, teacher: Teacher) -> None:
        self.session = session
        self.generator = session.seed("distil")
        self.student = Student(session.config.student, session.config.teacher, session.contract)
        self.student.to(session.device)
        if session.config.distillation.dynamics_from_teacher:
            self.student.rssm.load_state_dict(teacher.world_model.rssm.state_dict())
        self.trainer = DistillationTrainer(session, teacher, self.student)
        self.finished = False
        saved = session.load(CHECKPOINT)
        if saved is not None:
            self.student.load_state_dict(saved["student"])
            self.trainer.steps, self.finished = saved["steps"], saved["finished"]
        else:
            saved = session.load(ENCODER)
            if saved is None:
                return
            self.student.encoder.load_state_dict(saved["encoder"])
        self.trainer.warmup_steps = saved["warmup_steps"]
        self.trainer.optimizer.load_state_dict(saved["optimizer"])
        if not self.finished:
            restore_random_state(saved["random"], self.generator)

    @property
    def steps(self) -> int:
        """Gradient steps in all, as they are logged."""
        return self.trainer.warmup_steps + self.trainer.steps

    def save(self, finished: bool = False) -> None:
        """Writes ``student.pt``."""
        self.session.save(
            CHECKPOINT,
            {
                "finished": finished,
                "student": self.student.state_dict(),
                "steps": self.trainer.steps,
                **self._warmed_up(),
            },
        )

    def save_encoder(self) -> None:
        """Writes ``encoder.pt``."""
        self.session.save(
            ENCODER, {"encoder": self.student.encoder.state_dict(), **self._warmed_up()}
        )

    def _warmed_up(self) -> dict[str, Any]:
        return {
            "optimizer": self.trainer.optimizer.state_dict(),
            "warmup_steps": self.trainer.warmup_steps,
            "random": random_state(self.generator),
        }

    def warm_up(self, data: ImageEpisodes, log: MetricLog) -> None:
        """What is left of the encoder warm-up."""
        total, trainer = self.session.config.distillation.warmup_steps, self.trainer
        with ProgressBar(
            total=total, initial=trainer.warmup_steps, desc="student: encoder warm-up", unit="step"
        ) as bar:
            while trainer.warmup_steps < total:
                log.add(trainer.warm_up(data, self.generator))
                bar.update()
                if trainer.warmup_steps % _LOG_EVERY == 0 or trainer.warmup_steps == total:
                    values = log.flush(trainer.warmup_steps)
                    bar.set_postfix(state=f"{values['encoder/state']:.3f}", refresh=False)
                if trainer.warmup_steps % _SAVE_EVERY == 0:
                    self.save()


def warm_up_encoder(session: Session, teacher: Teacher, data: ImageEpisodes) -> None:
    """The encoder warm-up by itself; continues one that was interrupted.

    Writes ``encoder.pt``. `distil_student` begins with it where a run folder has one, and ends as
    if it had done the warm-up itself (see `shared_data.take_encoder_from`).
    """
    training = _Training(session, teacher)
    with MetricLog(session, "student", resumed_from=training.steps) as log:
        training.warm_up(data, log)
    training.save_encoder()


def distil_student(session: Session, teacher: Teacher, data: ImageEpisodes) -> Student:
    """Warm-up, then distillation, with rounds in which the student acts and is relabelled.

    Every round's episodes are the student's own; the frozen teacher filters their privileged
    states, which gives the targets of Eq. 3 where the student's mistakes lead (compare DAgger,
    Ross et al., 2011). They are added to `data`. Writes ``student.pt``; continues from it.
    """
    config = session.config.distillation
    training = _Training(session, teacher)
    student, trainer = training.student, training.trainer
    rounds = [
        round((number + 1) * config.steps / (config.rounds + 1)) for number in range(config.rounds)
    ]
    if training.finished:  # perhaps refined, with rounds of its own
        count = len(student_rounds(session.folder, at_least=len(rounds)))
        add_student_rounds(session, teacher, student, data, count)
        return student
    acted = sum(step <= trainer.steps for step in rounds)
    add_student_rounds(session, teacher, student, data, acted)
    success = "-"
    with MetricLog(session, "student", resumed_from=training.steps) as log:
        training.warm_up(data, log)
        with ProgressBar(
            total=config.steps, initial=trainer.steps, desc="student: distillation", unit="step"
        ) as bar:
            while trainer.steps < config.steps:
                log.add(trainer.distil(data, training.generator))
                bar.update()
                step = trainer.steps
                if step % _LOG_EVERY == 0 or step == config.steps:
                    values = log.flush(config.warmup_steps + step)
                    eq3 = sum(v for k, v in values.items() if k.startswith("eq3"))
                    bar.set_postfix(eq3=f"{eq3:.2f}", success=success, refresh=False)
                if step in rounds and step < config.steps:
                    number = rounds.index(step)
                    let_student_act(session, teacher, student, number)
                    data.add(*_load_round(session.folder, number))
                if step % config.evaluate_every == 0 or step == config.steps:
                    if session.processes.first:
                        rate = _evaluate(session, teacher, student, log, config.warmup_steps + step)
                        success = f"{rate:.0%}"
                    session.processes.wait()
                if step % _SAVE_EVERY == 0 or step in rounds or step == config.steps:
                    training.save()
    training.save(finished=True)
    return student


def _evaluate(
    session: Session,
    teacher: Teacher,
    student: Student,
    log: MetricLog,
    step: int,
) -> float:
    """Success on held-out looks, for the learning curve; it chooses nothing."""
    config = session.config.distillation
    episodes, _ = run_student_in_processes(
        session.config,
        student,
        teacher.behaviour.actor,
        split="held_out",
        seed=session.layout_seed("selection"),
        episodes=config.evaluation_episodes,
        steps=session.contract.episode_steps,
        keep_images=False,
    )
    success = float(episodes.success.mean())
    low, high = wilson_interval(int(episodes.success.sum()), len(episodes)).bounds
    log.write(
        step, **{"evaluation/success": success, "evaluation/low": low, "evaluation/high": high}
    )
    return success


def let_student_act(session: Session, teacher: Teacher, student: Student, number: int) -> None:
    """Runs the student's round `number`: writes its episodes and their pictures.

    The first process does, while the others wait.
    """
    if session.processes.first:
        _act(session, teacher, student, number)
    session.processes.wait()


def _act(session: Session, teacher: Teacher, student: Student, number: int) -> None:
    config = session.config.distillation
    episodes, images = run_student_in_processes(
        session.config,
        student,
        teacher.behaviour.actor,
        split="train",
        seed=session.layout_seed("student") + 10_000 * number,
        episodes=config.student_episodes,
        steps=session.contract.episode_steps,
        keep_images=True,
    )
    assert images is not None
    path = session.folder / f"student_{number}.npz"
    path.unlink(missing_ok=True)  # episodes never lie beside other episodes' pictures
    with write_atomically(_pictures_of(path)) as file:
        np.save(file, images)
    episodes.save(path)


def student_rounds(folder: Path, at_least: int = 0) -> list[Path]:
    """The files of the student's own episodes in a run folder, in their order.

    A file that is missing is among them when something of its round or of a later one is there, or
    when it is one of the first `at_least`.
    """
    names = [path.stem for path in folder.glob("*student_[0-9]*.np[yz]")]
    count = max([at_least, *(int(name.rpartition("_")[2]) + 1 for name in names)])
    return [folder / f"student_{number}.npz" for number in range(count)]


def add_student_rounds(
    session: Session, teacher: Teacher, student: Student, data: ImageEpisodes, count: int
) -> None:
    """Adds the first `count` rounds of the student's own episodes to `data`.

    Where files of one are missing or damaged, the student acts once more, as it is now.
    """
    for number in range(count):
        # The first decides: it may be done with repeating before others have looked.
        problem = session.processes.from_first(_problem_of_round(session.folder, number))
        if problem:
            if session.processes.first:
                print(
                    f"{problem}; round {number} is repeated by the student as it is now",
                    file=sys.stderr,
                )
            let_student_act(session, teacher, student, number)
        data.add(*_load_round(session.folder, number))


def _problem_of_round(folder: Path, number: int) -> str:
    try:
        _load_round(folder, number)
    except EpisodeFileError as error:
        return str(error)
    return ""


def _load_round(folder: Path, number: int) -> tuple[Episodes, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Episodes of a round and their pictures.

    Raises:
        EpisodeFileError: one of the two is missing or damaged, or they do not belong together.
    """
    path = folder / f"student_{number}.npz"
    episodes, pictures = Episodes.load(path), _pictures_of(path)
    try:
        images = np.load(pictures, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise EpisodeFileError(f"cannot read the pictures in {pictures}: {error}") from error
    if images.shape[:2] != episodes.state.shape[:2]:
        raise EpisodeFileError(f"the pictures in {pictures} are not of the episodes in {path}")
    return episodes, images


def _pictures_of(path: Path) -> Path:
    return path.with_name(f"images_{path.stem}.npy")
