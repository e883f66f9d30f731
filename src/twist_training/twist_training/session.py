"""What every stage of a run shares: the run folder, device, precision, random state and logs."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from twist_policy.contract import PolicyContract
from twist_sim.task_card import TaskCard, load_task_card
from twist_training.atomic_files import (
    DiskError,
    read_generations,
    write_atomically,
    write_two_generations,
)
from twist_training.configuration import ConfigurationError, TrainingConfig, validate_for
from twist_training.gradient_pass import CudaGraphRecorder, Function, GradientPass
from twist_training.parallel import Processes
from twist_training.run_identity import RunError, remember

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LAYOUT_SEEDS = {
    "teacher": 1_000_000_000,
    "collect": 1_100_000_000,
    "student": 1_200_000_000,
    "selection": 1_300_000_000,
}


class Session:
    """One run of the pipeline in one folder.

    Args:
        config: all settings.
        folder: where checkpoints, episodes, images and logs go; made when missing.

    Raises:
        ConfigurationError: the settings do not fit the task or the machine.
        RunError: the folder holds a run with other settings, or with another task card.
    """

    def __init__(self, config: TrainingConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.card: TaskCard = load_task_card(config.task)
        validate_for(config, self.card)
        self.contract: PolicyContract = self.card.contract(config.student.observes_ee_position)
        self.device = torch.device(config.device)
        if config.device == "cuda" and not torch.cuda.is_available():
            raise ConfigurationError("device=cuda, but PyTorch sees no GPU; use device=cpu")
        self._autocast = _use_bfloat16(config)
        self.processes = Processes(config)
        if config.cuda_graph and self.processes.count > 1:
            raise ConfigurationError(
                f"cuda_graph=true in {self.processes.count} processes; use it with one"
            )
        torch.set_num_threads(config.threads)
        torch.set_flush_denormal(True)
        _keep_freed_memory()
        folder.mkdir(parents=True, exist_ok=True)
        self.processes.first_then_others(lambda: remember(config, self.card, folder))

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision for forward passes, when the configuration and the processor say so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast)

    def gradient_pass(
        self, function: Function, parameters: Iterable[torch.nn.Parameter]
    ) -> GradientPass:
        """A pass of `function`, recorded as a CUDA graph when the configuration says so."""
        recorder = CudaGraphRecorder() if self.config.cuda_graph else None
        return GradientPass(function, parameters, recorder)

    @property
    def precision(self) -> str:
        """The precision that `auto` came to."""
        return "bfloat16" if self._autocast else "float32"

    def tensor(self, array: Any) -> torch.Tensor:
        """`array` on the session's device."""
        return torch.as_tensor(array).to(self.device, non_blocking=True)

    def seed(self, stage: str) -> np.random.Generator:
        """Seeds PyTorch for `stage` and returns the stage's generator."""
        sequence = np.random.SeedSequence([self.config.seed, *stage.encode()])
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        return np.random.default_rng(sequence)

    def layout_seed(self, stage: str) -> int:
        """The evaluation-style seed that `stage` draws its layouts from.

        Far from the small numbers that people evaluate with, so that no layout of an evaluation
        was trained on.
        """
        return _LAYOUT_SEEDS[stage] + self.config.seed

    def save(self, name: str, data: dict[str, Any]) -> None:
        """Writes a PyTorch checkpoint into the run folder; the first process does.

        The one before it is kept as ``<name>.previous``.

        Raises:
            DiskError: the disk is full; both older checkpoints are still there.
        """
        if not self.processes.first:
            return
        buffer = io.BytesIO()
        torch.save(data, buffer)
        write_two_generations(self.folder / name, buffer.getvalue())

    def load(self, name: str, folder: Path | None = None) -> dict[str, Any] | None:
        """Reads the newest readable checkpoint of this run; None when there is none.

        Args:
            name: of the file.
            folder: of another run.

        Raises:
            RunError: there are checkpoints, and all are damaged.
        """
        return next(self.checkpoints(name, folder), None)

    def checkpoints(self, name: str, folder: Path | None = None) -> Iterator[dict[str, Any]]:
        """The readable checkpoints of this run, or of that in `folder`, the newest first.

        Raises:
            RunError: there are checkpoints, and all are damaged.
        """
        damaged: list[str] = []
        readable = 0
        for path, content in read_generations((folder or self.folder) / name):
            try:
                if content is None:
                    raise RuntimeError("its checksum is not the one that was written")
                data = torch.load(io.BytesIO(content), map_location=self.device, weights_only=False)
                if not isinstance(data, dict):
                    raise TypeError(f"it holds a {type(data).__name__}")
            except Exception as error:  # what was pickled there may raise anything
                damaged.append(f"the checkpoint {path} is damaged ({error})")
                continue
            if damaged:
                print(f"{damaged[-1]}; continuing from {path}", file=sys.stderr)
            readable += 1
            yield data
        if damaged and not readable:
            raise RunError("; ".join(damaged) + "; delete what is damaged to repeat its stage")


