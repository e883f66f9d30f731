"""Eq. 3 and Eq. 4 as the paper has them."""

from __future__ import annotations

import torch

from twist_sim.task_card import load_task_card
from twist_training.algorithms.distillation import (
    Student,
    StudentBatch,
    distillation_loss,
    distillation_terms,
)
from twist_training.algorithms.world_model import TeacherWorldModel
from twist_training.configuration import PRESETS, StudentConfig
from twist_training.modules.distributions import categorical_kl
from twist_training.modules.networks import Actor
from twist_training.modules.rssm import LatentSequence

CARD = load_task_card("block_push")
CONFIG = PRESETS["smoke"]


def _setup(observes: bool = True) -> tuple[TeacherWorldModel, Actor, Student, StudentBatch]:
    torch.manual_seed(0)
    contract = CARD.contract(observes)
    teacher = TeacherWorldModel(CONFIG.teacher, contract).requires_grad_(False)
    actor = Actor(CONFIG.teacher.rssm.features, 3, 32, 2).requires_grad_(False)
    student = Student(StudentConfig(depth=4), CONFIG.teacher, contract)
    state = torch.randn(2, 5, contract.state_size) * 0.1
    batch = StudentBatch(
        state,
        torch.rand(2, 5, 3) * 2 - 1,
        torch.randint(0, 255, (2, 5, 64, 64, 3), dtype=torch.uint8),
        state[..., :3],
    )
    return teacher, actor, student, batch


def _loss(*parts: object, **changes: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    settings = {
        "horizon": 3,
        "imagination_starts": 4,
        "imagination_noise": 0.3,
        "imagination_scale": 1.0,
        "embedding_scale": 0.0,
        "shared_noise": True,
    }
    return distillation_loss(*parts, **(settings | changes))  # type: ignore[arg-type]


def test_the_papers_loss_is_the_unweighted_sum_of_its_five_terms() -> None:
    loss, terms = _loss(*_setup())
    assert set(terms) == {
        "eq3/deterministic",
        "eq3/prior",
        "eq3/posterior",
        "eq4/deterministic",
        "eq4/prior",
    }
    torch.testing.assert_close(loss, torch.stack(list(terms.values())).sum())


def test_without_imagination_only_equation_three_is_left() -> None:
    _, terms = _loss(*_setup(), imagination_scale=0.0)
    assert not any(name.startswith("eq4") for name in terms)


def test_divergences_are_from_student_to_teacher() -> None:
    def sequence() -> LatentSequence:
        return LatentSequence(
            torch.randn(2, 3, 4),
            torch.randn(2, 3, 6),
            torch.randn(2, 3, 2, 3),
            torch.randn(2, 3, 2, 3),
        )

    teacher, student = sequence(), sequence()
    terms = distillation_terms(teacher, student)
    torch.testing.assert_close(terms.prior, categorical_kl(student.prior, teacher.prior).mean())
    assert terms.posterior is not None
    assert student.posterior is not None
    assert teacher.posterior is not None
    torch.testing.assert_close(
        terms.posterior, categorical_kl(student.posterior, teacher.posterior).mean()
    )
    squared = (teacher.deterministic - student.deterministic).square().sum(-1).mean()
    torch.testing.assert_close(terms.deterministic, squared)


def test_identical_models_with_shared_noise_and_true_embeddings_have_zero_loss() -> None:
    teacher, _, student, batch = _setup()
    student.rssm.load_state_dict(teacher.rssm.state_dict())
    embedding = teacher.embed(batch.state)
    noise = torch.zeros(2, 5, student.rssm.groups, student.rssm.classes)
    left = teacher.rssm.observe(embedding, batch.previous_action, noise)
    right = student.rssm.observe(embedding, batch.previous_action, noise)
    # Rounding only: the two run the same operations.
    assert distillation_terms(left, right).total < 1e-5


def test_gradients_reach_the_student_and_never_the_teacher() -> None:
    teacher, actor, student, batch = _setup()
    loss, _ = _loss(teacher, actor, student, batch, embedding_scale=1.0)
    loss.backward()
    assert all(p.grad is None for p in (*teacher.parameters(), *actor.parameters()))
    assert all(p.grad is not None for p in student.parameters())


def test_images_alone_ignore_the_measured_position() -> None:
    _, _, student, batch = _setup(observes=False)
    image, position = batch.image[:, 0], batch.ee_position[:, 0]
    torch.testing.assert_close(
        student.embed(image, position), student.embed(image, position + 1.0), rtol=0, atol=0
    )


def test_with_the_position_as_input_it_matters() -> None:
    _, _, student, batch = _setup(observes=True)
    image, position = batch.image[:, 0], batch.ee_position[:, 0]
    assert not torch.allclose(student.embed(image, position), student.embed(image, position + 0.1))
