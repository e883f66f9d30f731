"""How fast a teacher's world model learns from Glorot weights, and from PyTorch's own.

    python benchmarks/initialisation.py [steps=1000] [seeds=2] [seed=0] [preset=cpu] ...

Both learn from the same episodes (noisy scripted and random ones, see `seed_replay`) in the same
batches, without a behaviour, once for each of `seeds` seeds from `seed` on. Prints the means of the
losses over the last tenth of the steps.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
from torch import nn

from twist_training.configuration import (
    TrainingConfig,
    parse_arguments,
    run_script,
    split_arguments,
)
from twist_training.modules.networks import initialise
from twist_training.progress import ProgressBar
from twist_training.rollout import make_environments
from twist_training.runners.teacher import TeacherTrainer, draw_batch, seed_replay
from twist_training.session import Session
from twist_training.storage.episodes import Replay
from twist_training.teacher_policy import Teacher

TERMS = ("state", "reward", "kl")


def main() -> None:
    """Trains and prints the table."""
    given, arguments = split_arguments(sys.argv[1:], {"steps": "1000", "seeds": "2"})
    own = {name: int(value) for name, value in given.items()}
    if min(own.values()) < 1:
        raise SystemExit("steps and seeds must be 1 or more")
    config = dataclasses.replace(parse_arguments(arguments), processes=1)
    rows: dict[str, list[list[float]]] = {"PyTorch's own": [], "Glorot": []}
    for seed in range(config.seed, config.seed + own["seeds"]):
        for name, reset in zip(rows, (_pytorch, initialise), strict=True):
            chosen = dataclasses.replace(config, seed=seed)
            rows[name].append(_learn(chosen, reset, own["steps"], f"{name}, seed {seed}"))
    print(
        f"{config.task}, preset {config.preset}: world model after {own['steps']} gradient steps, "
        f"seeds: {own['seeds']} (each in brackets)"
    )
    for name, found in rows.items():
        terms = [
            f"{term} {np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"
            for term, values in zip(TERMS, zip(*found, strict=True), strict=True)
        ]
        print(f"{name:14s} {'; '.join(terms)}")


def _pytorch(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()


def _learn(config: TrainingConfig, reset: object, steps: int, description: str) -> list[float]:
    assert callable(reset)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(config, Path(folder))
    generator = session.seed("teacher")
    replay = Replay(session.contract, config.teacher.moving)
    teacher = config.teacher
    environments = make_environments(session.card, teacher.environments, teacher.episode_steps)
    seed_replay(session, replay, environments, generator)
    networks = Teacher(session)
    reset(networks.world_model)
    networks.to(session.device)
    trainer = TeacherTrainer(networks, session, steps)
    last: list[list[float]] = []
    for step in ProgressBar(range(steps), description, unit="step"):
        terms = trainer.step(draw_batch(session, replay, generator), behaviour=False)
        if step >= min(0.9 * steps, steps - 1):
            last.append([float(terms[f"world_model/{term}"]) for term in TERMS])
    return [float(value) for value in np.mean(last, axis=0)]


if __name__ == "__main__":
    run_script(main, __doc__)
