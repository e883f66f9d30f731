"""What the trial logic needs from the stand it runs on: robot, policy, recorder.

The logic in `trial_runner` knows no ROS; `ros_stand` implements these ports over the graph, and
tests implement them with plain objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twist_evaluation.results import Tally, TrialReport


class TrialAborted(Exception):
    """This trial cannot go on; the text is the reason, with cause and cure."""


class StandLost(Exception):
    """Nothing can go on: a required part does not answer, or can never work."""


class Interrupted(Exception):
    """Asked to stop, by a person or by whoever supervises the graph; the text says by whom."""


@dataclass(frozen=True)
class StepSample:
    """One decision of the policy.

    Attributes:
        step: 0-based since activation.
        surprise: nats.
        latency: seconds from image stamp to command.
        speed: share of the trained speed.
    """

    step: int
    surprise: float
    latency: float
    speed: float


@dataclass(frozen=True)
class ObjectLayout:
    """Where the objects of a trial start; metres and radians in the base frame."""

    object_position: tuple[float, float, float]
    object_yaw: float
    goal_position: tuple[float, float, float]


class TrialStand(Protocol):
    """Every method blocks until done and raises `Interrupted` when a person asks to stop.

    Methods that a broken part makes impossible raise `TrialAborted` with the reason. A motion of
    the arm, or a recording, that nobody waits for any more is ended where that can be asked for.
    """

    def now(self) -> float:
        """Seconds of a clock that never goes back."""

    def wait_until_ready(self) -> None:
        """Waits for every required part.

        Raises:
            StandLost: one does not answer in time; the text names it.
        """

    def prepare_policy(self, checkpoint: Path | None = None, label: str = "") -> None:
        """Makes the policy configured and inactive, whatever it was.

        Args:
            checkpoint: folder it is to load first; None: it keeps what it has.
            label: what its log and diagnostics are to call that checkpoint; empty: its identity.

        Raises:
            StandLost: the policy refuses to be configured.
        """

    def reset(self, task: str, seed: int, trial: int) -> ObjectLayout:
        """Puts robot and objects where the trial starts."""

    def place_objects(self, trial: int, layout: ObjectLayout) -> str:
        """Has the objects put where the layout says, and checks it, where a person does that.

        Returns:
            A note for the record; empty where the reset has placed them.
        """

    def clear_view(self) -> None:
        """Moves the arm out of the judge's view, where it can be moved."""

    def announce(self, trial: int, layout: ObjectLayout) -> None:
        """Tells the graph that the trial starts."""

    def start_recording(self, folder: Path, custom_data: Mapping[str, str]) -> None:
        """Opens the bag of the trial."""

    def stop_recording(self, custom_data: Mapping[str, str]) -> str:
        """Closes the bag; returns a note, e.g. about dropped messages.

        Raises:
            TrialAborted: the bag does not hold the whole trial.
        """

    def complete_recording(self, folder: Path, custom_data: Mapping[str, str]) -> None:
        """Adds to a closed bag how its trial ended.

        Raises:
            TrialAborted: that cannot be written.
        """

    def activate(self) -> None:
        """Lets the policy move the arm. Steps and faults from before are forgotten."""

    def deactivate(self) -> None:
        """Makes the policy hold the arm still; harmless when it is inactive already."""

    def next_step(self, timeout: float) -> StepSample:
        """Waits for the next decision.

        Raises:
            TrialAborted: a part reported a fault, or no decision came in time.
        """

    def settle(self, seconds: float) -> None:
        """Waits, listening for faults no longer."""

    def publish_result(self, report: TrialReport) -> None:
        """Tells the graph how a trial ended."""

    def publish_summary(self, counts: Tally, finished: bool) -> None:
        """Tells the graph how the evaluation stands."""
