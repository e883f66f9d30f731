"""Progress bars do not fill log files, and one process speaks for all."""

from __future__ import annotations

import io
import time

import pytest

from twist_training.progress import ProgressBar


def test_a_log_file_gets_a_line_now_and_then() -> None:
    file = io.StringIO()  # pytest's stderr is no terminal
    for _ in ProgressBar(range(30), "work", file=file):
        time.sleep(0.02)  # tqdm's own interval is a tenth of a second
    assert 1 <= file.getvalue().count("work:") <= 3


def test_of_several_processes_the_first_one_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, silent in (("0", False), ("1", True)):
        monkeypatch.setenv("RANK", rank)
        file = io.StringIO()
        assert list(ProgressBar(range(3), file=file)) == [0, 1, 2]
        assert (not file.getvalue()) == silent


def test_without_a_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)  # as after 2>&-
    assert list(ProgressBar(range(3))) == [0, 1, 2]
