"""What a training session changes in its process is changed back after every test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside the tests


@pytest.fixture(autouse=True)
def _denormal_numbers_again() -> Iterator[None]:
    """A session flushes denormal numbers to zero; tests of other packages count on them."""
    yield
    torch.set_flush_denormal(False)
