"""Gradient steps of a refinement."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import Batch
from twist_training.modules.rssm import LatentSequence
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
        super().__init__(teacher, session, modules)
        self._total = settings.steps
        teacher.world_model.requires_grad_(False)
        self._student = student
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
        world_model = self._teacher.world_model
        self._set_rates(0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * self.steps / self._total)))
        with self._session.autocast():
            with torch.no_grad():
                latents = world_model.rssm.observe(
                    world_model.embed(batch.state), batch.previous_action
                )
            world_model.reward.requires_grad_(True)
            predicted = world_model.reward(latents.features).float().squeeze(-1)
            reward_loss = 0.5 * (predicted - batch.reward).square().mean()
        self._apply({"reward": reward_loss})
        world_model.reward.requires_grad_(False)
        belief = None
        if embedding is not None:
            assert self._student is not None
            belief = self._student.rssm, self._believe(batch, embedding)
        metrics = self._learn_behaviour(latents, belief)
        self.steps += 1
        return metrics | {"world_model/reward": reward_loss.detach()}

    @torch.no_grad()
    def _believe(self, batch: Batch, embedding: Tensor) -> LatentSequence:
        """The student's latent states, modes as where it is deployed."""
        assert self._student is not None
        rssm = self._student.rssm
        no_noise = embedding.new_zeros(*embedding.shape[:2], rssm.groups, rssm.classes)
        with self._session.autocast():
            return rssm.observe(embedding, batch.previous_action, no_noise)
