"""The one place that touches TorchScript, so that another export format can follow.

Everything else in this package sees modules only through `script`, `save_bytes` and
`load_bytes`. PyTorch marks TorchScript as deprecated in favour of ``torch.export``; the warning is
silenced here because the answer to it is here as well.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import torch
from torch import nn


class ModuleFileError(RuntimeError):
    """The bytes are not a module that this PyTorch can load."""


@contextlib.contextmanager
def _without_deprecation_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        yield


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Compiles `module` in evaluation mode, ready for `save_bytes`."""
    with _without_deprecation_warning():
        return torch.jit.script(module.eval())


def save_bytes(module: torch.jit.ScriptModule) -> bytes:
    """Serialised `module`."""
    buffer = io.BytesIO()
    with _without_deprecation_warning():
        torch.jit.save(module, buffer)
    return buffer.getvalue()


def load_bytes(data: bytes) -> torch.jit.ScriptModule:
    """The module in `data`, on the CPU and in evaluation mode.

    Raises:
        ModuleFileError: `data` is not a TorchScript archive, or one that this PyTorch cannot
            read.
    """
    try:
        with _without_deprecation_warning():
            module: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(data), map_location="cpu")
            module.eval()
    except (RuntimeError, ValueError, EOFError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModuleFileError(
            f"PyTorch {torch.__version__} cannot load it ({first_line})"
        ) from error
    return module
