"""Stages that are killed continue where they were; files are whole, or the ones before them are."""

from __future__ import annotations

import dataclasses
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from twist_training.atomic_files import DiskError
from twist_training.configuration import TrainingConfig, parse_arguments
from twist_training.run_identity import RunError
from twist_training.runners import distil
from twist_training.runners.collect import collect_episodes
from twist_training.runners.teacher import train_teacher
from twist_training.session import Session
from twist_training.stage_clock import StageClock
from twist_training.storage import images as image_storage
from twist_training.storage.episodes import Episodes
from twist_training.storage.images import ImageEpisodes
from twist_training.teacher_policy import Teacher

ARGUMENTS = [
    "preset=smoke",
    "precision=float32",
    "threads=1",
    "teacher.environment_steps=200",
    "teacher.episode_steps=25",
    "teacher.scripted_episodes=0",
    "teacher.random_episodes=2",
    "teacher.lucky_episodes=2",
    "teacher.pretrain_steps=2",
    "teacher.environments=2",
    "teacher.batch=4",
    "teacher.length=10",
    "teacher.imagination_starts=8",
    "teacher.evaluate_every=1",
    "teacher.evaluation_episodes=2",
    "teacher.target_success=1.1",
    "collection.episodes=4",
    "collection.environments=4",
    "distillation.length=10",
    "distillation.steps=6",
    "distillation.warmup_steps=6",
    "distillation.student_rounds=0",
]


def _config() -> TrainingConfig:
    return parse_arguments(ARGUMENTS)


class Killed(BaseException):
    """What a kill looks like from inside: nothing runs after it."""


def _student(folder: Path) -> torch.nn.Module:
    """Distils on random images; checkpoints every second step, evaluates nothing."""
    session = Session(_config(), folder)
    generator = np.random.default_rng(0)
    instants, contract, count = 12, session.contract, 4

    def normal(size: int) -> NDArray[np.float32]:
        return generator.normal(size=(count, instants, size)).astype(np.float32) / 10

    episodes = Episodes(
        state=normal(contract.state_size),
        previous_action=normal(contract.action_size),
        requested_action=normal(contract.action_size),
        reward=normal(1)[..., 0],
        sim_state=normal(1),
        success=np.zeros(count, bool),
    )
    edge = contract.image.size
    data = ImageEpisodes(contract.state_slice("ee_position"))
    data.add(
        episodes, generator.integers(0, 256, (count, instants, 1, edge, edge, 3), dtype=np.uint8)
    )
    torch.manual_seed(0)
    distil._SAVE_EVERY = 2
    distil._evaluate = lambda *_: 0.0  # type: ignore[assignment]
    return distil.distil_student(session, Teacher(session), data)


def _assert_same(left: torch.nn.Module, right: torch.nn.Module) -> None:
    for name, value in left.state_dict().items():
        torch.testing.assert_close(right.state_dict()[name], value, rtol=0, atol=0, msg=name)


