"""What a sweep consists of: its file, its runs, and which of them share a teacher and its data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twist_sim.task_card import TaskCard, load_task_card
from twist_training.configuration import (
    ConfigurationError,
    TrainingConfig,
    parse_arguments,
    validate,
    validate_for,
    with_arguments,
)
from twist_training.run_identity import RunError, without_machine_settings
from twist_training.shared_data import settings_of, warm_up_settings

SHIPPED = Path(__file__).parent / "ablations.yaml"

_VARIED = ("student", "distillation")
"""Settings that variants may differ in; all others are those of the sweep."""

_KEYS = {"tasks": list, "seeds": list, "preset": str, "settings": list, "variants": dict}


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        tasks: names or paths of task cards.
        seeds: one independently trained teacher each.
        preset: see `configuration.PRESETS`.
        settings: ``name=value``, of every run.
        variants: name to further ``name=value`` of student and distillation; all else is shared by
            the variants of a task and seed.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    preset: str
    settings: tuple[str, ...]
    variants: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class StudentRun:
    """One student.

    Attributes:
        task: name of the task card.
        seed: of teacher and student.
        variants: names that come to these settings.
        config: all settings.
        data: run folder with teacher, episodes and images.
        warm_up: run folder of the `WarmUp` to begin with; None without encoder warm-up.
        folder: run folder of the student.
    """

    task: str
    seed: int
    variants: tuple[str, ...]
    config: TrainingConfig
    data: Path
    warm_up: Path | None
    folder: Path


@dataclass(frozen=True)
class WarmUp:
    """An encoder warm-up that all students with the same settings of it begin with.

    Attributes:
        config: of one of these students.
        data: run folder with teacher, episodes and images.
        folder: its own run folder.
    """

    config: TrainingConfig
    data: Path
    folder: Path


@dataclass(frozen=True)
class DataRun:
    """A run folder whose stages up to `render` the students share."""

    config: TrainingConfig
    folder: Path


def read_sweep(path: Path) -> Sweep:
    """Reads a sweep file; ``ablations.yaml`` beside this module shows every key.

    Raises:
        ConfigurationError: the file is missing, no YAML, or has a key or value of a wrong kind.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the sweep file {path}: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict) or set(data) != set(_KEYS):
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise ConfigurationError(
            f"{path}: expected exactly the keys {sorted(_KEYS)}, found {found}"
        )
    for name, kind in _KEYS.items():
        if not isinstance(data[name], kind):
            raise ConfigurationError(
                f"{path}: {name}: expected a {kind.__name__}, found {data[name]!r}"
            )
    seeds = data["seeds"]
    if not seeds or any(not isinstance(seed, int) or isinstance(seed, bool) for seed in seeds):
        raise ConfigurationError(f"{path}: seeds: expected whole numbers, found {seeds!r}")
    variants = data["variants"]
    if not variants or any(not isinstance(value, list) for value in variants.values()):
        raise ConfigurationError(
            f"{path}: variants: expected name: [name=value, ...] at least once"
        )
    return Sweep(
        tasks=tuple(str(task) for task in data["tasks"]),
        seeds=tuple(seeds),
        preset=data["preset"],
        settings=tuple(str(item) for item in data["settings"]),
        variants={str(k): tuple(str(item) for item in v) for k, v in variants.items()},
    )


def plan(sweep: Sweep, out: Path, data: str) -> tuple[list[DataRun], list[StudentRun]]:
    """The runs of a sweep.

    Args:
        sweep: what to train.
        out: the sweep's folder.
        data: finished runs to take teachers and data from, with ``{task}`` and ``{seed}`` to be
            filled in; empty trains them below `out`. With them, their settings take the place of
            the preset's.

    Returns:
        The runs whose data are made here, and the students.

    Raises:
        ConfigurationError: a setting is wrong, a variant changes what the variants share, or two
            cards have one name.
        TaskCardError: there is no such task.
    """
    cards = {task: load_task_card(task) for task in sweep.tasks}
    names = [card.task for card in cards.values()]
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"tasks: found cards of the names {', '.join(names)}; the table tells tasks apart by "
            "their names, so give each card its own"
        )
    makers, students = [], []
    for task, card in cards.items():
        for seed in sweep.seeds:
            if data:
                folder = Path(_filled(data, card.task, seed))
                base = _with("settings", _config_of(folder, task, seed), sweep.settings, card)
            else:
                base = parse_arguments(
                    [f"task={task}", f"preset={sweep.preset}", f"seed={seed}", *sweep.settings]
                )
                folder = out / "data" / _name(card, base, {})
                makers.append(DataRun(base, folder))
            students += _students(sweep, base, card, folder, out)
    return makers, students


