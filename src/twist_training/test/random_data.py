"""Batches and episodes of random numbers, of the shapes that a session trains on."""

from __future__ import annotations

import numpy as np

from twist_training.algorithms.world_model import Batch
from twist_training.session import Session
from twist_training.storage.episodes import Episodes
from twist_training.storage.images import ImageEpisodes


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Small numbers, float32."""
    return generator.normal(size=shape).astype(np.float32) / 10


def random_batch(session: Session, generator: np.random.Generator) -> Batch:
    """A batch for the teacher, on the session's device."""
    sizes, contract = session.config.teacher, session.contract
    shape = (sizes.batch, sizes.length)
    arrays = (contract.state_size,), (contract.action_size,), ()
    return Batch(*(session.tensor(normal(generator, *shape, *size)) for size in arrays))


def random_episodes(
    session: Session, generator: np.random.Generator, count: int = 4
) -> ImageEpisodes:
    """Episodes with pictures, as long as distillation needs them."""
    instants, edge = session.config.distillation.length + 1, session.contract.image.size
    action = normal(generator, count, instants, session.contract.action_size)
    episodes = Episodes(
        state=normal(generator, count, instants, session.contract.state_size),
        previous_action=action,
        requested_action=action,
        reward=normal(generator, count, instants),
        sim_state=normal(generator, count, instants, 1),
        success=np.zeros(count, bool),
    )
    data = ImageEpisodes(session.contract.state_slice("ee_position"))
    pixels = generator.integers(0, 256, (count, instants, 1, edge, edge, 3), dtype=np.uint8)
    data.add(episodes, pixels)
    return data
