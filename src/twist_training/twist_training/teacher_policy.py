"""Who acts on privileged state: the teacher, and the scripted behaviour that starts its replay."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from twist_sim.scripted import scripted_behaviour
from twist_training.algorithms.actor_critic import ActorCritic
from twist_training.algorithms.world_model import TeacherWorldModel
from twist_training.modules.distributions import gumbel_like
from twist_training.rollout import Float, Observation
from twist_training.session import Session


class Teacher(nn.Module):
    """World model and behaviour, trained together."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        config = session.config.teacher
        self.world_model = TeacherWorldModel(config, session.contract)
        self.behaviour = ActorCritic(config, session.contract.action_size)


class SmoothNoise:
    """Temporally smooth noise of about unit variance: a first-order autoregressive process.

    Args:
        generator: source of the noise.
        shape: of a draw.
        kept: share of the last draw in the next one.
        fresh: share of new Gaussian noise.
    """

    def __init__(
        self, generator: np.random.Generator, shape: tuple[int, int], kept: float, fresh: float
    ) -> None:
        self._generator, self._kept, self._fresh = generator, kept, fresh
        self._last = np.zeros(shape)

    def draw(self) -> NDArray[np.float64]:
        """The next values."""
        fresh = self._generator.normal(size=self._last.shape)
        self._last = self._kept * self._last + self._fresh * fresh
        return self._last


class TeacherPolicy:
    """The teacher acting on privileged state, for N environments at once.

    Args:
        teacher: world model and actor.
        session: device and precision.
        explore: sample actions and latents; False takes their modes.
        noise: for each episode, a standard deviation drawn from [0, noise] of temporally smooth
            noise (an Ornstein-Uhlenbeck process) added to the actions.
    """

    def __init__(
        self,
        teacher: Teacher,
        session: Session,
        *,
        explore: bool,
        noise: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> None:
        self._teacher, self._session = teacher, session
        self._explore, self._noise = explore, noise
        self._generator = generator or np.random.default_rng(0)

    def reset(self, trials: NDArray[np.int64]) -> None:
        """Forgets the past of all N environments."""
        self._h, self._z = self._teacher.world_model.rssm.initial(len(trials))
        count = len(trials)
        self._sigma = self._generator.uniform(0.0, self._noise, size=(count, 1))
        shape = (count, self._session.contract.action_size)
        self._disturbance = SmoothNoise(self._generator, shape, 0.8, 0.6)

    @torch.no_grad()
    def act(self, observation: Observation) -> Float:
        """Actions in [-1, 1], (N, A)."""
        tensor = self._session.tensor
        world_model = self._teacher.world_model
        embedding = world_model.embed(tensor(observation.state))
        groups = (len(observation.state), world_model.rssm.groups, world_model.rssm.classes)
        noise = gumbel_like(embedding.new_empty(groups)) if self._explore else None
        self._h, self._z = world_model.rssm.observe_step(
            embedding, tensor(observation.executed_action), self._h, self._z, noise
        )
        distribution = self._teacher.behaviour.actor(torch.cat([self._h, self._z], -1))
        action = distribution.rsample() if self._explore else distribution.mode
        result: Float = action.cpu().numpy()
        if self._noise > 0.0:
            result = np.clip(result + self._sigma * self._disturbance.draw(), -1.0, 1.0)
        return result.astype(np.float32)


class RandomPolicy:
    """Temporally smooth random actions; knows nothing.

    Args:
        session: the task.
        generator: source of the actions.
    """

    def __init__(self, session: Session, generator: np.random.Generator) -> None:
        self._session, self._generator = session, generator

    def reset(self, trials: NDArray[np.int64]) -> None:
        """Starts N episodes."""
        shape = (len(trials), self._session.contract.action_size)
        self._noise = SmoothNoise(self._generator, shape, 0.8, 0.6)

    def act(self, observation: Observation) -> Float:
        """Actions in [-1, 1], (N, A)."""
        return np.clip(self._noise.draw(), -1.0, 1.0).astype(np.float32)


class ScriptedPolicy:
    """Noisy scripted behaviour.

    Args:
        session: the task.
        noise: each episode draws its standard deviation from [0.2, 1] times this.
        generator: source of the noise.

    Raises:
        TaskCardError: nothing is scripted for the task.
    """

    def __init__(self, session: Session, noise: float, generator: np.random.Generator) -> None:
        self._behaviour = scripted_behaviour(session.card)
        self._session, self._noise, self._generator = session, noise, generator

    def reset(self, trials: NDArray[np.int64]) -> None:
        """Draws each episode's share of noise."""
        shape = (len(trials), self._session.contract.action_size)
        self._disturbance = SmoothNoise(self._generator, shape, 0.7, 0.7)
        self._sigma = self._noise * self._generator.uniform(0.2, 1.0, size=(len(trials), 1))

    def act(self, observation: Observation) -> Float:
        """Actions in [-1, 1], (N, A)."""
        action = np.stack([self._behaviour.act(state) for state in observation.state])
        noisy = action + self._sigma * self._disturbance.draw()
        return np.clip(noisy, -1.0, 1.0).astype(np.float32)
