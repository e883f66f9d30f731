"""Domain-randomised images of stored simulator states, on disk, and sampling from them."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twist_sim.appearance import AppearanceSampler
from twist_sim.rendering import SceneRenderer
from twist_sim.task_card import load_task_card
from twist_sim.textures import Split
from twist_training.atomic_files import DiskError, write_atomically
from twist_training.progress import ProgressBar
from twist_training.storage.episodes import Episodes, Float, sample_windows
from twist_training.worker_pool import run_in_processes

_CHUNK = 16
"""Episodes per job."""


@dataclass(frozen=True)
class _RenderJob:
    task: str
    textures: str
    seed: int
    path: Path
    states: Float
    first: int


def render_training_images(
    episodes: Episodes,
    path: Path,
    *,
    task: str,
    looks: int,
    image_size: int,
    workers: int,
    seed: int,
    textures: str,
    description: str = "render",
) -> NDArray[np.uint8]:
    """Renders every state of `episodes` in `looks` appearances; each frame has its own.

    The camera's pose is drawn once per episode and look, since a camera stands still; paint,
    light and sensor effects are drawn for every frame.

    Continues where an interrupted call stopped; images that are damaged, or of other states than
    these, are rendered again.
    Returns the images, memory-mapped read-only, (N, T + 1, looks, W, W, 3).

    Raises:
        DiskError: the disk is full.
    """
    shape = (len(episodes), episodes.steps + 1, looks, image_size, image_size, 3)
    log = progress_of(path)
    states = hashlib.sha256(episodes.sim_state.tobytes()).hexdigest()
    done = _chunks_done(path, shape, states)
    try:
        if not done:
            for old in (log, path):  # not written to: they may be links to another run's
                old.unlink(missing_ok=True)
            np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            # Claims the room now: a full disk under a memory map is a bus error later.
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        jobs = [
            _RenderJob(
                task, textures, seed, path, episodes.sim_state[first : first + _CHUNK], first
            )
            for first in range(0, len(episodes), _CHUNK)
            if first not in done
        ]
        if not jobs:
            return np.lib.format.open_memmap(path, "r")
        per_episode = (episodes.steps + 1) * looks
        missing = sum(len(job.states) for job in jobs)
        with ProgressBar(
            total=len(episodes) * per_episode,
            initial=(len(episodes) - missing) * per_episode,
            desc=description,
            unit="frame",
        ) as bar:
            for first, count in _in_processes(jobs, workers):
                done.add(first)
                with write_atomically(log) as file:
                    file.write(json.dumps({"states": states, "rendered": sorted(done)}).encode())
                bar.update(count)
    except OSError as error:
        raise DiskError(
            f"cannot write the images to {path}: {error.strerror or error}; they need "
            f"{np.prod(shape) / 1e9:.1f} GB; free space and run the same command again"
        ) from error
    return np.lib.format.open_memmap(path, "r")


def progress_of(path: Path) -> Path:
    """The file that says which episodes of the images in `path` are rendered."""
    return path.with_suffix(".progress.json")


def is_rendered(path: Path) -> bool:
    """Whether `render_training_images` has come to its end with the images in `path`."""
    try:
        count = len(np.load(path, mmap_mode="r"))
        done = json.loads(progress_of(path).read_text())["rendered"]
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return False
    return set(range(0, count, _CHUNK)) <= set(done)


def _chunks_done(path: Path, shape: tuple[int, ...], states: str) -> set[int]:
    """First episodes of the chunks of `path` that are rendered; none where it is damaged.

    None either where it shows other `states`: an image beside the wrong state teaches nonsense, and
    nothing else would tell.
    """
    try:
        done = json.loads(progress_of(path).read_text())
        if np.load(path, mmap_mode="r").shape == shape and done["states"] == states:
            return set(done["rendered"])
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        print(f"{path} is damaged ({error!r}); it is rendered again", file=sys.stderr)
        return set()
    print(f"{path} shows other episodes; it is rendered again", file=sys.stderr)
    return set()


def _in_processes(jobs: list[_RenderJob], workers: int) -> Iterator[tuple[int, int]]:
    if workers <= 1 or len(jobs) == 1:
        for job in jobs:
            yield _render(job)
        return
    yield from run_in_processes(_render, jobs, workers)


@functools.cache
def shared_renderer(task: str, split: Split, textures: str) -> SceneRenderer:
    """This process's renderer; made once, since all textures are uploaded then."""
    renderer = SceneRenderer(load_task_card(task), make_sampler(task, split, 0, textures))
    atexit.register(renderer.close)  # GL has to be let go before the interpreter ends
    return renderer


