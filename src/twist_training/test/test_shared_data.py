"""What one run takes from another is whole, and checked as it was there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from twist_training import atomic_files
from twist_training.atomic_files import DiskError
from twist_training.configuration import parse_arguments
from twist_training.run_identity import CARD, RunError
from twist_training.session import Session
from twist_training.shared_data import _FILES, link_files, take_data_from
from twist_training.storage.images import progress_of

CONFIG = parse_arguments(["preset=smoke"])
DONE = json.dumps({"states": "", "rendered": [0, 16]})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A run with images of 20 episodes: two chunks."""
    folder = tmp_path / "source"
    session = Session(CONFIG, folder)
    session.save("teacher.pt", {"finished": True})
    for name in _FILES[1:]:
        (folder / name).write_bytes(b"content")
    for name in ("images_replay.npy", "images_collected.npy"):
        np.save(folder / name, np.ones((20, 1), np.uint8))
        progress_of(folder / name).write_text(DONE)
    return folder


def _elsewhere(*_: object) -> None:
    raise OSError("Invalid cross-device link")


@pytest.mark.parametrize("progress", ['{"rendered": [0]}', "{", "[0, 16]", None])
def test_images_that_are_not_rendered_to_their_end_are_refused(
    progress: str | None, source: Path, tmp_path: Path
) -> None:
    log = progress_of(source / "images_collected.npy")
    log.unlink() if progress is None else log.write_text(progress)
    with pytest.raises(RunError, match=r"images_collected\.npy.*not rendered to its end"):
        take_data_from(source, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_copy_that_is_cut_short_leaves_nothing_that_looks_whole(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object, copy: object) -> None:
        copy.write(b"beginning")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", _elsewhere)
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(DiskError, match="No space left"):
            take_data_from(source, CONFIG, run)
        assert not list(run.iterdir())
        patch.undo()
        patch.setattr(os, "link", _elsewhere)
        take_data_from(source, CONFIG, run)
    assert (run / "collected.npz").read_bytes() == b"content"
    assert progress_of(run / "images_replay.npy").read_text() == DONE
    assert (run / "images_replay.npy").stat().st_nlink == 1


def test_a_beginning_of_images_is_replaced_by_those_that_are_taken(
    source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    np.save(run / "images_replay.npy", np.zeros((20, 1), np.uint8))
    take_data_from(source, CONFIG, run)
    assert np.load(run / "images_replay.npy").min() == 1


def test_pictures_of_another_card_are_refused_and_of_other_rewards_taken(
    source: Path, tmp_path: Path
) -> None:
    card = json.loads((source / CARD).read_text())
    card["rule_parameters"]["press_weight"] = card["refinement"]["press_weight"] = 99.0
    (source / CARD).write_text(json.dumps(card))
    take_data_from(source, CONFIG, tmp_path / "run")
    card["randomisation"]["camera_translation"] = 0.5
    (source / CARD).write_text(json.dumps(card))
    with pytest.raises(RunError, match=r"randomisation\.camera_translation was 0\.5, now"):
        take_data_from(source, CONFIG, tmp_path / "another run")


@pytest.mark.parametrize("old", [False, True], ids=["with checksums", "of an older version"])
def test_a_checkpoint_that_was_taken_outlives_a_kill_while_the_next_is_written(
    old: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = atomic_files.write_atomically

    def killed_at_the_file(path: Path, previous: Path | None = None) -> object:
        if path.name == "teacher.pt":
            raise SystemExit
        return plain(path, previous)

    session = Session(CONFIG, tmp_path / "run")
    if old:
        (source / "teacher.pt.sha256").unlink()
    link_files(source, session.folder, ["teacher.pt"])
    assert (session.folder / "teacher.pt.sha256").exists() is not old
    monkeypatch.setattr(atomic_files, "write_atomically", killed_at_the_file)
    with pytest.raises(SystemExit):  # its checksum is written by now
        session.save("teacher.pt", {"finished": False})
    assert session.load("teacher.pt") == {"finished": True}
