"""``twist-train diagnose``: what a checkpoint's belief gets wrong, and when it fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twist_policy.checkpoint import load_checkpoint
from twist_sim.task_card import load_task_card
from twist_training.configuration import ConfigurationError, with_arguments
from twist_training.diagnosis.analysis import diagnose
from twist_training.diagnosis.episodes import KEY, run_episodes
from twist_training.diagnosis.report import write_report
from twist_training.robustness.trial import about_trials, pixels_named
from twist_training.run_lock import locked
from twist_training.storage.result_table import ResultTable


@dataclass(frozen=True)
class DiagnosisSettings:
    """Arguments of ``twist-train diagnose``.

    Attributes:
        checkpoint: folder of an exported checkpoint.
        task: what the checkpoint must be for; empty takes any.
        episodes: with held-out looks.
        seed: layouts and looks are drawn from (seed, trial).
        workers: processes.
        pixels: ``crop`` or ``frame``, see `TrialWorld`.
        worst: how many episodes the sheet of pictures shows.
        out: folder of results; the same folder continues a diagnosis.
    """

    checkpoint: str = ""
    task: str = ""
    episodes: int = 100
    seed: int = 100
    workers: int = 2
    pixels: str = "crop"
    worst: int = 8
    out: str = ""


def main(arguments: list[str]) -> None:
    """Runs the episodes that are missing and writes the report.

    Raises:
        ConfigurationError: an argument is wrong or missing.
        CheckpointError: there is no valid checkpoint.
        RunError: it was trained with another task card, or another process measures into the same
            folder.
        ResultTableError: the folder holds results of another checkpoint or task card.
        DiskError: the folder is not writable or the disk is full.
    """
    settings = with_arguments(DiagnosisSettings(), arguments)
    if not settings.checkpoint:
        raise ConfigurationError(
            "checkpoint is missing: name an exported one, e.g. checkpoint=models/block_push"
        )
    if settings.episodes < 3 or settings.workers < 1 or settings.worst < 1 or settings.seed < 0:
        raise ConfigurationError(
            "episodes must be 3 or more, workers and worst 1 or more, and seed not negative; found "
            f"{settings.episodes}, {settings.workers}, {settings.worst} and {settings.seed}"
        )
    pixels = pixels_named(settings.pixels)
    checkpoint = load_checkpoint(settings.checkpoint, expected_task=settings.task or None)
    card = load_task_card(checkpoint.contract.task)
    out = Path(settings.out or f"diagnosis/{checkpoint.identity.replace('@', '_')}")
    about = about_trials(checkpoint, card, settings.pixels)
    with locked(out, "out"), ResultTable(out / "episodes.jsonl", about=about, key=KEY) as table:
        episodes = run_episodes(
            table,
            out / "traces",
            Path(settings.checkpoint),
            episodes=settings.episodes,
            seed=settings.seed,
            workers=settings.workers,
            pixels=pixels,
        )
    diagnosis = diagnose(episodes, checkpoint.contract, card.task_rules)
    title = f"Diagnosis of {checkpoint.identity}"
    for path in write_report(
        out, diagnosis, episodes, checkpoint.contract, title=title, worst=settings.worst
    ):
        print(path)
