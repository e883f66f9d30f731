"""The table of results: it survives a kill, and never mixes two pieces of work."""

from __future__ import annotations

from pathlib import Path

import pytest

from twist_training.storage.result_table import ResultTable, ResultTableError

ABOUT = {"checkpoint": "a"}


def test_rows_are_there_again_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    with ResultTable(path, about=ABOUT, key=("level", "trial")) as table:
        table.add({"level": "low", "trial": 0, "success": True})
        table.add({"level": "low", "trial": 1, "success": False})
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])  # the last line was being written
    with ResultTable(path, about=ABOUT, key=("level", "trial")) as table:
        assert {"level": "low", "trial": 0} in table
        assert {"level": "low", "trial": 1} not in table
        table.add({"level": "low", "trial": 1, "success": False})
    assert path.read_bytes() == whole


def test_a_table_of_other_work_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    ResultTable(path, about=ABOUT, key=("trial",)).close()
    with pytest.raises(ResultTableError, match="checkpoint was 'a', now 'b'"):
        ResultTable(path, about={"checkpoint": "b"}, key=("trial",))
    assert path.read_text().count("\n") == 1


@pytest.mark.parametrize("line", ["not json", '{"other": 1}', "[1]"])
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    ResultTable(path, about=ABOUT, key=("trial",)).close()
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ResultTableError, match="line 2"):
        ResultTable(path, about=ABOUT, key=("trial",))


def test_a_row_that_two_processes_wrote_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    for _ in range(2):
        with ResultTable(path, about=ABOUT, key=("trial",)) as table:
            table._seen.clear()  # as if opened at the same time
            table.add({"trial": 0, "success": True})
    assert path.read_text().count('"trial": 0') == 2
    with ResultTable(path, about=ABOUT, key=("trial",)) as table:
        assert table.rows == [{"trial": 0, "success": True}]
