"""One process's share of a batch in data-parallel training (`twist_training.parallel`).

A gradient step under torchrun is the step that one process would make with the whole batch: each
process draws the noise of the whole batch and keeps the rows that are its own, and what a loss
decides by a mean over the batch it decides by the mean over all processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_rank, _count = 0, 1


@contextlib.contextmanager
def batch_share(rank: int, count: int) -> Iterator[None]:
    """Inside, batches are share number `rank` of `count` equal ones."""
    global _rank, _count
    before = _rank, _count
    _rank, _count = rank, count
    try:
        yield
    finally:
        _rank, _count = before


def draw_rows(draw: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    """This share's rows of what `draw` draws for the whole batch.

    Args:
        draw: draws random numbers of a shape.
        shape: that of the share; the first dimension is the batch.
    """
    if _count == 1:
        return draw(shape)
    rows = shape[0]
    return draw((rows * _count, *shape[1:]))[_rank * rows : (_rank + 1) * rows]


def mean_over_shares(value: Tensor) -> Tensor:
    """The mean of `value` over all shares, without gradient."""
    value = value.detach()
    if _count > 1:
        value = value.clone()
        torch.distributed.all_reduce(value)
        value /= _count
    return value
