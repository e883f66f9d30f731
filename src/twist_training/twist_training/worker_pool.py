"""Processes for rendering and for episodes with pictures."""

from __future__ import annotations

import concurrent.futures
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def run_in_processes(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[Result]:
    """Yields ``function(job)`` for every job, in the order of the jobs.

    Processes are spawned, not forked: a GL context does not survive a fork. They leave Ctrl-C to
    the parent, which then drops the jobs that have not begun, and are killed when it is.

    Args:
        function: importable by the processes.
        jobs: picklable.
        workers: how many processes.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_serve, initargs=(os.getpid(),)
    ) as pool:
        try:
            yield from pool.map(function, jobs)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _serve(parent: int) -> None:
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, also by ``kill -9``.

    Otherwise it would go on working, beside the one that the same command starts next.

    Args:
        parent: the parent's process number; if it has ended by now, so does this process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
