"""A file that keeps room on the disk for its own ending."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class RawFile(Protocol):
    """The part of an unbuffered binary file that is needed here."""

    def write(self, data: memoryview, /) -> int | None:
        """Writes at least one byte of `data`, says how many."""

    def close(self) -> None:
        """Closes the file."""


def open_new(path: Path) -> RawFile:
    """Creates `path` for unbuffered writing, locked until it is closed or its process has ended."""
    file = io.FileIO(path, "x")
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def is_being_written(path: Path) -> bool:
    """Whether a living process has `path` open from `open_new`, as far as locks tell."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


class ReservedFile:
    """Appends to a file; when the disk is full, gives up a reserve and goes on.

    The reserve is a second file of real blocks. What is written after it was given up (the index
    of a bag, its metadata) therefore still fits, and the file ends properly although the disk is
    full. `full` says that the owner must come to an end now.

    Args:
        path: file to create.
        reserve_bytes: size of the reserve; 0 for none.
        opener: how `path` is created.

    Raises:
        OSError: the file or its reserve cannot be created.
    """

    def __init__(
        self, path: Path, reserve_bytes: int, opener: Callable[[Path], RawFile] = open_new
    ) -> None:
        self.full = False
        self._reserve = path.with_name(f".{path.name}.reserve")
        self._offset = 0
        self._torn = False
        self._file = opener(path)
        try:
            self._make_reserve(reserve_bytes)
        except OSError:
            self.release_reserve()
            self._file.close()
            path.unlink(missing_ok=True)
            raise

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Writes all of `data`.

        Raises:
            OSError: it does not fit, even without the reserve, or the device failed. The file's
                last record is torn then, and nothing more is written after it.
        """
        if self._torn:
            raise OSError(errno.EIO, "an earlier write failed")
        view = memoryview(data).cast("B")
        while len(view):
            try:
                written = self._file.write(view) or 0
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or self.full:
                    self._torn = True
                    raise
                self.full = True
                self.release_reserve()
                continue
            self._offset += written
            view = view[written:]
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._offset

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """Gives up the reserve and closes the file."""
        self.release_reserve()
        self._file.close()

    def release_reserve(self) -> None:
        """Gives the reserve's room to whatever has to be written beside the file."""
        self._reserve.unlink(missing_ok=True)

    def _make_reserve(self, size: int) -> None:
        if size <= 0:
            return
        descriptor = os.open(self._reserve, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
