"""Which layout and which checkpoint each run of an evaluation has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes:
        layout_trial: (task, seed, layout_trial) determines the layout.
        checkpoint: folder the policy loads for this run; None: what it has.
        checkpoint_label: what log, diagnostics and bag call it; empty: its identity.
    """

    layout_trial: int
    checkpoint: Path | None = None
    checkpoint_label: str = ""


class TrialPlan(Protocol):
    """Maps the number of a run to what it is.

    Attributes:
        blind: whether nobody may know which policy runs.
    """

    blind: bool

    def run(self, number: int) -> PlannedRun:
        """The run with this 0-based number."""


class OnePolicy:
    """Every trial once, with the policy that is loaded."""

    blind = False

    def run(self, number: int) -> PlannedRun:
        """Run `number` is trial `number`."""
        return PlannedRun(number)