_KILL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_nothing_lost as here
from twist_training.runners.distil import DistillationTrainer as Trainer
steps = {{"left": {steps}}}
for name in ("warm_up", "distil"):
    def step(self, *args, plain=getattr(Trainer, name)):
        if steps["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps["left"] -= 1
        return plain(self, *args)
    setattr(Trainer, name, step)
here._student(Path({folder!r}))
"""


@pytest.mark.timeout(400)
def test_a_student_killed_in_warm_up_and_in_distillation_ends_like_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_SAVE_EVERY", "_evaluate"):
        monkeypatch.setattr(distil, name, getattr(distil, name))  # put back afterwards
    whole = _student(tmp_path / "whole")
    folder = tmp_path / "parts"
    for steps in (5, 6):  # one step after a checkpoint, each: 5 of warm-up; then 4 to 10
        script = _KILL.format(tests=str(Path(__file__).parent), steps=steps, folder=str(folder))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    saved = torch.load(folder / "student.pt", weights_only=False)
    assert (saved["warmup_steps"], saved["steps"], saved["finished"]) == (6, 4, False)
    _assert_same(whole, _student(folder))


@pytest.mark.timeout(400)
def test_a_teacher_whose_last_files_are_damaged_continues_from_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train_teacher(Session(_config(), tmp_path / "whole"))
    saves = 0
    plain = Session.save

    def save(self: Session, name: str, data: dict[str, object]) -> None:
        nonlocal saves
        plain(self, name, data)
        saves += 1
        if saves == 2:
            raise Killed

    monkeypatch.setattr(Session, "save", save)
    with pytest.raises(Killed):
        train_teacher(Session(_config(), tmp_path / "parts"))
    monkeypatch.undo()
    for name in ("teacher.pt", "teacher_replay.npz"):
        path = tmp_path / "parts" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    resumed = train_teacher(Session(_config(), tmp_path / "parts"))
    assert "continuing from" in capsys.readouterr().err
    _assert_same(whole, resumed)


def test_collecting_again_after_a_kill_gives_the_same_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(_config(), tmp_path)
    torch.manual_seed(0)
    teacher = Teacher(session)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed)
        with pytest.raises(Killed):
            collect_episodes(session, teacher)
    assert not list(tmp_path.glob("collected*"))
    first = collect_episodes(session, teacher)
    (tmp_path / "collected.npz").unlink()
    again = collect_episodes(session, teacher)
    np.testing.assert_array_equal(first.state, again.state)


def test_rendering_continues_with_the_episodes_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def filled(job: image_storage._RenderJob) -> tuple[int, int]:
        if killed_at == job.first:
            raise Killed
        calls.append(job.first)
        images = np.lib.format.open_memmap(job.path, "r+")
        images[job.first : job.first + len(job.states)] = job.first + 1
        return job.first, len(job.states) * job.states.shape[1]

    monkeypatch.setattr(image_storage, "_render", filled)
    states = np.zeros((40, 2, 4), np.float32)
    episodes = Episodes(states, states, states, states[..., 0], states, np.zeros(40, bool))
    settings = {"task": "block_push", "looks": 1, "image_size": 4, "workers": 1, "seed": 0}
    calls: list[int] = []
    killed_at = 32
    with pytest.raises(Killed):
        image_storage.render_training_images(
            episodes, tmp_path / "images.npy", textures="", **settings
        )
    assert calls == [0, 16]
    killed_at = -1
    images = image_storage.render_training_images(
        episodes, tmp_path / "images.npy", textures="", **settings
    )
    assert calls == [0, 16, 32]
    assert [int(images[row].min()) for row in (0, 15, 16, 39)] == [1, 1, 17, 33]


@contextmanager
def _full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_named_and_both_checkpoints_stay(tmp_path: Path) -> None:
    session = Session(_config(), tmp_path)
    for steps in (1, 2):
        session.save("student.pt", {"steps": steps, "weights": torch.zeros(5000)})
    for steps in (3, 4, 5):  # the same command again and again, as the message says
        with _full_disk(10_000), pytest.raises(DiskError, match=r"student\.pt.*free space"):
            session.save("student.pt", {"steps": steps, "weights": torch.zeros(5000)})
        assert [saved["steps"] for saved in session.checkpoints("student.pt")] == [2, 1]
    assert not list(tmp_path.glob("*.partial"))


def test_the_time_of_a_stage_is_kept_while_it_runs_and_added_to(tmp_path: Path) -> None:
    timed = """
import sys, time
from pathlib import Path
from twist_training.stage_clock import StageClock
with StageClock(Path(sys.argv[1]), period=0.01).measure("teacher"):
    time.sleep(100)
"""
    before = 0.0
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", timed, str(tmp_path)]) as process:
            while (now := StageClock(tmp_path).seconds.get("teacher", 0.0)) < before + 0.1:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        before = now
    with StageClock(tmp_path).measure("collect"):
        pass
    seconds = StageClock(tmp_path).seconds
    assert list(seconds) == ["teacher", "collect"]
    assert 0.2 <= before <= seconds["teacher"] < 20.0


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"distil": "x"}', b"\xff\xfe"])
def test_times_that_cannot_be_read_do_not_stop_a_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "timing.json").write_bytes(content)
    with StageClock(tmp_path).measure("distil"):
        pass
    assert list(StageClock(tmp_path).seconds) == ["distil"]


def test_what_ended_a_stage_is_told_though_its_time_cannot_be_saved(tmp_path: Path) -> None:
    def interrupted() -> None:
        with StageClock(folder).measure("distil"):
            folder.rmdir()
            raise KeyboardInterrupt

    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_flipped_bit_is_found_by_its_checksum_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(_config(), tmp_path)
    for steps in (1, 2):
        session.save("student.pt", {"steps": steps, "weights": torch.zeros(5000)})
    path = tmp_path / "student.pt"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1  # within the weights: torch alone would not notice
    path.write_bytes(content)
    saved = session.load("student.pt")
    assert saved is not None
    assert saved["steps"] == 1
    assert "student.pt is damaged (its checksum" in capsys.readouterr().err
    (tmp_path / "student.pt.previous").write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"student\.pt is damaged.*previous is damaged"):
        session.load("student.pt")


def test_a_kill_between_the_two_renames_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    session = Session(_config(), tmp_path)
    session.save("student.pt", {"steps": 1})
    (tmp_path / "student.pt").rename(tmp_path / "student.pt.previous")
    saved = session.load("student.pt")
    assert saved is not None
    assert saved["steps"] == 1


def test_machine_settings_given_on_resume_take_effect_and_others_are_refused(
    tmp_path: Path,
) -> None:
    Session(_config(), tmp_path)
    faster = dataclasses.replace(_config(), fused=False)
    assert not Session(faster, tmp_path).config.fused
    with pytest.raises(RunError, match=r"teacher\.batch was 4, now 8"):
        Session(
            parse_arguments(
                [*(a.replace("teacher.batch=4", "teacher.batch=8") for a in ARGUMENTS)]
            ),
            tmp_path,
        )
