"""What a refinement is asked for."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from twist_training.configuration import ConfigurationError, TrainingConfig
from twist_training.run_identity import RunError
from twist_training.runners.pipeline import default_folder, refinements


@dataclass(frozen=True)
class RefinementSettings:
    """Arguments of ``twist-train refine``.

    Attributes:
        run: folder of a finished run; it stays as it is.
        output: new run folder; empty for ``<run>_refined``.
        steps: gradient steps of the behaviour in each of its turns.
        actor_lr: learning rate of the actor at the start; it falls to a twentieth.
        critic_lr: likewise of critic and reward head.
        belief: what the actor sees in imagination, ``teacher`` or ``student``.
        reward: rule parameters that are others than the card's, ``NAME=VALUE,NAME=VALUE``.
        rounds: turns of the student, each followed by another one of the behaviour.
        last: who learns last, ``behaviour`` or ``student``, for which it gets one more turn.
        student_steps: gradient steps of the student in each of its turns.
        student_lr: learning rate of the student at the start of a turn; it falls to a twentieth.

    The settings of the machine (`configuration.MACHINE_SETTINGS`) are those of the run unless they
    are given, too.
    """

    run: str = ""
    output: str = ""
    steps: int = 1500
    actor_lr: float = 2e-4
    critic_lr: float = 3e-4
    belief: str = "student"
    reward: str = ""
    rounds: int = 1
    last: str = "behaviour"
    student_steps: int = 800
    student_lr: float = 5e-4

    def validate(self) -> None:
        """Checks what can be checked without a run.

        Raises:
            ConfigurationError: a value is out of range.
        """
        for name in ("steps", "student_steps"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be 1 or more, found {getattr(self, name)}")
        for name in ("actor_lr", "critic_lr", "student_lr"):
            rate = getattr(self, name)
            if not (math.isfinite(rate) and rate > 0.0):
                raise ConfigurationError(f"{name} must be finite and above 0, found {rate:g}")
        if self.rounds < 0:
            raise ConfigurationError(f"rounds must not be negative, found {self.rounds}")
        if self.belief not in ("teacher", "student"):
            raise ConfigurationError(f"belief is {self.belief!r}; use teacher or student")
        if self.last not in ("behaviour", "student"):
            raise ConfigurationError(f"last is {self.last!r}; use behaviour or student")


def command_of(settings: RefinementSettings, config: TrainingConfig) -> str:
    """The command line that repeats this, after those that repeat the run and its refinements."""
    changed = [
        f"{item.name}={getattr(settings, item.name)}"
        for item in dataclasses.fields(settings)
        if item.name not in ("run", "output") and getattr(settings, item.name) != item.default
    ]
    before = len(refinements(Path(settings.run)))
    run = f"{default_folder(config)}{before * '_refined'}"
    return " ".join(["twist-train", "refine", f"run={run}", *changed])


def check_same(mine: str, theirs: str, folder: Path) -> None:
    """Checks that a refinement is continued with the command it was started with.

    Args:
        mine: the command line now, by `command_of`.
        theirs: the one at its start.
        folder: of the refinement.

    Raises:
        RunError: they differ.
    """
    if mine != theirs:
        raise RunError(
            f"the refinement in {folder} was started as '{theirs}', now '{mine}'; continue it with "
            "the same settings, or choose another folder with output=..."
        )
