"""A run folder is continued with the settings and the task card that it was started with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from twist_sim.task_card import TASK_PATH, load_task_card
from twist_training.cli import main
from twist_training.configuration import parse_arguments
from twist_training.run_identity import CARD, SETTINGS, RunError, card_differences
from twist_training.session import Session

CONFIG = parse_arguments(["preset=smoke", "task=push_too"])


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Replaces text in a card of one's own, `push_too`, which begins as block push."""
    card = tmp_path / "cards" / "push_too.yaml"
    card.parent.mkdir()
    shutil.copyfile(load_task_card("block_push").source, card)
    monkeypatch.setenv(TASK_PATH, str(card.parent))

    def replace(old: str, new: str) -> None:
        text = card.read_text()
        assert old in text
        card.write_text(text.replace(old, new, 1))

    replace("task: block_push", "task: push_too")
    return replace


def test_a_run_refuses_another_card_and_says_what_is_other(
    edit: Callable[[str, str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    Session(CONFIG, run)
    edit("# Units:", "# The units are:")  # comments are no part of a card
    Session(CONFIG, run)
    edit("camera_translation: 0.025", "camera_translation: 0.05")
    expected = r"another card of push_too \(randomisation.camera_translation was 0.025, now 0.05\)"
    with pytest.raises(RunError, match=expected):
        Session(CONFIG, run)
    assert main(["teacher", "preset=smoke", "task=push_too", f"output={run}"]) == 1
    assert "choose another folder with output=" in capsys.readouterr().err
    Session(CONFIG, tmp_path / "another run")


def test_a_run_that_does_not_know_its_card_takes_the_present_one(
    edit: Callable[[str, str], None], tmp_path: Path
) -> None:
    Session(CONFIG, tmp_path)
    (tmp_path / CARD).unlink()  # of a version that kept none
    edit("camera_translation: 0.025", "camera_translation: 0.05")
    Session(CONFIG, tmp_path)
    assert not card_differences(load_task_card("push_too"), tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"\xff"])
@pytest.mark.parametrize("name", [CARD, SETTINGS])
def test_a_damaged_card_or_settings_of_a_run_are_named(
    edit: Callable[[str, str], None], tmp_path: Path, name: str, content: bytes
) -> None:
    Session(CONFIG, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name} is damaged"):
        Session(CONFIG, tmp_path)