def _keep_freed_memory() -> None:
    """Asks glibc to keep freed memory for the next step instead of returning it to the kernel.

    A training step frees and allocates the same megabytes each time; every page that comes back
    from the kernel is a page fault, which on virtual machines costs more than the arithmetic on it.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to set
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, (1 << 31) - 1)):
            mallopt(option, size)


def _use_bfloat16(config: TrainingConfig) -> bool:
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if config.device == "cuda":
        return torch.cuda.is_bf16_supported()
    # Emulated bfloat16 is slower than float32; only native instructions help.
    return bool(torch.backends.cpu.get_cpu_capability().startswith("AVX512")) and (
        "avx512_bf16" in _processor_flags()
    )


def _processor_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split())
    except OSError:
        pass
    return set()


def random_state(generator: np.random.Generator) -> dict[str, Any]:
    """Everything random, for a checkpoint."""
    return {
        "generator": generator.bit_generator.state,
        "torch": torch.get_rng_state(),
        # Of this process's GPU alone: it is restored in every process, and all draw the same.
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore_random_state(state: dict[str, Any], generator: np.random.Generator) -> None:
    """The inverse of `random_state`."""
    generator.bit_generator.state = state["generator"]
    # Both were loaded onto the run's device, and are taken from the processor.
    torch.set_rng_state(state["torch"].cpu())
    if isinstance(state["cuda"], torch.Tensor) and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"].cpu())


class MetricLog:
    """Scalars to TensorBoard and to a JSONL file; the first process writes them.

    Args:
        session: the run.
        stage: name of the stage; becomes the file name and a prefix.
        resumed_from: the step that training goes on from, 0 when it begins. What was logged beyond
            it is repeated, and dropped.

    Raises:
        DiskError: here and wherever something is logged, when the disk is full.
    """

    def __init__(self, session: Session, stage: str, resumed_from: int) -> None:
        self._pending: dict[str, list[torch.Tensor]] = {}
        self._processes = session.processes
        self._silent = not session.processes.first
        if self._silent:
            return
        self._path = session.folder / f"{stage}.jsonl"
        with self._disk_errors():
            _drop_rows_beyond(resumed_from, self._path)
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
            self._writer = SummaryWriter(
                str(session.folder / "tensorboard" / stage),
                purge_step=resumed_from + 1 if resumed_from else 0,
            )

    def add(self, metrics: dict[str, torch.Tensor]) -> None:
        """Collects scalars of this process's share; `flush` logs their means."""
        for name, value in metrics.items():
            self._pending.setdefault(name, []).append(value)

    def flush(self, step: int, **more: float) -> dict[str, float]:
        """Logs the means since the last flush, and `more`, at `step`; returns what it logged.

        The means are over all processes, so that all have to call it.
        """
        means = {name: torch.stack(values).mean() for name, values in self._pending.items()}
        self._pending.clear()
        values = {name: float(mean) for name, mean in self._processes.average(means).items()}
        values.update(more)
        self.write(step, **values)
        return values

    def write(self, step: int, **values: float) -> None:
        """Logs `values` alone, and leaves what was collected for the next `flush`."""
        if self._silent:
            return
        with self._disk_errors():
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._file.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
            self._file.flush()

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"cannot write to {self._path}: {error.strerror or error}; the checkpoints are "
                "unchanged; free space, then run the same command again"
            ) from error

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._silent:
            return
        # What could not be written was said already.
        for stream in (self._writer, self._file):
            with contextlib.suppress(OSError):
                stream.close()


def _drop_rows_beyond(step: int, path: Path) -> None:
    """Rewrites a metric log with its rows up to `step` alone, with none at 0."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if step and _step_of(line) <= step]
    if kept != lines:
        with write_atomically(path) as file:
            file.write("".join(kept).encode())


def _step_of(line: str) -> float:
    """The step of a row; that of one which a kill cut short is beyond all others."""
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return float("inf")
