"""A few gradient steps of every kind; prints their terms. Run alone or by torchrun.

Fails when threads of the process group's outlive it: a process that ends then aborts now and then.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import Batch
from twist_training.configuration import parse_arguments
from twist_training.parallel import leaving
from twist_training.runners.distil import DistillationTrainer
from twist_training.runners.teacher_trainer import TeacherTrainer
from twist_training.session import Session
from twist_training.storage.episodes import Episodes
from twist_training.storage.images import ImageEpisodes
from twist_training.teacher_policy import Teacher

STEPS = 3


def main() -> None:
    """Prints, from the first process, one line of JSON: the terms of every step, and weights."""
    config = parse_arguments(["preset=smoke", "precision=float32", *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as folder:
        session = Session(config, Path(folder))
    generator = session.seed("test")
    contract, sizes = session.contract, config.teacher
    teacher = Teacher(session)
    trainer = TeacherTrainer(teacher, session, 100)
    logged: list[dict[str, Tensor]] = []
    for _ in range(STEPS):
        shape = (sizes.batch, sizes.length)
        arrays = (
            generator.normal(size=(*shape, contract.state_size)) / 10,
            generator.uniform(-1, 1, (*shape, contract.action_size)),
            generator.normal(size=shape),
        )
        rows = [session.tensor(session.processes.rows(a.astype(np.float32))) for a in arrays]
        logged.append(trainer.step(Batch(*rows)))
    student = Student(config.student, sizes, contract)
    distiller = DistillationTrainer(session, copy.deepcopy(teacher), student)
    data = _images(session, generator)
    logged += [distiller.warm_up(data, generator) for _ in range(STEPS)]
    logged += [distiller.distil(data, generator) for _ in range(STEPS)]
    logged = [session.processes.average(terms) for terms in logged]
    weights = torch.cat([p.detach().flatten() for m in (teacher, student) for p in m.parameters()])
    if session.processes.first:
        terms = [{name: float(value) for name, value in step.items()} for step in logged]
        print(json.dumps({"terms": terms, "weights": float(weights.double().norm())}))


def _images(session: Session, generator: np.random.Generator) -> ImageEpisodes:
    instants, contract, count = session.config.distillation.length + 1, session.contract, 4

    def normal(size: int) -> np.ndarray:
        return generator.normal(size=(count, instants, size)).astype(np.float32) / 10

    episodes = Episodes(
        state=normal(contract.state_size),
        previous_action=normal(contract.action_size),
        requested_action=normal(contract.action_size),
        reward=normal(1)[..., 0],
        sim_state=normal(1),
        success=np.zeros(count, bool),
    )
    edge = contract.image.size
    images = generator.integers(0, 256, (count, instants, 1, edge, edge, 3), dtype=np.uint8)
    data = ImageEpisodes(contract.state_slice("ee_position"))
    data.add(episodes, images)
    return data


def _check_that_no_thread_is_left() -> None:
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    left = [name.strip() for name in names if "gloo" in name]
    if left:
        raise RuntimeError(f"these threads are left after the processes have parted: {left}")


if __name__ == "__main__":
    with leaving():
        main()
    _check_that_no_thread_is_left()
