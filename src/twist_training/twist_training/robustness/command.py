"""``twist-train robustness``: success and surprise of a checkpoint in disturbed worlds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twist_policy.checkpoint import load_checkpoint
from twist_sim.task_card import load_task_card
from twist_training.configuration import ConfigurationError, with_arguments
from twist_training.robustness.factors import NOMINAL, Factor, factors
from twist_training.robustness.report import write_report
from twist_training.robustness.runner import KEY, measure
from twist_training.robustness.summary import summarise
from twist_training.robustness.trial import about_trials, pixels_named
from twist_training.run_lock import locked
from twist_training.storage.result_table import ResultTable

TABLE = "trials.jsonl"


@dataclass(frozen=True)
class RobustnessSettings:
    """Arguments of ``twist-train robustness``.

    Attributes:
        checkpoint: folder of an exported checkpoint.
        task: what the checkpoint must be for; empty takes any.
        episodes: trials per point; more of them later add to those that are there.
        seed: layouts and looks are drawn from (seed, trial).
        workers: processes.
        pixels: ``crop`` or ``frame``, see `TrialWorld`.
        factors: names separated by commas; empty measures all.
        out: folder of table and report; the same folder continues a measurement.
    """

    checkpoint: str = ""
    task: str = ""
    episodes: int = 50
    seed: int = 200
    workers: int = 2
    pixels: str = "crop"
    factors: str = ""
    out: str = ""


def main(arguments: list[str]) -> None:
    """Measures what the table lacks and writes the report.

    Raises:
        ConfigurationError: an argument is wrong or missing.
        CheckpointError: there is no valid checkpoint.
        RunError: it was trained with another task card, or another process measures into the same
            folder.
        ResultTableError: the folder holds results of another checkpoint or task card.
        DiskError: the folder is not writable or the disk is full.
    """
    settings = with_arguments(RobustnessSettings(), arguments)
    _check(settings)
    folder = Path(settings.checkpoint)
    checkpoint = load_checkpoint(folder, expected_task=settings.task or None)
    card = load_task_card(checkpoint.contract.task)
    chosen = _chosen(settings.factors, factors(card))
    out = Path(settings.out or f"robustness/{checkpoint.identity.replace('@', '_')}")
    about = about_trials(checkpoint, card, settings.pixels)
    with locked(out, "out"), ResultTable(out / TABLE, about=about, key=KEY) as table:
        measure(
            table,
            folder,
            chosen,
            episodes=settings.episodes,
            seed=settings.seed,
            workers=settings.workers,
            pixels=pixels_named(settings.pixels),
        )
        summary = summarise(table.rows, chosen)
    title = f"Robustness of {checkpoint.identity}"
    for path in write_report(out, summary, title):
        print(path)


def _check(settings: RobustnessSettings) -> None:
    if not settings.checkpoint:
        raise ConfigurationError(
            "checkpoint is missing: name an exported one, e.g. checkpoint=models/block_push"
        )
    for name in ("episodes", "workers"):
        if getattr(settings, name) < 1:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; use 1 or more")
    if settings.seed < 0:
        raise ConfigurationError(f"seed is {settings.seed}; it must not be negative")
    pixels_named(settings.pixels)


def _chosen(names: str, known: tuple[Factor, ...]) -> tuple[Factor, ...]:
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = sorted(set(wanted) - {factor.name for factor in known})
    if unknown:
        raise ConfigurationError(
            f"unknown factors {unknown}; known are {[factor.name for factor in known]}"
        )
    # What everything is compared with is always measured.
    return tuple(f for f in known if not wanted or f.name in wanted or f.name == NOMINAL.name)
