"""Gradient steps per second of every training stage, on random data of the real shapes.

    python benchmarks/train_step.py [preset=cpu] [threads=2] [precision=auto]

Prints medians over `STEPS` steps with the 10th and 90th percentile.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import Batch
from twist_training.configuration import parse_arguments
from twist_training.runners.distil import DistillationTrainer
from twist_training.runners.teacher import TeacherTrainer
from twist_training.session import Session
from twist_training.storage.episodes import Episodes
from twist_training.storage.images import ImageEpisodes
from twist_training.teacher_policy import Teacher

STEPS = 20


def main() -> None:
    """Measures and prints a table."""
    config = parse_arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        session = Session(config, Path(folder))
    generator = np.random.default_rng(0)
    contract, sizes = session.contract, config.teacher
    teacher = Teacher(session).to(session.device)
    trainer = TeacherTrainer(teacher, session, 10_000)

    def batch() -> Batch:
        shape = (sizes.batch, sizes.length)
        return Batch(
            session.tensor(generator.normal(size=(*shape, contract.state_size)).astype("f4") / 10),
            session.tensor(generator.uniform(-1, 1, (*shape, 3)).astype("f4")),
            session.tensor(generator.normal(size=shape).astype("f4")),
        )

    rows = [
        ("teacher: world model", lambda: trainer.step(batch(), behaviour=False)),
        ("teacher: world model and behaviour", lambda: trainer.step(batch())),
    ]
    student = Student(config.student, sizes, contract).to(session.device)
    # Distillation freezes its teacher; the one that is still being trained has to stay free.
    distiller = DistillationTrainer(session, copy.deepcopy(teacher), student)
    data = _random_episodes(generator, session)
    rows += [
        ("student: encoder warm-up", lambda: distiller.warm_up(data, generator)),
        ("student: Eq. 3 and Eq. 4", lambda: distiller.distil(data, generator)),
    ]
    print(
        f"preset {config.preset}, {config.device}, {session.precision}, {config.threads} threads, "
        f"median of {STEPS} steps (10th to 90th percentile)"
    )
    for name, step in rows:
        low, middle, high = np.percentile(_times(step), [10, 50, 90])
        print(
            f"{name:36s} {1 / middle:7.2f} steps/s   "
            f"{1e3 * middle:6.0f} ms ({1e3 * low:.0f} to {1e3 * high:.0f})"
        )


def _times(step: Callable[[], object]) -> list[float]:
    for _ in range(3):
        step()
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return times


def _random_episodes(generator: np.random.Generator, session: Session) -> ImageEpisodes:
    instants = session.config.distillation.length + 1
    edge = session.contract.image.size
    count = 16

    def normal(size: int) -> np.ndarray:
        return generator.normal(size=(count, instants, size)).astype(np.float32) / 10

    episodes = Episodes(
        state=normal(session.contract.state_size),
        previous_action=normal(3),
        requested_action=normal(3),
        reward=normal(1)[..., 0],
        sim_state=normal(1),
        success=np.zeros(count, bool),
    )
    data = ImageEpisodes(session.contract.state_slice("ee_position"))
    data.add(
        episodes, generator.integers(0, 256, (count, instants, 1, edge, edge, 3), dtype=np.uint8)
    )
    return data


if __name__ == "__main__":
    main()
