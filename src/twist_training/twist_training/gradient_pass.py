"""Forward and backward passes, run as they are written or recorded as CUDA graphs.

These networks are small: on a GPU a pass through them is thousands of short kernels, and launching
them one by one from Python takes longer than they run. A CUDA graph records the launches once and
repeats them with one call, on the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from twist_training.run_identity import RunError

Outputs = tuple[dict[str, Tensor], tuple[Tensor, ...]]
"""Terms for the log, and what the next pass needs; all without gradients."""
Function = Callable[..., Outputs]
WARM_UP = 3
"""Calls before the recording: libraries allocate their workspaces and choose kernels in them."""


class Recorder(Protocol):
    """Records what a function does on its device."""

    def warm_up(self, function: Function, inputs: tuple[Tensor, ...]) -> Outputs:
        """Calls the function where it will be recorded."""

    def record(self, function: Function, inputs: tuple[Tensor, ...]) -> Function:
        """Records the function with inputs like these; what is returned does the same with others.

        It writes into the same gradients and outputs every time.
        """


class GradientPass:
    """The gradients of parameters, by a function that computes losses and calls ``backward``.

    Args:
        function: from tensors to `Outputs`. Where it is recorded, Python has no part in it later:
            it must not look at a value, and what it decides has to depend on shapes alone. Random
            numbers are drawn anew each time.
        parameters: gradients of others are left as they are.
        recorder: records the function after `WARM_UP` calls; None never does.
    """

    def __init__(
        self, function: Function, parameters: Iterable[nn.Parameter], recorder: Recorder | None
    ) -> None:
        self._function, self._recorder = function, recorder
        self._parameters = list(parameters)
        self._gradients: list[Tensor | None] = []
        self._repeat: Function | None = None
        self._shapes: list[torch.Size] = []
        self._calls = 0

    def __call__(self, *inputs: Tensor) -> Outputs:
        """Leaves the gradients in the parameters; those of before are gone.

        Raises:
            ValueError: the inputs have other shapes than those that were recorded.
        """
        if self._recorder is None:
            self._clear()
            return self._function(*inputs)
        self._calls += 1
        if self._calls <= WARM_UP:
            self._clear()
            return self._recorder.warm_up(self._function, inputs)
        shapes = [tensor.shape for tensor in inputs]
        if self._repeat is None:
            self._clear()
            self._repeat = self._recorder.record(self._function, inputs)
            self._gradients = [parameter.grad for parameter in self._parameters]
            self._shapes = shapes
        if shapes != self._shapes:
            raise ValueError(f"recorded for inputs of {self._shapes}, called with {shapes}")
        terms, following = self._repeat(*inputs)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient  # another pass may have left its own there
        return (
            {name: term.clone() for name, term in terms.items()},
            tuple(tensor.clone() for tensor in following),
        )

    def _clear(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def clip_gradients(
    name: str, parameters: Iterable[nn.Parameter], most: float, *, step: int
) -> None:
    """Scales gradients down to a norm of `most`, which is the one look at a value in a step.

    Args:
        name: of what is trained, for the error.
        parameters: with their gradients.
        most: largest norm.
        step: which gradient step this is.

    Raises:
        RunError: a gradient is no number. No weight has it yet.
    """
    if not torch.isfinite(nn.utils.clip_grad_norm_(parameters, most)):
        raise RunError(
            f"step {step}: the gradients of the {name} are no numbers, and nothing was learned "
            "from them. The same command continues from the last checkpoint; if it ends there "
            "again, start another run with precision=float32 or lower learning rates"
        )


class CudaGraphRecorder:
    """Records a function as a CUDA graph."""

    def __init__(self) -> None:
        # PyTorch does not record on the stream that everything else runs on.
        self._stream = torch.cuda.Stream()

    def warm_up(self, function: Function, inputs: tuple[Tensor, ...]) -> Outputs:
        """See `Recorder`."""
        usual = torch.cuda.current_stream()
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            outputs = function(*inputs)
        usual.wait_stream(self._stream)
        return outputs

    def record(self, function: Function, inputs: tuple[Tensor, ...]) -> Function:
        """See `Recorder`. Nothing is computed before the returned function is called."""
        placed = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            outputs = function(*placed)

        def repeat(*inputs: Tensor) -> Outputs:
            for place, tensor in zip(placed, inputs, strict=True):
                place.copy_(tensor)
            graph.replay()
            return outputs

        return repeat
