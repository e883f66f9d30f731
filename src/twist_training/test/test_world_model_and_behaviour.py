"""RSSM, teacher losses and returns."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from twist_sim.task_card import load_task_card
from twist_training.algorithms.actor_critic import ActorCritic, Belief, lambda_returns
from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import Batch, TeacherWorldModel, choose_starts
from twist_training.configuration import PRESETS
from twist_training.modules.distributions import gumbel_like
from twist_training.modules.rssm import Rssm, RssmConfig

CONTRACT = load_task_card("block_push").contract(True)
CONFIG = PRESETS["smoke"].teacher


def test_observing_a_sequence_equals_observing_it_step_by_step() -> None:
    torch.manual_seed(0)
    rssm = Rssm(RssmConfig(12, 10, 3, 4), action_size=3, embedding_size=6)
    embedding, action = torch.randn(2, 5, 6), torch.randn(2, 5, 3)
    noise = gumbel_like(torch.empty(2, 5, 3, 4))
    sequence = rssm.observe(embedding, action, noise)
    h, z = rssm.initial(2)
    for t in range(5):
        h, z = rssm.observe_step(embedding[:, t], action[:, t], h, z, noise[:, t])
        torch.testing.assert_close(h, sequence.deterministic[:, t])
        torch.testing.assert_close(z, sequence.stochastic[:, t])


def test_replay_follows_the_prior_from_the_given_state() -> None:
    torch.manual_seed(0)
    rssm = Rssm(RssmConfig(12, 10, 3, 4), action_size=3, embedding_size=6)
    h, z = torch.randn(2, 12), torch.randn(2, 12)
    actions, noise = torch.randn(2, 4, 3), gumbel_like(torch.empty(2, 4, 3, 4))
    sequence = rssm.replay(actions, h, z, noise)
    expected = rssm.transition(actions[:, 0], h, z)
    torch.testing.assert_close(sequence.deterministic[:, 0], expected)
    torch.testing.assert_close(sequence.prior[:, 0], rssm.prior(expected))
    assert sequence.posterior is None


def test_lambda_returns_are_one_step_td_at_zero_and_monte_carlo_at_one() -> None:
    rewards, values = torch.randn(4, 3), torch.randn(4, 3)
    td = lambda_returns(rewards, values, discount=0.9, lambda_=0.0)
    torch.testing.assert_close(td, rewards + 0.9 * values)
    monte_carlo = lambda_returns(rewards, values, discount=0.9, lambda_=1.0)
    expected = (
        rewards[0]
        + 0.9 * rewards[1]
        + 0.9**2 * rewards[2]
        + 0.9**3 * rewards[3]
        + 0.9**4 * values[3]
    )
    torch.testing.assert_close(monte_carlo[0], expected)


def _batch(batch: int, length: int) -> Batch:
    return Batch(
        torch.randn(batch, length, CONTRACT.state_size) * 0.1,
        torch.rand(batch, length, 3) * 2 - 1,
        torch.rand(batch, length),
    )


def test_world_model_learns_to_reconstruct_a_small_batch() -> None:
    torch.manual_seed(0)
    model = TeacherWorldModel(CONFIG, CONTRACT)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    batch = _batch(4, 6)
    first = None
    for _ in range(60):
        loss, _, _ = model.loss(batch)
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.5 * first


def test_the_actors_gradient_flows_through_the_dynamics() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, entropy=0.0)
    model = TeacherWorldModel(config, CONTRACT).requires_grad_(False)
    behaviour = ActorCritic(config, CONTRACT.action_size)
    _, latents, _ = model.loss(_batch(2, 4))
    actor_loss, critic_loss, _ = behaviour.losses(model, *choose_starts(4, latents.detached)[0])
    actor_loss.backward()
    assert all(p.grad is not None for p in behaviour.actor.parameters())
    assert any(p.grad.abs().sum() > 0 for p in behaviour.actor.parameters() if p.grad is not None)
    assert all(p.grad is None for p in behaviour.slow_critic.parameters())
    assert all(p.grad is None for p in behaviour.critic.parameters())
    critic_loss.backward()
    assert all(p.grad is not None for p in behaviour.critic.parameters())


def test_an_actor_that_is_shown_the_world_itself_as_a_belief_learns_the_same() -> None:
    model, behaviour, h, z = _imagination()
    losses = []
    for belief in (None, Belief(model.rssm, h, z)):
        torch.manual_seed(1)
        losses.append(behaviour.losses(model, h, z, belief)[:2])
    torch.testing.assert_close(losses[0], losses[1])


def test_a_wrong_belief_changes_what_the_actor_does_and_not_what_it_is_paid_for() -> None:
    model, behaviour, h, z = _imagination()
    wrong = Belief(model.rssm, h + 3.0, z)
    results = []
    for actor_sees in (True, False):
        if not actor_sees:  # its last layer alone decides: actions that depend on nothing seen
            torch.nn.init.zeros_(behaviour.actor.network[-1].weight)
        for belief in (None, wrong):
            torch.manual_seed(1)
            _, _, metrics = behaviour.losses(model, h, z, belief)
            results.append(float(metrics["actor/return"]))
    right, misled, blind, blind_and_misled = results
    assert abs(right - misled) > 1e-5
    assert blind == blind_and_misled


def _imagination() -> tuple[TeacherWorldModel, ActorCritic, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = TeacherWorldModel(CONFIG, CONTRACT).requires_grad_(False)
    _, latents, _ = model.loss(_batch(2, 4))
    ((h, z),) = choose_starts(4, latents.detached)
    return model, ActorCritic(CONFIG, CONTRACT.action_size), h, z


def test_starts_are_cut_from_the_graph_and_are_the_same_instants_of_every_sequence() -> None:
    model = TeacherWorldModel(CONFIG, CONTRACT)
    _, latents, _ = model.loss(_batch(2, 4))
    (h, z), again = choose_starts(5, latents.detached, latents.detached)
    assert torch.equal(h, again[0])
    assert torch.equal(z, again[1])
    assert h.shape == (5, CONFIG.rssm.deterministic)
    assert not h.requires_grad
    assert z.shape == (5, CONFIG.rssm.stochastic)
    assert not z.requires_grad


def test_state_scaling_round_trip() -> None:
    scaling = TeacherWorldModel(CONFIG, CONTRACT).scaling
    state = torch.randn(3, CONTRACT.state_size)
    torch.testing.assert_close(scaling.to_si(scaling(state)), state, atol=1e-5, rtol=1e-5)
    with pytest.raises(RuntimeError):
        scaling(torch.randn(3, CONTRACT.state_size + 1))


@pytest.mark.parametrize(
    "module",
    [
        TeacherWorldModel(CONFIG, CONTRACT),
        ActorCritic(CONFIG, CONTRACT.action_size),
        Student(PRESETS["smoke"].student, CONFIG, CONTRACT),
    ],
    ids=lambda module: type(module).__name__,
)
def test_layers_begin_glorot_uniform_without_bias(module: nn.Module) -> None:
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    assert layers
    for layer in layers:
        weight = layer.weight.detach()
        outputs, inputs, *kernel = weight.shape
        bound = (6.0 / ((inputs + outputs) * math.prod(kernel))) ** 0.5
        assert weight.abs().max() <= bound
        if weight.numel() > 500:
            assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
        assert layer.bias is None or not layer.bias.any()
