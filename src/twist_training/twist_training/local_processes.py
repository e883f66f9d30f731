"""Data-parallel training on one machine without ``torchrun``: the other processes of a run.

The process that a person started is the first one: it keeps the terminal, its signals and its exit
code. The others run the same command, say nothing and are ended with it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

import torch
from torch import distributed

from twist_training.configuration import TrainingConfig
from twist_training.parallel import STARTED, leaving
from twist_training.run_identity import RunError
from twist_training.worker_pool import end_with_parent

_FIRST = "TWIST_FIRST_PROCESS"
"""Environment variable of the processes that are started here: the number of the first one."""
_LOOPBACK = "127.0.0.1"
_LAST_WORDS = 2000
"""How much of what an ended process said is shown, characters."""


def process_count(config: TrainingConfig) -> int:
    """How many processes this command has to start and be one of; 1 under ``torchrun``.

    Never more than there are processors for, and GPUs with ``device=cuda``, since two processes on
    one are slower than one: the number in the settings is halved until it fits, so that batches
    still split evenly.
    """
    if "WORLD_SIZE" in os.environ:
        return 1
    most = len(os.sched_getaffinity(0))
    if config.device == "cuda":
        most = min(most, torch.cuda.device_count())
    count = config.processes
    while count > most:
        count //= 2
    return max(1, count)


def is_first_process() -> bool:
    """Whether this process is the first of its run, before there is a session to ask."""
    return os.environ.get("RANK", "0") == "0"


def end_with_the_first() -> None:
    """Has this process end with the one that started it for its run, if one did.

    By itself it would only notice when it next waits for the first one: minutes later.
    """
    if first := os.environ.pop(_FIRST, ""):
        end_with_parent(int(first))


@contextlib.contextmanager
def companions(count: int, arguments: list[str]) -> Iterator[None]:
    """Makes this process the first of `count`, which all run ``twist-train`` with `arguments`.

    With a count of 1 it starts none, but may itself be one of several, started by ``torchrun`` or
    by the first of them.

    Raises:
        RunError: one of the others ended before its time.
    """
    if count == 1:
        with leaving():
            yield
        return
    group = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": _LOOPBACK,
        "MASTER_PORT": str(free_port()),
        # Nothing leaves the machine, and its host name need not be known to anyone.
        "GLOO_SOCKET_IFNAME": "lo",
    }
    with contextlib.ExitStack() as stack:
        others = [
            stack.enter_context(_Companion(arguments, group | {"RANK": rank, "LOCAL_RANK": rank}))
            for rank in map(str, range(1, count))
        ]
        group |= {"RANK": "0", "LOCAL_RANK": "0"}
        group[STARTED] = " ".join(str(other.started) for other in others)
        stack.enter_context(_environment(group))
        stack.enter_context(leaving())
        try:
            yield
        except RuntimeError as error:
            # What PyTorch raises when another process is gone; errors of ours have types of their
            # own.
            if type(error) is RuntimeError or isinstance(error, distributed.DistError):
                for other in others:
                    other.raise_if_ended(error)
            raise


class _Companion:
    """Another process of the run; ended when this one leaves the context.

    Attributes:
        started: the end of a pipe from which its start is read, see `parallel.STARTED`.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._arguments, self._environment = arguments, environment

    def __enter__(self) -> _Companion:
        self._said: IO[bytes] = tempfile.TemporaryFile()
        self.started, theirs = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "twist_training", *self._arguments],
            env=os.environ | self._environment | {STARTED: str(theirs), _FIRST: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
        )
        os.close(theirs)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:  # it has come to its end as well
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10.0)
        self._process.kill()
        self._process.wait()
        self._said.close()
        os.close(self.started)

    def raise_if_ended(self, error: Exception) -> None:
        """Raises RunError when this process is gone; gives one that is just ending the time."""
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip()[-_LAST_WORDS:]
        raise RunError(
            f"process {self._environment['RANK']} of {self._environment['WORLD_SIZE']} of this run "
            f"ended with code {code}"
            + (f"; its last words:\n{words}\n" if words else " and said nothing; ")
            + "the same command continues from the last checkpoint; processes=1 does without it"
        ) from error


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def free_port() -> int:
    """A TCP port of the loopback interface that nothing uses at the moment."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
