"""What windows the teacher's training draws from its replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twist_sim.task_card import load_task_card
from twist_training.configuration import parse_arguments
from twist_training.rollout import make_environments, run_episodes
from twist_training.run_identity import RunError
from twist_training.runners import collect, teacher
from twist_training.runners.teacher_episodes import seed_replay
from twist_training.session import Session
from twist_training.storage.episodes import (
    MOVED,
    EpisodeFileError,
    Episodes,
    Replay,
    object_moved,
)
from twist_training.teacher_policy import RandomPolicy

CONTRACT = load_task_card("block_push").contract(True)


def _episodes(moved: list[float], first: int = 0) -> Episodes:
    """Episodes of 10 steps whose object goes so far and comes back; the tip tells their number."""
    count = len(moved)
    state = np.zeros((count, 11, CONTRACT.state_size), np.float32)
    state[:, :, 0] = first + np.arange(count)[:, None]
    state[:, 5, 3] = moved
    nothing = np.zeros((count, 11, 3), np.float32)
    return Episodes(
        state=state,
        previous_action=nothing,
        requested_action=nothing + 1.0,
        reward=nothing[..., 0],
        sim_state=nothing,
        success=np.zeros(count, bool),
    )


def _drawn(replay: Replay) -> np.ndarray:
    state, _, _ = replay.sample(4000, 4, np.random.default_rng(0))
    return state[:, 0, 0]


def test_so_many_windows_come_from_episodes_in_which_the_object_was_moved() -> None:
    replay = Replay(CONTRACT, moving=0.6)
    replay.add(_episodes([0.0] * 60 + [2 * MOVED]))
    replay.add(_episodes([0.5 * MOVED] * 38 + [-2 * MOVED], first=61))
    share = np.isin(_drawn(replay), (60, 99)).mean()
    # Of the other 40 %, 2 in 100 are such episodes, too.
    assert share == pytest.approx(0.6 + 0.4 * 0.02, abs=0.03)


@pytest.mark.parametrize(
    ("replay", "moved"),
    [(Replay(), 1.0), (Replay(CONTRACT, moving=0.0), 1.0), (Replay(CONTRACT, moving=0.9), 0.0)],
    ids=["not asked for", "share 0", "nothing was ever moved"],
)
def test_otherwise_all_episodes_are_drawn_alike(replay: Replay, moved: float) -> None:
    replay.add(_episodes([0.0] * 9 + [moved]))
    counts = np.bincount(_drawn(replay).astype(int), minlength=10)
    assert counts.min() > 300
    assert counts.max() < 500


@pytest.mark.parametrize("hindsight", [0.0, 1.0])
def test_so_many_random_episodes_are_kept_as_move_the_object(
    tmp_path: Path, hindsight: float
) -> None:
    session = _session(tmp_path, f"teacher.hindsight={hindsight}")
    replay = Replay()
    environments = make_environments(session.card, 8, session.config.teacher.episode_steps)
    seed_replay(session, replay, environments, np.random.default_rng(0))
    random, lucky = replay.episodes.first(8), replay.episodes.chosen(range(8, len(replay)))
    assert not object_moved(random, session.contract).all()
    assert object_moved(lucky, session.contract).all()
    if hindsight:
        assert len(lucky) > 3
    else:
        assert len(lucky) == 3


def test_the_replay_before_the_last_is_read_where_the_last_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = _session(tmp_path)
    episodes = run_episodes(
        make_environments(session.card, 2, 3),
        RandomPolicy(session, np.random.default_rng(0)),
        seed=1,
        trials=np.arange(2),
        steps=3,
    )
    path = tmp_path / teacher.REPLAY
    for _ in range(2):
        episodes.save(path, previous=tmp_path / teacher.REPLAY_BEFORE)
    path.write_bytes(path.read_bytes()[:-30])
    shape = (2, 4, 1, 64, 64, 3)
    monkeypatch.setattr(collect, "render_training_images", lambda *_, **__: np.zeros(shape, "u1"))
    assert collect.render_episodes(session, episodes).frames == 2 * 2 * 4
    assert "teacher_replay.npz" in (said := capsys.readouterr().err)
    assert "continuing from" in said
    (tmp_path / teacher.REPLAY_BEFORE).unlink()
    with pytest.raises(EpisodeFileError, match=r"cannot read.*previous\.npz are missing"):
        collect.render_episodes(session, episodes)


def test_a_task_in_which_random_actions_never_move_the_object_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(tmp_path)
    monkeypatch.setattr(
        "twist_training.runners.teacher_episodes.object_moved",
        lambda episodes, _: np.zeros(8, bool),
    )
    monkeypatch.setattr("twist_training.runners.teacher_episodes._MOST_TRIES", 4)
    environments = make_environments(session.card, 8, session.config.teacher.episode_steps)
    with pytest.raises(RunError, match=r"teacher\.lucky_episodes=3; give the task card practice"):
        seed_replay(session, Replay(), environments, np.random.default_rng(0))


def _session(folder: Path, *arguments: str) -> Session:
    settings = {
        "scripted_episodes": 0,
        "random_episodes": 8,
        "lucky_episodes": 3,
        "episode_steps": 25,
    }
    chosen = [f"teacher.{name}={value}" for name, value in settings.items()]
    return Session(parse_arguments(["preset=smoke", *chosen, *arguments]), folder)
