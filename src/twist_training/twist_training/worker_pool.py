"""Processes for rendering and for episodes with pictures."""

from __future__ import annotations

import concurrent.futures
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from twist_training.run_identity import RunError

Job = TypeVar("Job")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def run_in_processes(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[Result]:
    """Yields ``function(job)`` for every job, in the order of the jobs.

    Processes are spawned, not forked: a GL context does not survive a fork. They leave Ctrl-C to
    the parent, and are killed when it is interrupted or killed: what a job leaves behind counts
    only once it is done.

    Args:
        function: importable by the processes.
        jobs: picklable.
        workers: how many processes.

    Raises:
        RunError: one of them ended before its time.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_serve, initargs=(os.getpid(),)
    ) as pool:
        try:
            yield from pool.map(function, jobs)
        except BaseException as error:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise RunError(
                    "a process that rendered or ran episodes ended before its time (out of "
                    "memory?); the same command continues with what is missing, and needs less "
                    "memory with fewer workers"
                ) from error
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
