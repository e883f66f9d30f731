"""Gradient steps on a device that is not the processor, where there is none: PyTorch's ``meta``.

It computes nothing, and refuses what mixes it with the processor's tensors or looks at a value, as
a step on a GPU should not: every such look waits for the GPU.
"""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from random_data import random_batch, random_episodes
from torch import nn

from twist_training.algorithms.distillation import Student
from twist_training.configuration import parse_arguments
from twist_training.runners.distil import DistillationTrainer
from twist_training.runners.teacher_trainer import TeacherTrainer
from twist_training.session import Session, random_state, restore_random_state
from twist_training.teacher_policy import Teacher

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device without arithmetic, and without what it has no answer for."""
    clip = nn.utils.clip_grad_norm_
    monkeypatch.setattr(Session, "autocast", lambda self: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)
    # The one look at a value that a step has: whether the gradients are finite.
    monkeypatch.setattr(
        nn.utils,
        "clip_grad_norm_",
        lambda parameters, most: (clip(parameters, most), torch.ones(()))[1],
    )
    return torch.device("meta")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("preset", "task"), [("cpu", "block_push"), ("cpu", "block_lift"), ("paper", "block_push")]
)
def test_a_gradient_step_stays_on_its_device_and_does_not_wait_for_it(
    preset: str, task: str, fused: bool, elsewhere: torch.device, tmp_path: Path
) -> None:
    settings = ["device=cpu", "processes=1", f"preset={preset}", f"task={task}", f"fused={fused}"]
    session = Session(parse_arguments(settings), tmp_path)
    session.device = elsewhere
    sizes, contract = session.config.teacher, session.contract
    teacher = Teacher(session).to(elsewhere)
    trainer = TeacherTrainer(teacher, session, 100)
    batch = random_batch(session, GENERATOR)
    student = Student(session.config.student, sizes, contract).to(elsewhere)
    distiller = DistillationTrainer(session, copy.deepcopy(teacher), student)
    data = random_episodes(session, GENERATOR)

    metrics = [trainer.step(batch), distiller.warm_up(data, GENERATOR)]
    metrics.append(distiller.distil(data, GENERATOR))
    assert {value.device for terms in metrics for value in terms.values()} == {elsewhere}
    trained = (teacher.world_model, teacher.behaviour.actor, teacher.behaviour.critic)
    for network in (*trained, student.rssm, student.encoder.convolutions):
        assert all(weight.grad is not None for weight in network.parameters())


def test_the_test_above_finds_a_tensor_of_the_processor(
    elsewhere: torch.device, tmp_path: Path
) -> None:
    settings = ["preset=smoke", "processes=1"]
    session = Session(parse_arguments(settings), tmp_path)
    session.device = elsewhere
    student = Student(session.config.student, session.config.teacher, session.contract)
    distiller = DistillationTrainer(session, Teacher(session).to(elsewhere), student.to(elsewhere))
    spot = student.encoder.tool_spot
    assert spot is not None
    spot.offset = torch.zeros(3)
    with pytest.raises(RuntimeError, match="device"):
        distiller.warm_up(random_episodes(session, GENERATOR), GENERATOR)


def test_a_gpus_random_state_is_kept_for_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = torch.arange(16, dtype=torch.uint8)
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: kept)
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    state = random_state(np.random.default_rng(1))
    restore_random_state(state, np.random.default_rng(2))
    assert [value.tolist() for value in restored] == [kept.tolist()]
    # The run goes on where there is no GPU.
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    restore_random_state(state, np.random.default_rng(2))
    assert len(restored) == 1
