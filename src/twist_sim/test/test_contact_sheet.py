from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from twist_sim.contact_sheet import main


def test_it_writes_one_picture_with_every_look(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    arguments = ["block_push", "--split", "held_out", "--rows", "2", "--columns", "3"]
    assert main([*arguments, "--zoom", "2", "--out", str(out)]) == 0
    sheet = cv2.imread(str(out))
    assert sheet is not None
    assert sheet.shape == (2 * 64 * 2, 3 * 64 * 2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_task"], "unknown task 'no_such_task'"),
        (["block_push", "--textures-folder", "/does/not/exist"], "is not a folder"),
    ],
)
def test_bad_input_ends_with_a_message_and_status_1(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "sheet.png")]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unwritable_target_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "missing" / "sheet.png"
    arguments = ["block_push", "--rows", "1", "--columns", "1", "--out", str(out)]
    assert main(arguments) == 1
    assert "cannot write" in capsys.readouterr().err
