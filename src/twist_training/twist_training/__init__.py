"""Teacher, collection, distillation, evaluation in simulation and export of a TWIST policy."""

import contextlib

# PyTorch's CUDA builds bring Triton, which PyTorch imports with the first optimiser. Triton holds
# an LLVM of its own, and crashes when Mesa's software renderer has brought another one into the
# process before. Loaded first, the two get along; PyTorch's CPU builds have no Triton.
with contextlib.suppress(ImportError):
    import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
