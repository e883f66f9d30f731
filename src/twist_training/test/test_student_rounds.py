"""The student's own episodes: truly off, or never lost without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twist_training.configuration import parse_arguments
from twist_training.runners import distil
from twist_training.session import Session
from twist_training.storage.episodes import Episodes
from twist_training.storage.images import ImageEpisodes
from twist_training.teacher_policy import Teacher

SETTINGS = [
    "preset=smoke",
    "precision=float32",
    "threads=1",
    "processes=1",
    "distillation.length=10",
    "distillation.steps=6",
    "distillation.warmup_steps=0",
    "distillation.student_rounds=2",
    "distillation.student_episodes=3",
]
"""Rounds after two and four steps."""


class Interrupted(BaseException):
    """A run that ends at this moment."""


def _episodes(session: Session, count: int) -> tuple[Episodes, np.ndarray]:
    generator, contract = np.random.default_rng(0), session.contract

    def normal(size: int) -> np.ndarray:
        return generator.normal(size=(count, 12, size)).astype(np.float32) / 10

    action, edge = normal(contract.action_size), contract.image.size
    episodes = Episodes(
        state=normal(contract.state_size),
        previous_action=action,
        requested_action=action,
        reward=normal(1)[..., 0],
        sim_state=normal(1),
        success=np.zeros(count, bool),
    )
    return episodes, generator.integers(0, 256, (count, 12, 1, edge, edge, 3), dtype=np.uint8)


class _Run:
    """Distils in a folder; notes the rounds in which the student acted."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch, self.rounds = folder, patch, list[int]()

    def __call__(self, *more: str, stopped_at: int = 0) -> int:
        """Runs, or goes on; returns the number of pictures that were there in the end."""
        names = [argument.partition("=")[0] for argument in more]
        others = [item for item in SETTINGS if item.partition("=")[0] not in names]
        session = Session(parse_arguments([*others, *more]), self.folder)
        session.seed("test")
        data = ImageEpisodes(session.contract.state_slice("ee_position"))
        data.add(*_episodes(session, 4))

        def act(*_: object, seed: int, episodes: int, **__: object) -> object:
            self.rounds.append((seed - session.layout_seed("student")) // 10_000)
            return _episodes(session, episodes)

        def step(trainer: distil.DistillationTrainer, *arguments: object) -> object:
            if stopped_at and trainer.steps == stopped_at:
                raise Interrupted
            return plain(trainer, *arguments)  # type: ignore[arg-type]

        plain = distil.DistillationTrainer.distil
        with self._patch.context() as patch:
            patch.setattr(distil, "run_student_in_processes", act)
            patch.setattr(distil, "_evaluate", lambda *_: 0.0)
            patch.setattr(distil.DistillationTrainer, "distil", step)
            distil.distil_student(session, Teacher(session), data)
        return data.frames


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Run:
    return _Run(tmp_path, monkeypatch)


WHOLE = (4 + 3 + 3) * 12


@pytest.mark.parametrize("name", ["student_episodes", "student_rounds"])
def test_a_student_whose_own_episodes_are_switched_off_never_acts(name: str, run: _Run) -> None:
    assert run(f"distillation.{name}=0") == 4 * 12
    assert run.rounds == []


@pytest.mark.parametrize("lost", ["student_0.npz", "images_student_0.npy"])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_lost_round_is_repeated_when_a_run_goes_on_and_when_it_has_ended(
    lost: str, how: str, run: _Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose() -> None:
        path = run.folder / lost
        path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(Interrupted):
        run(stopped_at=3)
    assert run.rounds == [0]
    lose()
    assert run() == WHOLE
    assert run.rounds == [0, 0, 1]
    assert "round 0 is repeated by the student as it is now" in capsys.readouterr().err
    lose()
    assert run() == WHOLE
    assert run.rounds == [0, 0, 1, 0]
    assert run() == WHOLE
    assert run.rounds == [0, 0, 1, 0], "repeated once"


def test_the_last_round_is_missed_too(run: _Run) -> None:
    run()
    for path in run.folder.glob("*student_1.np*"):
        path.unlink()
    assert run() == WHOLE
    assert run.rounds == [0, 1, 1]


def test_pictures_never_lie_beside_the_episodes_of_others(
    run: _Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    (run.folder / "images_student_0.npy").unlink()

    def killed(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Episodes, "save", killed)
        with pytest.raises(Interrupted):
            run()
    assert (run.folder / "images_student_0.npy").exists()
    assert not (run.folder / "student_0.npz").exists(), "so that the round is repeated"


def test_a_rounds_number_is_that_of_its_file_also_where_one_is_missing(tmp_path: Path) -> None:
    for name in ("student_1.npz", "images_student_2.npy"):
        (tmp_path / name).touch()
    names = [path.name for path in distil.student_rounds(tmp_path)]
    assert names == ["student_0.npz", "student_1.npz", "student_2.npz"]
    assert len(distil.student_rounds(tmp_path, at_least=5)) == 5
