"""One writer for a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from twist_training.atomic_files import DiskError
from twist_training.local_processes import is_first_process
from twist_training.run_identity import RunError

LOCK = "run.lock"
"""In a folder that is written to: locked by the process whose number is in it."""

_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system answers that has no locks: there, people have to take care themselves."""


@contextlib.contextmanager
def locked(folder: Path, argument: str = "output") -> Iterator[None]:
    """Makes this run the only one that writes to `folder`, which is made when missing.

    The first of the run's processes has the lock. It is the kernel's: it ends with the process,
    however that ends, and leaves nothing that would have to be removed.

    Args:
        folder: the folder.
        argument: of the command line, that names it.

    Raises:
        RunError: another process has it; its number is named.
        DiskError: the folder is not writable or the disk is full.
    """
    if not is_first_process():
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(folder / LOCK, "a+", encoding="utf-8"))
            _lock(file, folder, argument)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        except OSError as error:
            raise DiskError(
                f"cannot write to {folder}: {error.strerror or error}; free space or choose "
                f"another folder with {argument}=..."
            ) from error
        yield


def _lock(file: IO[str], folder: Path, argument: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise RunError(
            f"process {file.read().strip() or '(unknown)'} is writing to {folder}: wait until it "
            f"ends, end it, or choose another folder with {argument}=..."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
