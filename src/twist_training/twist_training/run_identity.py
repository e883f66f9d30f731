"""What a run folder was started with: settings and task card. It is continued with no other."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from twist_sim.task_card import TaskCard
from twist_training.atomic_files import write_atomically
from twist_training.configuration import (
    MACHINE_SETTINGS,
    ConfigurationError,
    TrainingConfig,
    from_dict,
)

SETTINGS, CARD = "config.json", "task_card.json"
_ELSEWHERE = "or choose another folder with output=..."


class RunError(RuntimeError):
    """The run folder does not allow what was asked."""


def remember(config: TrainingConfig, card: TaskCard, folder: Path) -> None:
    """Writes settings and card of a new run; a run of a version without cards takes this one.

    Raises:
        RunError: the folder holds a run with other settings, or with another card.
        DiskError: the disk is full or the folder is not writable.
    """
    differences = _settings_differences(config, folder)
    if differences:
        raise RunError(
            f"the run in {folder} was started with other settings ({'; '.join(differences)}); "
            f"continue it with the same settings, {_ELSEWHERE}"
        )
    differences = card_differences(card, folder)
    if differences:
        raise RunError(
            f"the run in {folder} was started with another card of {card.task} "
            f"({'; '.join(differences)}): what it has was trained, rendered or judged by that one. "
            f"Continue it with the same card, {_ELSEWHERE}"
        )
    for name, content in ((SETTINGS, config.to_dict()), (CARD, card.to_dict())):
        if not (folder / name).exists():
            with write_atomically(folder / name) as file:
                file.write(json.dumps(content, indent=2).encode())


def card_differences(card: TaskCard, folder: Path, besides: tuple[str, ...] = ()) -> list[str]:
    """What of the card of the run in `folder` is other in `card`, a line each.

    None where the run does not know its card.

    Args:
        card: the task's, now.
        folder: of the run.
        besides: keys of the card that do not matter.

    Raises:
        RunError: the run's card is damaged.
    """
    if not (folder / CARD).exists():
        return []
    theirs, mine = (
        {key: value for key, value in data.items() if key not in besides}
        for data in (_read(folder / CARD), card.to_dict())
    )
    return sorted(_differences(theirs, mine))


def _settings_differences(config: TrainingConfig, folder: Path) -> list[str]:
    if not (folder / SETTINGS).exists():
        return []
    theirs = _read(folder / SETTINGS)
    with contextlib.suppress(ConfigurationError):
        # Settings that came after the run was started have their defaults.
        theirs = from_dict(theirs).to_dict()
    mine = json.loads(json.dumps(config.to_dict()))
    return sorted(_differences(without_machine_settings(theirs), without_machine_settings(mine)))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
        if not isinstance(data, dict):
            raise ValueError(f"expected an object, found {data!r}")
    except ValueError as error:  # of JSON, UTF-8, or the one above
        raise RunError(f"{path} is damaged ({error}); choose another run folder") from error
    return data


def without_machine_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what may change when a run moves to another machine."""
    sections = {k: dict(v) if isinstance(v, dict) else v for k, v in settings.items()}
    for setting in MACHINE_SETTINGS:
        section, _, name = setting.rpartition(".")
        (sections.get(section, {}) if section else sections).pop(name, None)
    return sections


def _differences(theirs: Any, mine: Any, path: str = "") -> list[str]:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        return [
            line
            for key in theirs.keys() | mine.keys()
            for line in _differences(
                theirs.get(key), mine.get(key), f"{path}.{key}" if path else key
            )
        ]
    return [] if theirs == mine else [f"{path} was {theirs!r}, now {mine!r}"]
