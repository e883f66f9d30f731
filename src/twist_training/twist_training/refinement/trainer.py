"""Gradient steps of a refinement."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import Batch
from twist_training.gradient_pass import Outputs
from twist_training.modules.rssm import States
from twist_training.refinement.settings import RefinementSettings
from twist_training.runners.teacher_trainer import BehaviourTrainer
from twist_training.session import Session
from twist_training.teacher_policy import Teacher


class RefinementTrainer(BehaviourTrainer):
    """Gradient steps of reward head, actor and critic; the rest of the world model is frozen.

    Args:
        teacher: the networks; left with gradients switched off in its world model.
        session: device, precision.
        settings: learning rates and their schedule's length.
        student: whose belief the actor sees; None shows it the teacher's.
    """

    def __init__(
        self,
        teacher: Teacher,
        session: Session,
        settings: RefinementSettings,
        student: Student | None = None,
    ) -> None:
        modules = {
            "reward": (teacher.world_model.reward, settings.critic_lr),
            "actor": (teacher.behaviour.actor, settings.actor_lr),
            "critic": (teacher.behaviour.critic, settings.critic_lr),
        }
        super().__init__(teacher, session, modules, None if student is None else student.rssm)
        self._total = settings.steps
        self._reward_pass = session.gradient_pass(self._observed, self._parameters("reward"))
        teacher.world_model.requires_grad_(False)
        if student is not None:
            student.requires_grad_(False).rssm.fused = session.config.fused

    def step(self, batch: Batch, embedding: Tensor | None = None) -> dict[str, Tensor]:
        """One gradient step of each; returns the terms for the log.

        Args:
            batch: windows of stored episodes; with several processes, this one's rows.
            embedding: what the student's encoder makes of their pictures, (B, L, E).
        """
        with self._session.processes.share():
            return self._step(batch, embedding)

    def _step(self, batch: Batch, embedding: Tensor | None) -> dict[str, Tensor]:
        reward = self._teacher.world_model.reward
        self._set_rates(0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * self.steps / self._total)))
        reward.requires_grad_(True)
        seen = () if embedding is None else (embedding,)
        terms, states = self._reward_pass(batch.state, batch.previous_action, batch.reward, *seen)
        self._update("reward")
        reward.requires_grad_(False)
        terms = self._learn_behaviour(*states) | terms
        self.steps += 1
        return terms

    def _observed(
        self, state: Tensor, previous_action: Tensor, reward: Tensor, *seen: Tensor
    ) -> Outputs:
        """The gradient pass of the reward head; returns the teacher's latent states, too.

        And after them the student's, where `seen` is what its encoder makes of the pictures.
        """
        world_model = self._teacher.world_model
        with self._session.autocast():
            with torch.no_grad():
                latents = world_model.rssm.observe(world_model.embed(state), previous_action)
            predicted = world_model.reward(latents.features).float().squeeze(-1)
            loss = 0.5 * (predicted - reward).square().mean()
        loss.backward()
        believed = [self._believe(embedding, previous_action) for embedding in seen]
        return {"world_model/reward": loss.detach()}, (*latents.detached, *sum(believed, ()))

    @torch.no_grad()
    def _believe(self, embedding: Tensor, previous_action: Tensor) -> States:
        """The student's latent states, modes as where it is deployed."""
        rssm = self._belief
        assert rssm is not None
        no_noise = embedding.new_zeros(*embedding.shape[:2], rssm.groups, rssm.classes)
        with self._session.autocast():
            return rssm.observe(embedding, previous_action, no_noise).detached
