"""``twist-train refine``: a run refined into a new folder, exported and evaluated."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from twist_sim.task_card import load_task_card
from twist_training.atomic_files import write_atomically
from twist_training.configuration import (
    MACHINE_SETTINGS,
    ConfigurationError,
    TrainingConfig,
    parse_arguments,
    validate,
    with_arguments,
)
from twist_training.local_processes import companions, is_first_process, process_count
from twist_training.refinement.settings import RefinementSettings, check_same, command_of
from twist_training.refinement.turns import refine
from twist_training.run_identity import RunError
from twist_training.run_lock import locked
from twist_training.runners.distil import student_rounds
from twist_training.runners.pipeline import REFINEMENT, Pipeline, refinements
from twist_training.shared_data import link_files, settings_of, take_data_from
from twist_training.storage.episodes import EpisodeFileError, Episodes


def main(arguments: list[str]) -> None:
    """Refines a run into a new folder, exports and evaluates its checkpoint.

    Raises:
        ConfigurationError: an argument is wrong or missing.
        RunError: `run` is no finished run, or `output` was refined with other settings.
        DiskError: the disk is full.
    """
    machine = [a for a in arguments if a.partition("=")[0] in MACHINE_SETTINGS]
    others = [a for a in arguments if a not in machine]
    settings = with_arguments(RefinementSettings(), others, also=MACHINE_SETTINGS)
    if not settings.run:
        raise ConfigurationError("run is missing: name the folder of a finished run")
    settings.validate()
    # What would be wrong for any run; whether a graph can be recorded depends on the run's device.
    parse_arguments([a for a in machine if not a.startswith("cuda_graph=")])
    source = Path(settings.run)
    folder = Path(settings.output or f"{source}_refined")
    if folder.resolve() == source.resolve():
        raise ConfigurationError("output must be another folder than run, which stays as it is")
    config = with_arguments(settings_of(source), machine)
    validate(config)
    settings = _possible(settings, config)
    _check_windows(settings, config, source)
    with locked(folder):
        if is_first_process():
            _prepare(source, folder, config)
        with companions(process_count(config), ["refine", *arguments]):
            _run(Pipeline(config, folder, folder / "checkpoint"), source, settings)


def _run(pipeline: Pipeline, source: Path, settings: RefinementSettings) -> None:
    """Every process's part."""
    folder, processes = pipeline.session.folder, pipeline.session.processes
    command = command_of(settings, pipeline.session.config)
    if done := processes.from_first(refinements(folder)):
        check_same(command, done[-1], folder)
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


def _check_windows(settings: RefinementSettings, config: TrainingConfig, source: Path) -> None:
    """Refuses windows that do not fit into the student's own episodes, before anything learns."""
    steps = load_task_card(config.task).episode_steps
    acts = settings.rounds > 0 or settings.last == "student"
    lengths = {"teacher.length": config.teacher.length} if acts or student_rounds(source) else {}
    if acts:
        lengths["distillation.length"] = config.distillation.length
    for name, length in lengths.items():
        if length > steps:
            raise ConfigurationError(
                f"{name} of {source} is {length}, longer than the student's own episodes, which "
                f"have the {steps} steps of the card's episode_steps; refine a run with "
                f"{name}={steps} or less"
            )


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