def make_sampler(task: str, split: Split, seed: int, textures: str) -> AppearanceSampler:
    """Draws looks of `split`; the user's `textures` folder ('' for none) is for training only."""
    return AppearanceSampler(
        load_task_card(task),
        split=split,
        seed=seed,
        textures_folder=Path(textures) if textures and split == "train" else None,
    )


def _render(job: _RenderJob) -> tuple[int, int]:
    renderer = shared_renderer(job.task, "train", job.textures)
    # Seeded by the chunk, so that the images do not depend on the number of workers.
    sequence = np.random.SeedSequence([job.seed, job.first])
    generator = np.random.default_rng(sequence)
    sampler = make_sampler(job.task, "train", int(sequence.generate_state(1)[0]), job.textures)
    images = np.lib.format.open_memmap(job.path, "r+")
    looks = images.shape[2]
    for row, states in enumerate(job.states, start=job.first):
        for look in range(looks):
            for column, appearance in enumerate(sampler.draw_sequence(len(states))):
                images[row, column, look] = renderer.render_training_image(
                    states[column], appearance, generator
                )
    return job.first, job.states.shape[0] * job.states.shape[1] * looks


class ImageEpisodes:
    """Episodes with their images, in parts, and uniform sampling over all of them."""

    def __init__(self, ee_slice: slice) -> None:
        self._ee_slice = ee_slice
        self._parts: list[tuple[Episodes, NDArray[np.uint8]]] = []

    def add(self, episodes: Episodes, images: NDArray[np.uint8]) -> None:
        """Adds a part: images are (N, T + 1, looks, W, W, 3)."""
        if images.shape[:2] != episodes.state.shape[:2]:
            raise ValueError(
                f"images of {images.shape[:2]} (episodes, instants) do not belong to episodes of "
                f"{episodes.state.shape[:2]}"
            )
        self._parts.append((episodes, images))

    @property
    def frames(self) -> int:
        """How many images there are in all."""
        return sum(int(np.prod(images.shape[:3])) for _, images in self._parts)

    def sequences(
        self, batch: int, length: int, generator: np.random.Generator
    ) -> tuple[Float, Float, NDArray[np.uint8], Float]:
        """Windows of (state, previous action, image, end-effector position).

        A window shows one of its episode's looks: paint and light change at every step, the
        camera's pose does not. Shapes: (B, L, S), (B, L, A), (B, L, W, W, 3), (B, L, 3).
        """
        sizes = np.array([len(episodes) for episodes, _ in self._parts])
        counts = generator.multinomial(batch, sizes / sizes.sum())
        pieces: list[list[NDArray[np.generic]]] = [[], [], []]
        for (episodes, images), count in zip(self._parts, counts, strict=True):
            if count == 0:
                continue
            rows, columns = sample_windows(
                len(episodes), episodes.steps + 1, int(count), length, generator
            )
            looks = generator.integers(images.shape[2], size=rows.shape)
            pieces[0].append(episodes.state[rows, columns])
            pieces[1].append(episodes.previous_action[rows, columns])
            pieces[2].append(images[rows, columns, looks])
        state, action, image = (np.concatenate(piece) for piece in pieces)
        return state, action, image, state[..., self._ee_slice]  # type: ignore[return-value]

    def frames_at_random(
        self, batch: int, generator: np.random.Generator
    ) -> tuple[Float, NDArray[np.uint8], Float]:
        """Independent frames: (state (N, S), image (N, W, W, 3), position (N, 3))."""
        state, _, image, position = self.sequences(batch, 1, generator)
        return state[:, 0], image[:, 0], position[:, 0]
