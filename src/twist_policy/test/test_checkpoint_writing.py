"""A checkpoint is written whole or not at all, and never over anything else."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from twist_policy import checkpoint as checkpoint_module
from twist_policy.checkpoint import CheckpointError, load_checkpoint, update_records
from twist_policy.contract import PolicyContract
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint


def no_leftovers(parent: Path) -> bool:
    return not [path for path in parent.iterdir() if path.name.startswith(".")]


def fill_disk(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    write = checkpoint_module._write_durably

    def fail(path: Path, content: bytes) -> None:
        if path.name == at:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    monkeypatch.setattr(checkpoint_module, "_write_durably", fail)


@pytest.mark.parametrize("at", ["student.ts", "golden.npz", "manifest.json"])
def test_a_full_disk_leaves_the_previous_checkpoint_intact(
    folder: Path, contract: PolicyContract, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    identity = load_checkpoint(folder).identity
    fill_disk(monkeypatch, at)
    with pytest.raises(CheckpointError, match=r"No space left.*unchanged.*free space"):
        write_synthetic_checkpoint(folder, contract, behaviour="hold")
    assert load_checkpoint(folder).identity == identity
    assert no_leftovers(folder.parent)


def test_a_full_disk_leaves_no_half_checkpoint(
    tmp_path: Path, contract: PolicyContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, "manifest.json")
    with pytest.raises(CheckpointError, match="No space left"):
        write_synthetic_checkpoint(tmp_path / "model", contract)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_not_left_for_ever(
    tmp_path: Path, contract: PolicyContract
) -> None:
    killed = tmp_path / ".model.partial"
    killed.mkdir()
    (killed / "student.ts").write_bytes(b"half")
    write_synthetic_checkpoint(tmp_path / "model", contract)
    assert no_leftovers(tmp_path)
    load_checkpoint(tmp_path / "model")


def test_an_interrupt_leaves_the_previous_checkpoint_intact(
    folder: Path, contract: PolicyContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = load_checkpoint(folder).identity

    def interrupt(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "_write_durably", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic_checkpoint(folder, contract, behaviour="hold")
    assert load_checkpoint(folder).identity == identity
    assert no_leftovers(folder.parent)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
def test_a_failed_last_rename_puts_the_previous_checkpoint_back(
    folder: Path,
    contract: PolicyContract,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    identity = load_checkpoint(folder).identity
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if Path(target) == folder and ".previous" not in str(source):
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises((CheckpointError, KeyboardInterrupt)):
        write_synthetic_checkpoint(folder, contract, behaviour="hold")
    assert load_checkpoint(folder).identity == identity


def test_a_killed_write_says_where_the_previous_checkpoint_is(folder: Path) -> None:
    folder.rename(folder.with_name(".model.previous"))
    with pytest.raises(CheckpointError, match=r"\.model\.previous; rename it back"):
        load_checkpoint(folder)


def test_a_checkpoint_is_replaced_and_pictures_beside_it_stay(
    folder: Path, contract: PolicyContract
) -> None:
    (folder / "curve.png").write_bytes(b"picture")
    (folder / "extra").mkdir()
    (folder / "extra" / "log.txt").write_text("log")
    write_synthetic_checkpoint(folder, contract, behaviour="hold")
    assert load_checkpoint(folder).training == {"synthetic": "hold"}
    assert (folder / "curve.png").read_bytes() == b"picture"
    assert (folder / "extra" / "log.txt").read_text() == "log"
    assert no_leftovers(folder.parent)


def test_a_folder_of_something_else_is_not_overwritten(
    tmp_path: Path, contract: PolicyContract
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"no checkpoint, and will not be overwritten"):
        write_synthetic_checkpoint(tmp_path, contract)
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "a browser extension"}))
    with pytest.raises(CheckpointError, match="will not be overwritten"):
        write_synthetic_checkpoint(tmp_path, contract)
    with pytest.raises(CheckpointError, match="is a file"):
        write_synthetic_checkpoint(tmp_path / "thesis.txt", contract)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_and_missing_parents_are_fine(
    tmp_path: Path, contract: PolicyContract
) -> None:
    (tmp_path / "empty").mkdir()
    write_synthetic_checkpoint(tmp_path / "empty", contract)
    write_synthetic_checkpoint(tmp_path / "a" / "b" / "c", contract)
    assert load_checkpoint(tmp_path / "empty").contract == contract
    assert load_checkpoint(tmp_path / "a" / "b" / "c").contract == contract


def test_numbers_measured_later_are_added_without_touching_the_modules(folder: Path) -> None:
    before = load_checkpoint(folder)
    modules = {name: (folder / name).read_bytes() for name in ("student.ts", "golden.npz")}
    update_records(folder, measured={"graph_success": 18}, model_card="# New card\n")
    after = load_checkpoint(folder)
    assert after.measured == {"graph_success": 18}
    assert after.training == before.training
    assert after.identity != before.identity
    assert (folder / "MODEL_CARD.md").read_text() == "# New card\n"
    assert {name: (folder / name).read_bytes() for name in modules} == modules


def test_numbers_that_are_not_json_are_refused(folder: Path) -> None:
    identity = load_checkpoint(folder).identity
    for bad in ({"success": float("nan")}, {"success": object()}):
        with pytest.raises(CheckpointError, match="plain JSON data with finite numbers"):
            update_records(folder, measured=bad)
    assert load_checkpoint(folder).identity == identity


def test_an_unknown_synthetic_behaviour_is_refused(
    tmp_path: Path, contract: PolicyContract
) -> None:
    with pytest.raises(ValueError, match=r"choose one of hold, forward, .*grip"):
        write_synthetic_checkpoint(tmp_path / "m", contract, behaviour="dance")  # type: ignore[arg-type]


def test_a_checkpoint_with_a_gripper_is_written_and_read(
    tmp_path: Path, gripper_contract: PolicyContract
) -> None:
    write_synthetic_checkpoint(tmp_path / "m", gripper_contract, behaviour="grip", grip_every=2)
    checkpoint = load_checkpoint(tmp_path / "m")
    assert checkpoint.contract == gripper_contract
    with np.load(tmp_path / "m" / "golden.npz") as golden:
        assert golden["previous_action"][0].tolist() == [0.0, 0.0, 0.0, -1.0]
        assert set(golden["previous_action"][:, 3]) == {-1.0, 1.0}
        assert golden["action"][:6, 3].tolist() == [-1.0, 1.0, 1.0, -1.0, -1.0, 1.0]


def test_nothing_grips_without_a_gripper(tmp_path: Path, contract: PolicyContract) -> None:
    with pytest.raises(ValueError, match="no gripper"):
        write_synthetic_checkpoint(tmp_path / "m", contract, behaviour="grip")
