"""Gradient steps of the teacher's world model and behaviour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from twist_training.algorithms.actor_critic import Belief
from twist_training.algorithms.world_model import Batch, choose_starts
from twist_training.gradient_pass import Outputs, clip_gradients
from twist_training.modules.rssm import Rssm
from twist_training.session import Session
from twist_training.teacher_policy import Teacher

_GRIPPER = 3
"""Where an action says whether the gripper is to close, after the translation."""


class BehaviourTrainer:
    """Gradient steps of actor and critic in imagination, beside those of one more module.

    Args:
        teacher: the networks.
        session: device, precision.
        modules: what is trained, with learning rates, by name; ``actor`` and ``critic`` among them.
        belief: goes on from what the actor sees where that is not the world itself.
    """

    def __init__(
        self,
        teacher: Teacher,
        session: Session,
        modules: Mapping[str, tuple[nn.Module, float]],
        belief: Rssm | None = None,
    ) -> None:
        self._teacher, self._session, self._config = teacher, session, session.config.teacher
        teacher.world_model.rssm.fused = session.config.fused
        self._modules = {name: module for name, (module, _) in modules.items()}
        self._rates = {name: rate for name, (_, rate) in modules.items()}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=rate, eps=1e-5, fused=True)
            for name, (module, rate) in modules.items()
        }
        self._belief = belief
        self._behaviour_pass = session.gradient_pass(
            self._imagined, self._parameters("actor", "critic")
        )
        self.steps = 0

    def _learn_behaviour(self, *states: Tensor) -> dict[str, Tensor]:
        """A step of actor and critic from some of these instants; the world model must be frozen.

        Args:
            states: h (B, T, D) and z (B, T, S * C) of the world, without gradients; then, where
                there is a `belief`, those that the actor sees instead.
        """
        terms, _ = self._behaviour_pass(*states)
        self._update("actor", "critic")
        if self.steps % self._config.slow_critic_every == 0:
            self._teacher.behaviour.update_slow_critic()
        return terms

    def _imagined(self, h: Tensor, z: Tensor, *believed: Tensor) -> Outputs:
        """The gradient pass of actor and critic; see `_learn_behaviour`."""
        count = self._config.imagination_starts // self._session.processes.count
        belief = None
        if believed:
            assert self._belief is not None
            seen_h, seen_z = believed
            (h, z), start = choose_starts(count, (h, z), (seen_h, seen_z))
            belief = Belief(self._belief, *start)
        else:
            ((h, z),) = choose_starts(count, (h, z))
        with self._session.autocast():
            actor_loss, critic_loss, terms = self._teacher.behaviour.losses(
                self._teacher.world_model, h, z, belief
            )
        actor_loss.backward()
        critic_loss.backward()
        return terms, ()

    def _set_rates(self, factor: float) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self._rates[name] * factor

    def _update(self, *names: str) -> None:
        """One step of the modules with these names, which have their gradients."""
        self._session.processes.average_gradients(self._parameters(*names))
        for name in names:
            parameters = self._modules[name].parameters()
            clip_gradients(name, parameters, self._config.clip, step=self.steps + 1)
            self.optimizers[name].step()

    def _parameters(self, *names: str) -> Iterator[nn.Parameter]:
        for name in names:
            yield from self._modules[name].parameters()


class TeacherTrainer(BehaviourTrainer):
    """Gradient steps of world model and behaviour.

    Args:
        teacher: the networks.
        session: device, precision.
        total_steps: gradient steps in all, for the learning-rate schedule.

    Attributes:
        refined_from: the step from which the teacher learns by the card's refined rules, and the
            learning rates fall over the steps that are meant for that; None before.
    """

    def __init__(self, teacher: Teacher, session: Session, total_steps: int) -> None:
        config = session.config.teacher
        modules = {
            "model": (teacher.world_model, config.model_lr),
            "actor": (teacher.behaviour.actor, config.actor_lr),
            "critic": (teacher.behaviour.critic, config.critic_lr),
        }
        super().__init__(teacher, session, modules)
        self._model_pass = session.gradient_pass(self._observed, self._parameters("model"))
        self._total = total_steps
        self.refined_from: int | None = None

    def step(self, batch: Batch, *, behaviour: bool = True) -> dict[str, Tensor]:
        """One gradient step on `batch`; the world model alone when `behaviour` is False.

        With several processes, `batch` is this one's rows of the whole batch, and the terms for the
        log are those of its rows.
        """
        with self._session.processes.share():
            return self._step(batch, behaviour)

    def _step(self, batch: Batch, behaviour: bool) -> dict[str, Tensor]:
        world_model = self._teacher.world_model
        self._set_rates(self._rate(self.steps))
        world_model.requires_grad_(True)
        terms, states = self._model_pass(batch.state, batch.previous_action, batch.reward)
        self._update("model")
        if behaviour:
            world_model.requires_grad_(False)
            terms |= self._learn_behaviour(*states)
        self.steps += 1
        return terms

    def _observed(self, state: Tensor, previous_action: Tensor, reward: Tensor) -> Outputs:
        """The gradient pass of the world model; returns the latent states, too."""
        with self._session.autocast():
            loss, latents, terms = self._teacher.world_model.loss(
                Batch(state, previous_action, reward)
            )
        loss.backward()
        return terms, latents.detached

    def forget_gripper(self) -> None:
        """Makes the actor undecided about the gripper; nothing where there is none.

        Whether the gripper is to close is a threshold. An actor that has settled far on one side of
        it never sees the other in imagination, and no gradient comes back through it: whatever
        closing too early then costs, it goes on doing so. What else the actor has learned stays.
        """
        if self._session.contract.gripper is None:
            return
        actor, optimizer = self._teacher.behaviour.actor, self.optimizers["actor"]
        rows = [_GRIPPER, _GRIPPER + self._session.contract.action_size]  # mean, deviation
        for parameter in actor.last_layer.parameters():
            moments = optimizer.state.get(parameter, {})
            parameter.data[rows] = 0.0
            for name in moments.keys() - {"step"}:
                moments[name][rows] = 0.0

    def _rate(self, step: int) -> float:
        """Factor on the learning rates."""
        last, half = self._config.final_lr, self._total / 2
        if self.refined_from is None or step <= self.refined_from:
            return 1.0 - _share(step - half, half) * (1.0 - last)
        first = self._rate(self.refined_from)
        fraction = _share(step - self.refined_from, self._config.refined_steps)
        return first - fraction * (first - last)


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))
