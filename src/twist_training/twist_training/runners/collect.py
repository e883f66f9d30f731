"""Stages 2 and 3: episodes of the frozen teacher, and their domain-randomised images."""

from __future__ import annotations

from twist_training.runners.teacher import load_replay
from twist_training.runners.teacher_episodes import teacher_episodes
from twist_training.session import Session
from twist_training.storage.episodes import EpisodeFileError, Episodes
from twist_training.storage.images import ImageEpisodes, render_training_images
from twist_training.teacher_policy import RandomPolicy, Teacher, TeacherPolicy

EPISODES = "collected.npz"


def collect_episodes(session: Session, teacher: Teacher) -> Episodes:
    """Episodes of the teacher with smooth action noise, and some of random actions.

    Written to ``collected.npz``; read from there when it exists.

    Raises:
        EpisodeFileError: that file is damaged.
    """
    path = session.folder / EPISODES
    if path.exists():
        try:
            return Episodes.load(path)
        except EpisodeFileError as error:
            raise EpisodeFileError(f"{error}; delete the file to collect again") from error
    config = session.config.collection
    generator = session.seed("collect")
    random = round(config.episodes * config.random_fraction)
    seed = session.layout_seed("collect")
    parts = [
        teacher_episodes(
            session,
            TeacherPolicy(
                teacher, session, explore=True, noise=config.action_noise, generator=generator
            ),
            seed=seed,
            episodes=config.episodes - random,
            steps=config.episode_steps,
            practice=config.practice,
            description="collect: noisy teacher",
        )
    ]
    if random:
        parts.append(
            teacher_episodes(
                session,
                RandomPolicy(session, generator),
                seed=seed,
                episodes=random,
                steps=config.episode_steps,
                first=config.episodes,
                practice=config.practice,
                description="collect: random actions",
            )
        )
    episodes = Episodes.concatenate(parts)
    episodes.save(path)
    return episodes


def render_episodes(session: Session, collected: Episodes) -> ImageEpisodes:
    """Images of the collected episodes and of the teacher's own replay (the paper's D)."""
    data = ImageEpisodes(session.contract.state_slice("ee_position"))
    config = session.config.collection
    parts = {"replay": load_replay(session), "collected": collected}
    for number, (name, episodes) in enumerate(parts.items()):
        images = render_training_images(
            episodes,
            session.folder / f"images_{name}.npy",
            task=session.config.task,
            looks=config.looks,
            image_size=session.contract.image.size,
            workers=config.workers,
            seed=session.config.seed * 10 + number,
            textures=session.config.textures,
            description=f"render: {name}",
        )
        data.add(episodes, images)
    return data
