"""Files that are either whole or absent, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

CHECKSUMS = ".sha256"
"""Added to a file's name, that of the file with the checksums of its generations."""
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


class DiskError(RuntimeError):
    """A file could not be written; what was there before is untouched."""


@contextlib.contextmanager
def write_atomically(path: Path, previous: Path | None = None) -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` (binary) and renames it into place at the end.

    Args:
        path: the file to write.
        previous: where the file that is replaced is kept; None drops it.

    Raises:
        DiskError: the disk is full or the folder is not writable. A previous file stays.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
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


def write_two_generations(path: Path, content: bytes) -> None:
    """Writes `content`, keeps what `path` held as ``<name>.previous``, and notes the checksums.

    The checksums, in ``<name>.sha256``, are those of every generation that may be found after a
    kill at any moment; they are written before the file.

    Raises:
        DiskError: the disk is full or the folder is not writable. Both generations stay.
    """
    # Of what is there, not of what was noted last: a disk that is full again and again takes the
    # checksums every time, and the file never.
    kept = [_checksum(found) for _, found in read_generations(path) if found is not None]
    with write_atomically(path.with_name(path.name + CHECKSUMS)) as file:
        file.write("\n".join([*kept, _checksum(content)]).encode() + b"\n")
    with write_atomically(path, previous=_previous(path)) as file:
        file.write(content)


def read_generations(path: Path) -> Iterator[tuple[Path, bytes | None]]:
    """The newest generation of `path`, then the one before it, of those that exist.

    The content is None when it is not what was once written.
    """
    ledger = path.with_name(path.name + CHECKSUMS)
    # A ledger without a single checksum, as of a disk that lost it, says nothing.
    known = _SHA256.findall(ledger.read_bytes().decode(errors="replace")) if ledger.exists() else []
    for generation in (path, _previous(path)):
        if generation.exists():
            content = generation.read_bytes()
            damaged = known and _checksum(content) not in known
            yield generation, None if damaged else content


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
