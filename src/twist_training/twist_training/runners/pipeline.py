"""The pipeline: teacher, collect, render, distil, export, evaluate. Each stage is resumable."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twist_policy.checkpoint import update_records, write_checkpoint
from twist_policy.statistics import wilson_interval
from twist_sim.task_card import load_task_card
from twist_sim.textures import check_texture_folder
from twist_training.algorithms.distillation import Student
from twist_training.configuration import PRESETS, TrainingConfig
from twist_training.deployment import script_modules
from twist_training.learning_curve import draw_learning_curve
from twist_training.model_card import model_card, student_over_teacher
from twist_training.rollout import CONTACT_FORCE_LIMIT
from twist_training.run_identity import RunError
from twist_training.runners.collect import collect_episodes, render_episodes
from twist_training.runners.distil import distil_student, student_rounds
from twist_training.runners.evaluate import EvaluationResult, evaluate_checkpoint
from twist_training.runners.teacher import train_teacher
from twist_training.runners.teacher_episodes import measured_episodes
from twist_training.session import Session
from twist_training.shared_data import IMAGES
from twist_training.stage_clock import StageClock
from twist_training.storage.episodes import Episodes
from twist_training.storage.images import ImageEpisodes, is_rendered
from twist_training.teacher_policy import Teacher, TeacherPolicy

REFINEMENT = "refinement.json"
"""In the folder of a refined run: the commands that did it; see `refinements`."""
STAGES = ("teacher", "collect", "render", "distil", "export", "evaluate")


class Pipeline:
    """The stages of one run.

    Args:
        config: all settings.
        folder: the run folder.
        checkpoint: where the exported checkpoint goes.

    Raises:
        TextureError: the folder of textures cannot be used, and pictures are still to be rendered.
    """

    def __init__(self, config: TrainingConfig, folder: Path, checkpoint: Path) -> None:
        _check_textures(config, folder)  # before the session writes down that these are the run's
        self.session = Session(config, folder)
        self.checkpoint = checkpoint
        self.clock = StageClock(folder)
        self._teacher: Teacher | None = None
        self._collected: Episodes | None = None
        self._data: ImageEpisodes | None = None
        self._student: Student | None = None

    def run(self, stage: str) -> None:
        """Runs one stage; those before it must have been run (they are then only read).

        Raises:
            RunError: an earlier stage is missing.
        """
        number = STAGES.index(stage)
        for earlier in STAGES[: min(number, 4)]:
            self._require(earlier)
        with self.measured(stage):
            stages: dict[str, Callable[[], object]] = {
                "teacher": self.teacher,
                "collect": self.collected,
                "render": self.data,
                "distil": self.student,
                "export": self._export,
                "evaluate": self._evaluate,
            }
            stages[stage]()

    def measured(self, stage: str) -> AbstractContextManager[None]:
        """Adds the time spent inside to `stage`, once for all processes."""
        first = self.session.processes.first
        return self.clock.measure(stage) if first else contextlib.nullcontext()

    def _require(self, stage: str) -> None:
        folder = self.session.folder
        files = {
            "teacher": "teacher.pt",
            "collect": "collected.npz",
            "render": "images_collected.npy",
            "distil": "student.pt",
        }
        if not (folder / files[stage]).exists():
            raise RunError(
                f"{folder / files[stage]} is missing: run stage {stage!r} first, with the same "
                "settings"
            )

    def teacher(self) -> Teacher:
        """The trained teacher; trains it when the run has none."""
        if self._teacher is None:
            self._teacher = train_teacher(self.session)
        return self._teacher

    def collected(self) -> Episodes:
        """The collected episodes."""
        if self._collected is None:
            teacher = self.teacher()
            self._collected = self.session.processes.first_then_others(
                lambda: collect_episodes(self.session, teacher)
            )
        return self._collected

    def data(self) -> ImageEpisodes:
        """The rendered data set."""
        if self._data is None:
            collected = self.collected()
            self._data = self.session.processes.first_then_others(
                lambda: render_episodes(self.session, collected)
            )
        return self._data

    def student(self) -> Student:
        """The distilled student."""
        if self._student is None:
            self._student = distil_student(self.session, self.teacher(), self.data())
        return self._student

    def _teacher_result(self) -> EvaluationResult:
        episodes, largest = measured_episodes(
            self.session,
            TeacherPolicy(self.teacher(), self.session, explore=False),
            seed=self.session.config.evaluation.seed,
            episodes=self.session.config.evaluation.episodes,
        )
        successes, count = int(episodes.success.sum()), len(episodes)
        rules = self.session.card.task_rules
        distance = np.array([rules.distance(state) for state in episodes.state[:, -1]])
        low, high = wilson_interval(successes, count).bounds
        nan = float("nan")
        return EvaluationResult(
            episodes=count,
            successes=successes,
            low=low,
            high=high,
            mean_distance=float(distance.mean()),
            object_error=nan,
            surprise=nan,
            surprise_p99=nan,
            force_median=float(np.median(largest)),
            force_largest=float(largest.max()),
            pressed=float((largest > CONTACT_FORCE_LIMIT).sum()),
        )

    def _export(self) -> None:
        session = self.session
        trained, teacher = self._trained()
        if not session.processes.first:
            return
        student, actor, decoder = script_modules(
            trained, teacher.behaviour.actor, teacher.world_model, session.contract
        )
        write_checkpoint(
            self.checkpoint,
            contract=session.contract,
            student=student,
            actor=actor,
            decoder=decoder,
            training=self._training_record(),
            measured={},
            model_card=model_card(session.config, self._training_record(), {}),
        )
        curve = draw_learning_curve(
            session.folder, f"{session.card.task}, preset {session.config.preset}"
        )
        shutil.copyfile(curve, self.checkpoint / "learning_curve.png")
        print(f"checkpoint: {self.checkpoint}\nlearning curve: {curve}")

    def _trained(self) -> tuple[Student, Teacher]:
        """What a run ends with; all processes read it together, also where only one uses it."""
        return self.student(), self.teacher()

    def _evaluate(self) -> None:
        self._trained()
        if not self.session.processes.first:
            return
        config = self.session.config.evaluation
        teacher = self._teacher_result()
        print(f"teacher, privileged state: {teacher}")
        student = evaluate_checkpoint(
            self.checkpoint,
            task=self.session.config.task,
            episodes=config.episodes,
            seed=config.seed,
            workers=config.workers,
        )
        camera = self.session.card.camera
        print(f"student, held-out appearances, {camera.width}x{camera.height} frames: {student}")
        measured: dict[str, Any] = {
            "teacher": _without_nan(teacher),
            "student_held_out": _without_nan(student),
            "evaluation_seed": config.seed,
        }
        print(f"student / teacher: {student_over_teacher(measured)}")
        training = self._training_record()
        update_records(
            self.checkpoint,
            measured=measured,
            model_card=model_card(self.session.config, training, measured),
        )

    def _training_record(self) -> dict[str, Any]:
        return {
            "command": self._commands(),
            "config": self.session.config.to_dict(),
            "precision": self.session.precision,
            "processes": self.session.processes.count,
            "seconds": {name: round(value, 1) for name, value in self.clock.seconds.items()},
            "frames": self.data().frames,
            "torch": torch.__version__,
            "machine": platform.machine(),
        }

    def _commands(self) -> str:
        """The command lines that repeat this run, one below the other."""
        return "\n".join([command_of(self.session.config), *refinements(self.session.folder)])


def refinements(folder: Path) -> list[str]:
    """The commands that refined the run in `folder`, first to last; none where nothing did.

    Raises:
        RunError: the record of them is damaged.
    """
    path = folder / REFINEMENT
    if not path.exists():
        return []
    try:
        record = json.loads(path.read_text())
        return [*record.get("before", []), record["command"]]
    except (ValueError, KeyError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged ({error}); delete it, and the model card will not name what "
            "refined this run"
        ) from error


def _check_textures(config: TrainingConfig, folder: Path) -> None:
    if not config.textures:
        return
    rounds = student_rounds(folder, at_least=config.distillation.rounds)
    rendered = all(is_rendered(folder / name) for name in IMAGES)
    if not (rendered and all(path.exists() for path in rounds)):
        check_texture_folder(Path(config.textures))


def default_folder(config: TrainingConfig) -> Path:
    """Where a run goes that nobody gives another place.

    Raises:
        TaskCardError: there is no such task.
    """
    task = load_task_card(config.task).task  # a card may be given by its path
    return Path(f"runs/{task}_{config.preset}_seed{config.seed}")


def command_of(config: TrainingConfig) -> str:
    """The command line that repeats a run."""
    return " ".join(["twist-train", "all", f"task={config.task}", *changed_settings(config)])


def changed_settings(config: TrainingConfig) -> list[str]:
    """``preset=...`` and every setting that differs from the preset, as arguments."""

    def walk(mine: dict[str, Any], base: dict[str, Any], prefix: str) -> list[str]:
        lines = []
        for name, value in mine.items():
            if isinstance(value, dict):
                lines += walk(value, base[name], f"{prefix}{name}.")
            elif value != base[name]:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                lines.append(f"{prefix}{name}={text}")
        return lines

    changes = walk(config.to_dict(), PRESETS[config.preset].to_dict(), "")
    return [f"preset={config.preset}", *(c for c in changes if not c.startswith("task="))]


def _without_nan(result: EvaluationResult) -> dict[str, float]:
    return {name: value for name, value in result.to_dict().items() if value == value}
