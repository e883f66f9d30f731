"""A table of results that survives being killed: one JSON line per row, written as it is known."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twist_training.atomic_files import DiskError

Row = dict[str, Any]


class ResultTableError(RuntimeError):
    """The table belongs to other work, or is damaged."""


class ResultTable:
    """Rows with a key each; what is in the table already need not be computed again.

    The first line says what the rows are about. A table about something else is refused, so that
    results of two policies never mix. A last line that a kill cut short is dropped.

    Args:
        path: a ``.jsonl`` file; made when missing.
        about: plain data that every row depends on, e.g. a checkpoint's identity.
        key: names of the fields that tell rows apart.

    Raises:
        ResultTableError: the file is about something else, or not a table.
        DiskError: it cannot be written.
    """

    def __init__(self, path: Path, *, about: Row, key: Sequence[str]) -> None:
        self._path, self._key = path, tuple(key)
        self._about: Row = json.loads(json.dumps(about))
        self.rows: list[Row] = []
        self._seen: set[tuple[Any, ...]] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._read() if path.exists() else 0
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as this
            self._file.truncate(whole)
        except OSError as error:
            raise self._disk_error(error) from error
        if not whole:
            self._write({"about": self._about})

    def _read(self) -> int:
        """Reads the whole lines and returns how many bytes they have."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines()):
            try:
                row = json.loads(line)
                if number == 0:
                    self._check(row["about"])
                else:
                    self._take(row)
            except (ValueError, KeyError, TypeError) as error:
                raise ResultTableError(
                    f"{self._path}, line {number + 1}, is not a result ({error!r}); mend or delete "
                    "the line, or choose another file with out=..."
                ) from error
        return whole

    def _check(self, theirs: Row) -> None:
        if theirs == self._about:
            return
        different = sorted(
            name
            for name in theirs.keys() | self._about.keys()
            if theirs.get(name) != self._about.get(name)
        )
        raise ResultTableError(
            f"{self._path} holds results of other work: "
            + "; ".join(
                f"{name} was {theirs.get(name)!r}, now {self._about.get(name)!r}"
                for name in different
            )
            + "; choose another folder with out=..."
        )

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """What tells this row apart."""
        return tuple(row[name] for name in self._key)

    def __contains__(self, row: Row) -> bool:
        return self.key_of(row) in self._seen

    def add(self, row: Row) -> None:
        """Appends a row and makes sure that it is on the disk.

        Raises:
            DiskError: the disk is full; the rows before are whole.
        """
        self._take(json.loads(json.dumps(row)))
        self._write(row)

    def _take(self, row: Row) -> None:
        if row in self:  # two processes at once, before there was a lock
            return
        self._seen.add(self.key_of(row))
        self.rows.append(row)

    def _write(self, row: Row) -> None:
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._disk_error(error) from error

    def _disk_error(self, error: OSError) -> DiskError:
        return DiskError(
            f"cannot write {self._path}: {error.strerror or error}; free space or choose another "
            "folder with out=..., then run the same command again: the rows so far are kept"
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> ResultTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
