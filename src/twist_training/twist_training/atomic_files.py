"""Files that are either whole or absent, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class DiskError(RuntimeError):
    """A file could not be written; what was there before is untouched."""


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` (binary) and renames it into place at the end.

    Raises:
        DiskError: the disk is full or the folder is not writable. A previous file stays.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DiskError(
            f"cannot write {path}: {error.strerror or error}; the previous file, if any, is "
            "unchanged; free space or choose another run folder, then run the same command again"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
