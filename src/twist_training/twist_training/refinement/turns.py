"""Behaviour and student learn in turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twist_sim.task_card import TaskCard
from twist_sim.tasks import TaskRules
from twist_sim.textures import check_texture_folder
from twist_training.algorithms.distillation import Student
from twist_training.configuration import ConfigurationError
from twist_training.progress import ProgressBar
from twist_training.refinement.judged_episodes import JudgedEpisodes
from twist_training.refinement.settings import RefinementSettings, check_same, command_of
from twist_training.refinement.trainer import RefinementTrainer
from twist_training.run_identity import RunError
from twist_training.runners.collect import render_episodes
from twist_training.runners.distil import (
    DistillationTrainer,
    add_student_rounds,
    let_student_act,
    student_rounds,
)
from twist_training.session import MetricLog, Session
from twist_training.storage.episodes import Episodes
from twist_training.teacher_policy import Teacher

Weights = dict[str, Any]

_LOG_EVERY = 100
_PROGRESS = "refinement.pt"


def refine(session: Session, source: Path, settings: RefinementSettings) -> None:
    """Refines the run `source`; writes ``teacher.pt`` and, after rounds, ``student.pt``.

    Behaviour and student learn in turns, the behaviour first. An interrupted refinement repeats the
    turn that it was in.

    Raises:
        RunError: teacher, student or a file of pictures of `source` is missing, damaged or not
            finished.
        TextureError: the run's folder of textures cannot be used, and the student has yet to act.
    """
    teacher, student = (session.load(name, source) for name in ("teacher.pt", "student.pt"))
    if teacher is None or not teacher["finished"]:
        raise RunError(f"the teacher of {source} is not trained to its end: finish its stages")
    if student is None or not student["finished"]:
        raise RunError(f"the student of {source} is not trained to its end: finish its stages")
    command = command_of(settings, session.config)
    progress = session.load(_PROGRESS) or {
        "command": command,
        "turns": 0,
        "teacher": teacher["best"],
        "student": student["student"],
    }
    check_same(command, progress["command"], session.folder)
    rounds_before = len(student_rounds(source, session.config.distillation.rounds))
    rules = rules_with(session.card, settings.reward)
    turns = 2 * settings.rounds + (2 if settings.last == "student" else 1)
    if session.config.textures and any(turn % 2 for turn in range(progress["turns"], turns)):
        check_texture_folder(Path(session.config.textures))
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
