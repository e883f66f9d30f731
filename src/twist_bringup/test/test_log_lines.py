"""What reaches the terminal, and what the files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from twist_bringup.log_lines import LogLines
from twist_bringup.stack import Process

NODE = Process(name="node", package="p", executable="node")
TRIALS = Process(name="trial_runner", package="p", executable="t", progress=True)


def shown(folder: Path, lines: list[tuple[Process, str]], *, verbose: bool = False) -> list[str]:
    terminal = io.StringIO()
    log = LogLines([NODE, TRIALS], folder, verbose=verbose, terminal=terminal)
    for process, line in lines:
        log.line(process, line)
    log.close()
    return terminal.getvalue().splitlines()


def test_only_news_reach_the_terminal_and_everything_the_files(tmp_path: Path) -> None:
    lines = [
        (NODE, "[INFO] [1.0] [node]: quiet"),
        (NODE, "libEGL chatter"),
        (NODE, "[WARN] [1.0] [node]: look"),
        (NODE, "  and more of it"),
        (NODE, "[INFO] [1.1] [node]: quiet again"),
        (TRIALS, "[INFO] [1.2] [trial_runner]: trial 1 of 5"),
        (TRIALS, "success"),
        (NODE, "Traceback (most recent call last):"),
        (NODE, "ValueError: x"),
    ]
    assert shown(tmp_path, lines) == [
        "node         | WARN: look",
        "node         |   and more of it",
        "trial_runner | trial 1 of 5",
        "trial_runner | success",
        "node         | Traceback (most recent call last):",
        "node         | ValueError: x",
    ]
    kept = (tmp_path / "node.log").read_text().splitlines()
    assert kept == [line for process, line in lines if process is NODE]


def test_verbose_shows_every_line_with_its_process(tmp_path: Path) -> None:
    lines = [(NODE, "[INFO] [1.0] [node]: quiet"), (TRIALS, "plain")]
    assert shown(tmp_path, lines, verbose=True) == [
        "node         | [INFO] [1.0] [node]: quiet",
        "trial_runner | plain",
    ]


def test_no_colour_codes_reach_a_pipe_and_a_terminal_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    LogLines([NODE], tmp_path, terminal=terminal).line(NODE, "[WARN] [1.0] [node]: x")
    assert "\033[" in terminal.getvalue()
    assert "\033[" not in "".join(shown(tmp_path, [(NODE, "[WARN] [1.0] [node]: x")]))


def test_a_terminal_that_went_away_does_not_end_the_run(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = LogLines([NODE], tmp_path, terminal=Gone())
    log.line(NODE, "[WARN] [1.0] [node]: first")
    log.line(NODE, "[WARN] [1.0] [node]: second")
    assert len((tmp_path / "node.log").read_text().splitlines()) == 2


def test_a_character_that_the_terminal_lacks_does_not_end_the_run(tmp_path: Path) -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    log = LogLines([NODE], tmp_path, terminal=latin)
    log.line(NODE, "[WARN] [1.0] [node]: \u0151 \ufffd")
    log.line(NODE, "[WARN] [1.0] [node]: second")
    latin.seek(0)
    assert latin.read().splitlines() == ["node | WARN: ? ?", "node | WARN: second"]


def test_a_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    terminal = io.StringIO()
    log = LogLines([NODE], tmp_path, terminal=terminal)
    log._files["node"] = Full()
    log.line(NODE, "[WARN] [1.0] [node]: first")
    log.line(NODE, "[WARN] [1.0] [node]: second")
    text = terminal.getvalue()
    assert "No space left" in text
    assert "second" in text


def test_the_last_lines_of_a_dead_process_are_those_not_shown(tmp_path: Path) -> None:
    log = LogLines([NODE], tmp_path, terminal=io.StringIO())
    log.line(NODE, "quiet")
    log.line(NODE, "[ERROR] [1.0] [node]: shown")
    assert log.last_lines("node") == ["quiet"]
