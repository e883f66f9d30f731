"""Each row of docs/safety.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKSPACE = Path(__file__).resolve().parents[3]
TABLE = WORKSPACE / "docs" / "safety.md"


def _rows() -> list[str]:
    """The rows of the tables of failures; other tables are left out."""
    rows, of_failures = [], False
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            of_failures = False
        elif line.startswith("| failure"):
            of_failures = True
        elif of_failures and not line.startswith("|---"):
            rows.append(line)
    return rows


ROWS = _rows()

START = {"configure", "activate"}
"""Refusals of a transition, which say everything themselves."""


def test_the_table_has_rows() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_failure_names_tests_that_exist(row: str) -> None:
    references = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
    assert references
    for path, name in references:
        source = (WORKSPACE / "src" / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{path} has no {name}"


def test_every_code_of_a_stop_is_explained() -> None:
    package = WORKSPACE / "src" / "twist_policy_node"
    explained = (package / "README.md").read_text(encoding="utf-8")
    codes = {
        code
        for path in (package / "twist_policy_node").glob("*.py")
        for code in re.findall(r'Fault\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert len(codes) > 20
    assert not {code for code in codes if f"`{code}`" not in explained and code not in START}
