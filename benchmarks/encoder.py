"""What a setting of the student is worth to its encoder: warm-ups on the same frames.

    python benchmarks/encoder.py run=runs/block_lift_cpu_seed0 [steps=1000] student.tool_spot=false

The encoder is warmed up twice on the pictures of a run, in the same batches: as the run's settings
say, and with the given ones instead. Prints how far the object is from where it is seen, on frames
of episodes that were held back (their cameras stand elsewhere), by coordinate: while the tool is
far from it, and while it is near. Without a run, the smallest preset makes one.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from twist_training.algorithms.distillation import Student
from twist_training.configuration import (
    PRESETS,
    TrainingConfig,
    run_script,
    split_arguments,
    with_arguments,
)
from twist_training.progress import ProgressBar
from twist_training.runners.distil import DistillationTrainer
from twist_training.runners.pipeline import Pipeline
from twist_training.shared_data import settings_of, take_data_from
from twist_training.storage.images import ImageEpisodes

FAR = 0.06
"""Distance between tool tip and object from which on the tool hardly hides it, metres."""
HELD_BACK = 10
"""One of so many collected episodes is held back."""
TESTED_FRAMES = 2048


def main() -> None:
    """Trains and prints the table."""
    own, others = split_arguments(sys.argv[1:], {"run": "", "steps": "1000"})
    steps, arguments = int(own["steps"]), others or ["student.tool_spot=false"]
    if steps < 1:
        raise SystemExit(f"steps must be 1 or more, found {steps}")
    run = Path(own["run"]) if own["run"] else None
    # Beside the run, whose pictures are linked: they are gigabytes.
    with tempfile.TemporaryDirectory(dir=run.parent if run else None) as temporary:
        folder = Path(temporary)
        config = PRESETS["smoke"] if run is None else settings_of(run)
        other = with_arguments(config, arguments)  # refuses what cannot be before it takes minutes
        if run is not None:
            take_data_from(run, config, folder)
        pipeline = Pipeline(dataclasses.replace(config, processes=1), folder, folder / "checkpoint")
        learned, held_back = _split(pipeline)
        print(
            f"{config.task}, preset {config.preset}: {steps} steps of the warm-up on "
            f"{learned.frames:,} frames; error of the object's x, y, z, cm, median (90 %)"
        )
        for title, settings in {
            "as it is": config,
            " ".join(arguments): other,
        }.items():
            student = _warmed_up(pipeline, settings, learned, steps, title)
            for where, error in _errors(pipeline, student, held_back).items():
                numbers = "  ".join(f"{middle:.2f} ({high:.2f})" for middle, high in error.T)
                print(f"{title:26s} tool {where:18s} {numbers}", flush=True)


def _split(pipeline: Pipeline) -> tuple[ImageEpisodes, ImageEpisodes]:
    """Collected episodes to learn from, and those that are held back."""
    pipeline.data()
    episodes = pipeline.collected()
    images = np.load(pipeline.session.folder / "images_collected.npy", mmap_mode="r")
    learned, held_back = (
        ImageEpisodes(pipeline.session.contract.state_slice("ee_position")) for _ in range(2)
    )
    for first in range(HELD_BACK):
        rows = slice(first, None, HELD_BACK)
        part = episodes.chosen(range(len(episodes))[rows])
        (learned if first else held_back).add(part, images[rows])
    return learned, held_back


def _warmed_up(
    pipeline: Pipeline, config: TrainingConfig, data: ImageEpisodes, steps: int, title: str
) -> Student:
    session = pipeline.session
    generator = session.seed("distil")
    contract = session.card.contract(config.student.observes_ee_position)
    student = Student(config.student, config.teacher, contract).to(session.device)
    schedule = dataclasses.replace(config.distillation, warmup_steps=steps)
    trainer = DistillationTrainer(session, pipeline.teacher(), student, schedule)
    for _ in ProgressBar(range(steps), title, unit="step"):
        trainer.warm_up(data, generator)
    return student


@torch.no_grad()
def _errors(
    pipeline: Pipeline, student: Student, data: ImageEpisodes
) -> dict[str, NDArray[np.float64]]:
    session = pipeline.session
    state, image, position = data.frames_at_random(TESTED_FRAMES, np.random.default_rng(0))
    seen = []
    for rows in np.array_split(np.arange(len(state)), 16):
        with session.autocast():
            features = student.features(session.tensor(image[rows]), session.tensor(position[rows]))
            scaled = student.encoder.state(features)
        seen.append(student.scaling.to_si(scaled.float()).cpu().numpy())
    where = session.contract.state_slice("object_position")
    error = 100.0 * np.abs(np.concatenate(seen) - state)[:, where].astype(np.float64)
    far = np.linalg.norm(state[:, where] - position, axis=1) > FAR
    return {
        f"{name} {100 * FAR:.0f} cm ({chosen.sum()})": np.percentile(
            error[chosen], [50, 90], axis=0
        )
        for name, chosen in {"beyond": far, "within": ~far}.items()
    }


if __name__ == "__main__":
    run_script(main, __doc__)