def _students(
    sweep: Sweep, base: TrainingConfig, card: TaskCard, data: Path, out: Path
) -> list[StudentRun]:
    by_config: dict[TrainingConfig, list[str]] = {}
    for name, settings in sweep.variants.items():
        config = _with(f"variant {name!r}", base, settings, card)
        changed = [
            field.name
            for field in dataclasses.fields(base)
            if field.name not in _VARIED
            and getattr(config, field.name) != getattr(base, field.name)
        ]
        if changed:
            raise ConfigurationError(
                f"variant {name!r} changes {', '.join(changed)}, which all variants of a seed "
                "share; put it under settings, or make it a sweep of its own"
            )
        by_config.setdefault(config, []).append(name)
    return [
        StudentRun(
            task=card.task,
            seed=base.seed,
            variants=tuple(names),
            config=config,
            data=data,
            warm_up=out / "warm_up" / _name(card, base, warm_up_settings(config))
            if config.distillation.warmup_steps
            else None,
            folder=out / "students" / _name(card, base, {n: config.to_dict()[n] for n in _VARIED}),
        )
        for config, names in by_config.items()
    ]


def _with(
    where: str, config: TrainingConfig, settings: tuple[str, ...], card: TaskCard
) -> TrainingConfig:
    """`config` with these settings; an error says where they are from."""
    try:
        changed = with_arguments(config, list(settings))
        validate(changed)
        validate_for(changed, card)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    return changed


def warm_ups(students: Iterable[StudentRun]) -> list[WarmUp]:
    """The encoder warm-ups that these students begin with, each one once."""
    by_folder = {
        run.warm_up: WarmUp(run.config, run.data, run.warm_up) for run in students if run.warm_up
    }
    return list(by_folder.values())


def _name(card: TaskCard, base: TrainingConfig, parts: dict[str, Any]) -> str:
    """Names a run folder by all that its results depend on, however the variants are called.

    That is the task card, what the variants share, and these parts of what they do not: after an
    edit of any of them, what was trained before is another run.
    """
    settings = without_machine_settings(base.to_dict())
    shared = {name: value for name, value in settings.items() if name not in _VARIED}
    identity = json.dumps([card.digest, shared, parts], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{card.task}_seed{base.seed}_{digest}"


def _filled(data: str, task: str, seed: int) -> str:
    try:
        return data.format(task=task, seed=seed)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigurationError(
            f"data={data!r}: only {{task}} and {{seed}} can be filled in ({error!r})"
        ) from error


def _config_of(folder: Path, task: str, seed: int) -> TrainingConfig:
    try:
        config = settings_of(folder)
    except RunError as error:
        raise ConfigurationError(
            f"data: {error}, with {{task}} and {{seed}} where these differ"
        ) from error
    if (config.task, config.seed) != (task, seed):
        raise ConfigurationError(
            f"data: the run in {folder} is of task {config.task}, seed {config.seed}; needed are "
            f"{task} and {seed}"
        )
    return config


def to_plain(run: StudentRun | WarmUp | DataRun) -> dict[str, Any]:
    """Plain data for a process in any working directory, see `job.run_job`."""
    plain = {"config": run.config.to_dict(), "folder": str(run.folder.absolute())}
    if isinstance(run, DataRun):
        return plain | {"kind": "data"}
    plain["data"] = str(run.data.absolute())
    if isinstance(run, WarmUp):
        return plain | {"kind": "warm_up"}
    return plain | {
        "kind": "student",
        "warm_up": str(run.warm_up.absolute()) if run.warm_up else "",
    }
