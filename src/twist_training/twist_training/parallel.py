"""Data-parallel training with ``torchrun``.

Every process holds the whole run: the same weights, replay and random state. It computes the
gradients of its rows of each batch; the averaged gradients are then the same everywhere, so that
the weights stay the same, too. Collecting episodes costs little beside the gradient steps and is
repeated by every process, which needs no communication; what renders or evaluates is done by the
first process while the others wait. Only the first process writes files.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch

# Imported before any group is joined: its functions have the default group of that moment as an
# argument's default. torch.compile imports it, too; if that came first after joining, the group
# would live on in those defaults, beyond `leaving`.
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch import distributed as dist

from twist_training.configuration import ConfigurationError, TrainingConfig
from twist_training.modules.batch_share import batch_share
from twist_training.shared_sum import SharedSum, shared_sum

Result = TypeVar("Result")
STARTED = "TWIST_STARTED"
"""Environment variable that `local_processes` sets: ends of the pipes in which the processes that
it starts say that they are about to join the first one, which reads them."""
_JOINING = datetime.timedelta(minutes=5)
"""How long processes wait for the last one to start: one that died at its start never comes."""
_WAITING = datetime.timedelta(days=2)
"""How long they wait afterwards: the first renders and evaluates alone, which may take hours."""


class Processes:
    """The processes that train together; one when torchrun started none.

    Args:
        config: device, and the batch sizes that are split.

    Raises:
        ConfigurationError: a batch cannot be split evenly.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.count > 1 else 0
        self._shared: dict[int, SharedSum | None] = {}
        if self.count == 1:
            return
        _check_that_batches_split(config, self.count)
        if config.device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            _await_start(self.first)
            store, rank, count = next(dist.rendezvous("env://", timeout=_JOINING))
            dist.init_process_group(
                "nccl" if config.device == "cuda" else "gloo",
                store=store,
                rank=rank,
                world_size=count,
                timeout=_WAITING,
            )

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share(self) -> AbstractContextManager[None]:
        """Inside, random draws and losses know which rows of the batch are here."""
        return batch_share(self.rank, self.count)

    def rows(self, array: Any) -> Any:
        """This process's rows of a batch."""
        if self.count == 1:
            return array
        size = len(array) // self.count
        return array[self.rank * size : (self.rank + 1) * size]

    def joined(self, part: Tensor, sizes: list[int]) -> Tensor:
        """The rows of every process, one's below the other's.

        Args:
            part: this process's rows.
            sizes: how many rows each process has, by rank.
        """
        if self.count == 1:
            return part
        parts = [part.new_empty(size, *part.shape[1:]) for size in sizes]
        parts[self.rank] = part.contiguous()
        for rank, rows in enumerate(parts):
            dist.broadcast(rows, src=rank)
        return torch.cat(parts)

    def average_gradients(self, modules: Iterable[nn.Parameter]) -> None:
        """Replaces the gradients by their means over all processes."""
        if self.count == 1:
            return
        gradients = [p.grad for p in modules if p.grad is not None]
        flat = self._sum(gradients)
        flat /= self.count
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def _sum(self, parts: list[Tensor]) -> Tensor:
        size = sum(part.numel() for part in parts)
        if size not in self._shared:
            on_cpu = all(
                part.device.type == "cpu" and part.dtype == torch.float32 for part in parts
            )
            self._shared[size] = shared_sum(self.rank, size) if on_cpu else None
        shared = self._shared[size]
        if shared is not None:
            return shared(parts)
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        return flat

    def average(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means of scalars over all processes."""
        if self.count == 1 or not metrics:
            return metrics
        values = torch.stack([value.float() for value in metrics.values()])
        dist.all_reduce(values)
        return dict(zip(metrics, values / self.count, strict=True))

    def from_first(self, value: Any) -> Any:
        """What the first process passes, in every process."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def first_then_others(self, function: Callable[[], Result]) -> Result:
        """Calls `function` in the first process, then in the others, which find its files."""
        if not self.first:
            self.wait()
        result = function()
        if self.first:
            self.wait()
        return result

    def wait(self) -> None:
        """Waits until every process is here."""
        if self.count > 1:
            dist.barrier()


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Leaves the other processes in good order at the end, if any were joined.

    One that exits while it is still joined may abort ("terminate called without an active
    exception"): a thread of Gloo's gives back its last tensor, which belongs to an interpreter
    that is ending. ``torchrun`` then ends the others, too.
    """
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _await_start(first: bool) -> None:
    """Tells the first process that this one starts; the first waits until all others have.

    Joining alone would not tell one that is late from one that is gone.

    Raises:
        RuntimeError: one ended instead.
    """
    for pipe in map(int, os.environ.pop(STARTED, "").split()):
        if not first:
            os.write(pipe, b"1")
            os.close(pipe)
        elif not os.read(pipe, 1):
            raise RuntimeError("another process of this run ended before it had joined")


def _check_that_batches_split(config: TrainingConfig, count: int) -> None:
    teacher, distillation = config.teacher, config.distillation
    sizes = {
        "teacher.batch": teacher.batch,
        "distillation.batch": distillation.batch,
        "distillation.warmup_batch": distillation.warmup_batch,
    }
    problems = [f"{name} {size}" for name, size in sizes.items() if size % count]
    starts = {
        "teacher.imagination_starts": (teacher.imagination_starts, teacher.batch),
        "distillation.imagination_starts": (
            distillation.imagination_starts,
            distillation.batch,
        ),
    }
    problems += [
        f"{name} {size} (a multiple of the batch, {batch}, is needed)"
        for name, (size, batch) in starts.items()
        if size % batch
    ]
    if problems:
        raise ConfigurationError(
            f"{count} processes cannot split these evenly: {', '.join(problems)}; choose multiples"
        )
