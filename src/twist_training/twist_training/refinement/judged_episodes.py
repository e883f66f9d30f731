"""Episodes of a run as other rules judge them, with what the student makes of their pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twist_sim.tasks import TaskRules
from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import Batch
from twist_training.progress import ProgressBar
from twist_training.run_identity import RunError
from twist_training.runners.teacher_episodes import draw_batch
from twist_training.session import Session
from twist_training.storage.episodes import Episodes, Replay, judged_again, sample_windows


class JudgedEpisodes:
    """Episodes of a run with the rewards of other rules.

    Args:
        session: task and sizes.
        rules: the new judge.
        paths: files of equally long episodes.
        student: embeds the pictures that lie beside them; None leaves pictures alone.
    """

    def __init__(
        self, session: Session, rules: TaskRules, paths: list[Path], student: Student | None
    ) -> None:
        parts = [judged_again(Episodes.load(path), rules) for path in paths]
        self._session, self._replay = session, Replay()
        for part in parts:
            self._replay.add(part)
        self._embedding: NDArray[np.float32] | None = None
        if student is not None:
            self._embedding = np.concatenate(
                [
                    _embedded(session, student, part, path)
                    for part, path in zip(parts, paths, strict=True)
                ]
            )

    def sample(self, generator: np.random.Generator) -> tuple[Batch, Tensor | None]:
        """A batch of windows, and the student's embedding of their pictures, (B, L, E).

        Both are this process's rows.
        """
        session, config = self._session, self._session.config.teacher
        if self._embedding is None:
            return draw_batch(session, self._replay, generator), None
        episodes = self._replay.episodes
        rows, columns = sample_windows(
            len(episodes), episodes.steps + 1, config.batch, config.length, generator
        )
        rows, columns = session.processes.rows(rows), session.processes.rows(columns)
        # The student's pictures are of what was executed, never of what was asked for.
        arrays = (episodes.state, episodes.previous_action, episodes.reward)
        batch = Batch(*(session.tensor(array[rows, columns]) for array in arrays))
        return batch, session.tensor(self._embedding[rows, columns])


@torch.no_grad()
def _embedded(
    session: Session, student: Student, episodes: Episodes, path: Path
) -> NDArray[np.float32]:
    """The student's embedding of every picture of `episodes`' first look, (N, T + 1, E)."""
    pictures_path = path.with_name(f"images_{path.stem}.npy")
    try:
        images = np.load(pictures_path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise RunError(
            f"cannot read the pictures in {pictures_path} ({error}); belief=student needs the "
            "pictures of the run: refine a run that still has them"
        ) from error
    position = episodes.state[..., session.contract.state_slice("ee_position")]
    shares = np.array_split(np.arange(len(position)), session.processes.count)
    rows = []
    for episode in ProgressBar(
        shares[session.processes.rank], f"embed {path.stem}", unit="episode"
    ):
        with session.autocast():
            embedding = student.embed(
                session.tensor(images[episode, :, 0].copy()), session.tensor(position[episode])
            )
        rows.append(embedding.float())
    joined = session.processes.joined(torch.stack(rows), [len(share) for share in shares])
    return joined.cpu().numpy()
