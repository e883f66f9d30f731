"""The scan with written-out gradients computes what the plain loops compute."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from twist_training.algorithms.world_model import Batch
from twist_training.configuration import PRESETS
from twist_training.modules.distributions import gumbel_like
from twist_training.modules.rssm import Rssm, RssmConfig
from twist_training.runners.teacher_trainer import TeacherTrainer
from twist_training.session import Session
from twist_training.teacher_policy import Teacher


def _losses_and_gradients(rssm: Rssm, inputs: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
    rssm.zero_grad()
    leaves = {name: value.clone().requires_grad_(name != "noise") for name, value in inputs.items()}
    if mode == "observe":
        latents = rssm.observe(leaves["embedding"], leaves["action"], leaves["noise"])
        assert latents.posterior is not None
        logits = latents.posterior
    else:
        latents = rssm.replay(leaves["action"], leaves["h"], leaves["z"], leaves["noise"])
        logits = latents.prior
    mix = torch.linspace(-1.0, 1.0, latents.features.shape[-1])
    loss = (latents.features @ mix).square().mean() + logits.log_softmax(-1).square().mean()
    loss = loss + latents.prior.log_softmax(-1)[..., 0].mean()
    loss.backward()
    gradients = {name: value.grad for name, value in rssm.named_parameters()}
    gradients |= {name: value.grad for name, value in leaves.items()}
    return {"loss": loss.detach(), "h": latents.deterministic.detach()} | {
        name: value for name, value in gradients.items() if value is not None
    }


def _inputs(rssm: Rssm) -> dict[str, Tensor]:
    batch, length = 3, 7
    return {
        "embedding": torch.randn(batch, length, 6),
        "action": torch.rand(batch, length, 3) * 2 - 1,
        "noise": gumbel_like(torch.empty(batch, length, rssm.groups, rssm.classes)),
        "h": torch.tanh(torch.randn(batch, rssm.config.deterministic)),
        "z": torch.rand(batch, rssm.config.stochastic),
    }


def _rssm() -> Rssm:
    rssm = Rssm(RssmConfig(12, 10, 3, 4), action_size=3, embedding_size=6)
    torch.nn.init.uniform_(rssm.cell.norm.weight, 0.5, 1.5)
    torch.nn.init.normal_(rssm.cell.norm.bias)
    return rssm


@pytest.mark.parametrize("mode", ["observe", "replay"])
def test_states_losses_and_every_gradient_agree_with_the_plain_loop(mode: str) -> None:
    torch.manual_seed(0)
    rssm = _rssm()
    inputs = _inputs(rssm)
    plain = _losses_and_gradients(rssm, inputs, mode)
    rssm.fused = True
    fused = _losses_and_gradients(rssm, inputs, mode)
    assert plain.keys() == fused.keys()
    for name, value in plain.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_in_mixed_precision_the_two_differ_by_rounding() -> None:
    torch.manual_seed(0)
    rssm = _rssm()
    inputs = _inputs(rssm)
    with torch.autocast("cpu", torch.bfloat16):
        plain = _losses_and_gradients(rssm, inputs, "observe")
        rssm.fused = True
        fused = _losses_and_gradients(rssm, inputs, "observe")
    for name, value in plain.items():
        error = (fused[name].float() - value.float()).norm() / value.float().norm()
        assert error < 0.05, f"{name}: relative error {error:.3f}; bfloat16 keeps 8 bits"


@pytest.mark.parametrize("fused", [False, True])
def test_a_rollout_step_by_step_is_the_replay_of_its_actions(fused: bool) -> None:
    torch.manual_seed(0)
    rssm = _rssm()
    rssm.fused = fused
    inputs = _inputs(rssm)
    h, z, noise = inputs["h"], inputs["z"], inputs["noise"]
    imagination = rssm.imagine(h, z, noise)
    taken = []
    for _ in range(noise.shape[1]):
        # What the action is depends on where the last one led.
        taken.append(torch.tanh(imagination.h[:, :3] + imagination.z[:, :3]))
        imagination.step(taken[-1])
    actions = torch.stack(taken, 1)
    gradients = []
    for how in (imagination.latents, lambda chosen: rssm.replay(chosen, h, z, noise)):
        rssm.zero_grad()
        leaf = actions.clone().requires_grad_()
        latents = how(leaf)
        torch.testing.assert_close(latents.deterministic[:, -1], imagination.h)
        torch.testing.assert_close(latents.stochastic[:, -1], imagination.z)
        (latents.features.square().mean() + latents.prior.square().mean()).backward()
        gradients.append([leaf.grad, *(p.grad for p in rssm.parameters() if p.grad is not None)])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_a_teacher_trains_the_same_with_and_without_fusing(tmp_path: Path) -> None:
    config = dataclasses.replace(PRESETS["smoke"], precision="float32")
    plain = Session(dataclasses.replace(config, fused=False), tmp_path)
    fused = Session(dataclasses.replace(config, fused=True), tmp_path)
    torch.manual_seed(0)
    teacher = Teacher(plain)
    action_size, state_size = plain.contract.action_size, plain.contract.state_size
    batch = Batch(
        torch.randn(8, 25, state_size) / 10,
        torch.rand(8, 25, action_size) * 2 - 1,
        torch.randn(8, 25),
    )
    logged = []
    for session in (plain, fused):
        trainer = TeacherTrainer(copy.deepcopy(teacher), session, 100)
        torch.manual_seed(1)
        logged.append([trainer.step(batch) for _ in range(3)])
    for expected, found in zip(*logged, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
