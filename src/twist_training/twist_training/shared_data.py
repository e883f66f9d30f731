"""Taking teacher and data from another run, to compare students on equal terms."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twist_sim.task_card import load_task_card
from twist_training.atomic_files import CHECKSUMS, write_atomically
from twist_training.configuration import ConfigurationError, TrainingConfig, from_dict
from twist_training.run_identity import SETTINGS, RunError, card_differences
from twist_training.storage.images import is_rendered, progress_of

IMAGES = ("images_replay.npy", "images_collected.npy")
"""Pictures of the data set D, in a run folder."""
_IF_THERE = "teacher_replay.previous.npz"
_FILES = ("teacher.pt", "teacher.jsonl", "teacher_replay.npz", "collected.npz", *IMAGES)


def take_data_from(source: Path, config: TrainingConfig, folder: Path) -> None:
    """Links teacher, episodes and images of a finished run into `folder`.

    Files that `folder` has already stay. Nothing that is taken is written to afterwards.

    Raises:
        RunError: `source` is no run, lacks a file, still renders, or was made with another task,
            task card, seed, teacher, collection or textures.
    """
    different = _differing(_what_matters(settings_of(source)), _what_matters(config))
    if not different:
        # Rewards may be others, as for a refinement: they are judged again, and no student sees
        # them.
        card = load_task_card(config.task)
        different = card_differences(card, source, besides=("rule_parameters", "refinement"))
    if different:
        raise RunError(
            f"the run in {source} differs in {', '.join(different)}; its data do not fit these "
            "settings"
        )
    missing = [name for name in _FILES if not (source / name).exists()]
    if missing:
        raise RunError(
            f"{source} lacks {', '.join(missing)}: run its stages teacher, collect and render first"
        )
    unfinished = [name for name in IMAGES if not is_rendered(source / name)]
    if unfinished:
        raise RunError(
            f"{', '.join(unfinished)} in {source} is not rendered to its end, or damaged: let its "
            "stage render finish first"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        if not progress_of(folder / name).exists():
            (folder / name).unlink(missing_ok=True)  # a beginning that nothing would go on with
    link_files(source, folder, [*_FILES, *([_IF_THERE] if (source / _IF_THERE).exists() else [])])
    # Last: they say that the images are there.
    link_files(source, folder, [progress_of(Path(name)).name for name in IMAGES])


def take_encoder_from(source: Path, config: TrainingConfig, folder: Path) -> None:
    """Links the warmed-up encoder of another run into `folder`.

    It fits every run with the same teacher, images and `warm_up_settings`.

    Raises:
        RunError: `source` is no run, has no ``encoder.pt``, or warmed up with other settings.
    """
    different = _differing(warm_up_settings(settings_of(source)), warm_up_settings(config))
    if different:
        raise RunError(
            f"the encoder in {source} was warmed up with another {', '.join(different)}; it does "
            "not fit these settings"
        )
    if not (source / "encoder.pt").exists():
        raise RunError(f"{source} lacks encoder.pt: its encoder warm-up has not been finished")
    folder.mkdir(parents=True, exist_ok=True)
    link_files(source, folder, ["encoder.pt"])


def warm_up_settings(config: TrainingConfig) -> dict[str, Any]:
    """What the encoder warm-up depends on, beside teacher and images."""
    names = ("warmup_steps", "warmup_batch", "warmup_lr", "lr", "clip")
    settings = config.to_dict()
    return {
        "seed": config.seed,
        "precision": config.precision,
        "student": settings["student"],
        **{name: settings["distillation"][name] for name in names},
    }


def settings_of(source: Path) -> TrainingConfig:
    """The settings of the run in `source`.

    Raises:
        RunError: it is no run.
    """
    try:
        return from_dict(json.loads((source / SETTINGS).read_text()))
    except (OSError, json.JSONDecodeError, ConfigurationError) as error:
        raise RunError(
            f"{source} is not a run folder ({error}); name one that has a config.json"
        ) from error


def link_files(source: Path, folder: Path, names: Iterable[str]) -> None:
    """Links files of `source` into `folder`, or copies them; what `folder` has already stays.

    With a checkpoint come its checksums.

    Raises:
        DiskError: the disk is full or the folder is not writable.
    """
    for name in names:
        if not (folder / name).exists():
            if (source / (name + CHECKSUMS)).exists():
                _link(source / (name + CHECKSUMS), folder / (name + CHECKSUMS))
            _link(source / name, folder / name)


def _link(source: Path, target: Path) -> None:
    """Links or copies `source`; a kill leaves all of it or nothing."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        with open(source, "rb") as file, write_atomically(target) as copy:
            shutil.copyfileobj(file, copy)


def _differing(theirs: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """Names of the settings that differ."""
    return [name for name, value in theirs.items() if mine[name] != value]


def _what_matters(config: TrainingConfig) -> dict[str, Any]:
    settings = config.to_dict()
    collection = {k: v for k, v in settings["collection"].items() if k != "workers"}
    return {
        **{name: settings[name] for name in ("task", "seed", "textures", "teacher")},
        "collection": collection,
    }
