"""What a gradient step computes does not depend on what its memory held before, and is a number.

PyTorch can fill the memory that it hands out with NaN. Matrix products in bfloat16 on processors
with AMX look at what lies between the rows of a strided matrix, and multiply it by zero: a NaN
there is one in the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from random_data import random_batch, random_episodes

from twist_training.algorithms.distillation import Student
from twist_training.configuration import parse_arguments
from twist_training.modules.fused_scan import ScanSteps
from twist_training.run_identity import RunError
from twist_training.runners.distil import DistillationTrainer
from twist_training.runners.teacher_trainer import TeacherTrainer
from twist_training.session import Session
from twist_training.teacher_policy import Teacher


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that nothing was written to is full of NaN."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert torch.empty(3).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_gradient_steps_use_no_memory_that_they_have_not_written(
    poisoned: None, precision: str, tmp_path: Path
) -> None:
    # The sizes of the real networks: smaller products do not take the same ways.
    session = Session(parse_arguments(["preset=cpu", f"precision={precision}"]), tmp_path)
    generator = session.seed("poisoned")
    teacher = Teacher(session)
    trainer = TeacherTrainer(teacher, session, 10)
    terms = trainer.step(random_batch(session, generator))
    student = Student(session.config.student, session.config.teacher, session.contract)
    distiller = DistillationTrainer(session, teacher, student)
    data = random_episodes(session, generator)
    terms |= distiller.warm_up(data, generator) | distiller.distil(data, generator)
    for name, value in terms.items():
        assert np.isfinite(value.item()), name
    for module in (teacher, student):
        for name, parameter in module.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_gradients_that_are_no_numbers_end_a_run_before_a_weight_has_them(tmp_path: Path) -> None:
    session = Session(parse_arguments(["preset=smoke"]), tmp_path)
    generator = session.seed("no numbers")
    teacher = Teacher(session)
    trainer = TeacherTrainer(teacher, session, 10)
    trainer.step(random_batch(session, generator))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    batch = random_batch(session, generator)
    batch.reward[0, 0] = torch.nan
    with pytest.raises(RunError, match=r"step 2: the gradients of the model are no numbers"):
        trainer.step(batch)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_scan_leaves_nothing_between_its_rows_that_is_no_number(
    poisoned: None, tmp_path: Path
) -> None:
    """The same on every processor."""
    session = Session(parse_arguments(["preset=smoke"]), tmp_path)
    rssm = Teacher(session).world_model.rssm
    noise = torch.zeros(4, 2, rssm.groups, rssm.classes)
    with torch.no_grad():
        steps = ScanSteps(*rssm.initial(2), noise, rssm._prior_weights())
        steps.step(torch.zeros(2, rssm.config.hidden), rssm.prior_hidden.bias)
    assert steps.inputs.isfinite().all()
