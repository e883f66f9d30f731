"""Progress bars."""

from __future__ import annotations

import os
import sys
from typing import Any

from tqdm import tqdm

_IN_A_FILE = 20.0
"""Seconds between two lines of progress in a log file."""


class ProgressBar(tqdm):  # type: ignore[type-arg]
    """tqdm's, but for two things.

    Written to a file it adds a line now and then instead of ten a second, and of the processes that
    share a run the first one's is the only one shown.
    """

    def __init__(self, *arguments: Any, disable: bool = False, **options: Any) -> None:
        # Without a standard error, as after 2>&-, there is nowhere to show it.
        disable = disable or sys.stderr is None
        if disable or not sys.stderr.isatty():
            options = {"mininterval": _IN_A_FILE, "maxinterval": 2 * _IN_A_FILE} | options
        silent = disable or os.environ.get("RANK", "0") != "0"
        super().__init__(*arguments, disable=silent, **options)
