"""Episodes in memory: what the world models are trained on, without pictures.

Pictures are rendered later from the stored simulator states, in any number of appearances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twist_policy.contract import PolicyContract
from twist_sim.tasks import TaskRules
from twist_training.atomic_files import write_atomically

Float = NDArray[np.float32]


class EpisodeFileError(RuntimeError):
    """A file of episodes cannot be read."""


@dataclass(frozen=True)
class Episodes:
    """N episodes of T steps each; index t = 0 is the state after the reset.

    Attributes:
        state: privileged state, SI units, (N, T + 1, S).
        previous_action: executed action before each state, [-1, 1]; zeros at t = 0,
            (N, T + 1, A).
        requested_action: what the policy asked for instead, its norm bounded, before leash and
            workspace cut it; zeros at t = 0, (N, T + 1, A).
        reward: reward of arriving at each state; zero at t = 0, (N, T + 1).
        sim_state: compact simulator state, enough to render, (N, T + 1, K).
        success: whether the task's rule held at the last step, (N,).
    """

    state: Float
    previous_action: Float
    requested_action: Float
    reward: Float
    sim_state: Float
    success: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.state)

    @property
    def steps(self) -> int:
        """T, the number of actions in an episode."""
        return self.state.shape[1] - 1

    def save(self, path: Path, previous: Path | None = None) -> None:
        """Writes the episodes to an ``.npz`` file, atomically; keeps the old file as `previous`."""
        with write_atomically(path, previous) as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__annotations__})

    @classmethod
    def load(cls, path: Path) -> Episodes:
        """Reads what `save` wrote.

        Raises:
            EpisodeFileError: the file is missing, cut short or not a file of episodes.
        """
        try:
            with np.load(path) as data:
                return cls(**{name: data[name] for name in cls.__annotations__})
        except FileNotFoundError as error:
            raise EpisodeFileError(f"the episodes in {path} are missing") from error
        except Exception as error:
            raise EpisodeFileError(f"cannot read the episodes in {path}: {error}") from error

    def first(self, count: int) -> Episodes:
        """The first `count` episodes."""
        return self._rows(slice(count))

    def chosen(self, numbers: Sequence[int]) -> Episodes:
        """Copies of the episodes with these numbers, in their order."""
        return self._rows(list(numbers))

    def _rows(self, rows: slice | list[int]) -> Episodes:
        return Episodes(**{name: getattr(self, name)[rows] for name in self.__annotations__})

    @classmethod
    def concatenate(cls, parts: list[Episodes]) -> Episodes:
        """Joins episodes of equal length."""
        return cls(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in cls.__annotations__
            }
        )


def judged_again(episodes: Episodes, rules: TaskRules) -> Episodes:
    """The episodes with the rewards that `rules` give now."""
    reward = np.zeros_like(episodes.reward)
    for row, states in zip(reward, episodes.state, strict=True):
        row[1:] = [rules.reward(state) for state in states[1:]]
    return dataclasses.replace(episodes, reward=reward)


MOVED = 0.03
"""How far the object has to be moved for an episode to count as one that moves it, metres."""


def object_moved(episodes: Episodes, contract: PolicyContract) -> NDArray[np.bool_]:
    """Which of the episodes move the object, (N,)."""
    position = episodes.state[:, :, contract.state_slice("object_position")]
    farthest = np.linalg.norm(position - position[:, :1], axis=-1).max(axis=1)
    return np.asarray(farthest > MOVED)


class Replay:
    """A growing set of equally long episodes, of which windows are drawn.

    Args:
        contract: says where the object's position lies in the privileged state.
        moving: share of the windows that come from episodes in which the object was moved; the
            rest come from all episodes alike. 0, or no such episode: all alike.
    """

    def __init__(self, contract: PolicyContract | None = None, moving: float = 0.0) -> None:
        self._parts: list[Episodes] = []
        self._joined: Episodes | None = None
        self._contract, self._share = contract, moving if contract else 0.0
        self._moving: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def add(self, episodes: Episodes) -> None:
        """Appends episodes."""
        if self._contract is not None:
            moved = object_moved(episodes, self._contract)
            self._moving.append(len(self) + np.flatnonzero(moved))
        self._parts.append(episodes)
        self._joined = None

    def judged_again(self, rules: TaskRules) -> Replay:
        """The same episodes with the rewards that `rules` give."""
        replay = Replay(self._contract, self._share)
        replay.add(judged_again(self.episodes, rules))
        return replay

    @property
    def episodes(self) -> Episodes:
        """All episodes as one block."""
        if self._joined is None:
            self._joined = Episodes.concatenate(self._parts)
            self._parts = [self._joined]
        return self._joined

    def sample(
        self, batch: int, length: int, generator: np.random.Generator
    ) -> tuple[Float, Float, Float]:
        """Windows of (state, previous action, reward): (B, L, S), (B, L, A), (B, L).

        In half of the windows the action is the requested one. The world moves alike under both,
        and imagination knows only requests: a model that never saw the difference is exploited
        by the actor wherever leash and workspace cut actions short.
        """
        episodes = self.episodes
        rows, columns = sample_windows(len(episodes), episodes.steps + 1, batch, length, generator)
        if self._share > 0.0 and len(moving := np.concatenate(self._moving)):
            chosen = generator.random((batch, 1)) < self._share
            rows = np.where(chosen, generator.choice(moving, (batch, 1)), rows)
        requested = generator.random(batch) < 0.5
        action = np.where(
            requested[:, None, None],
            episodes.requested_action[rows, columns],
            episodes.previous_action[rows, columns],
        )
        return episodes.state[rows, columns], action, episodes.reward[rows, columns]


def sample_windows(
    episodes: int, instants: int, batch: int, length: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index arrays (B, 1) and (B, L) of uniformly drawn windows.

    Raises:
        ValueError: a window is longer than an episode.
    """
    if length > instants:
        raise ValueError(f"windows of {length} do not fit into episodes of {instants} instants")
    rows = generator.integers(episodes, size=(batch, 1))
    starts = generator.integers(instants - length + 1, size=(batch, 1))
    return rows, starts + np.arange(length)
