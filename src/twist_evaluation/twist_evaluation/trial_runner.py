"""The evaluation: trial after trial until all are judged. No ROS in here.

A trial: policy inactive -> reset -> objects in place -> recording -> activate -> count the policy's
steps -> deactivate -> clear the view for a judge that needs it -> close the bag -> judge -> result.
Whatever breaks makes the trial ABORTED with a reason; the arm is made to hold, the bag is closed,
and the next trial starts with a deliberate activation. Several aborted trials in a row end the
evaluation: then something is broken that trying again won't mend.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twist_evaluation.judge import Judge, JudgeError, NotJudged, Verdict
from twist_evaluation.progress import trial_line
from twist_evaluation.results import OPEN, Outcome, ResultsFolder, Tally, TrialReport, tally
from twist_evaluation.trial_plan import OnePolicy, PlannedRun, TrialPlan
from twist_evaluation.trial_stand import (
    Interrupted,
    StandLost,
    StepSample,
    TrialAborted,
    TrialStand,
)
from twist_policy.statistics import percentile


@dataclass(frozen=True)
class TrialRules:
    """How trials are run.

    Attributes:
        record: whether each trial gets a bag.
        first_step_timeout: seconds from activation to the first step.
        step_timeout: seconds between two steps.
        settle_time: seconds between deactivation and judgement.
        maximum_consecutive_aborts: this many in a row end the evaluation.
        custom_data: written into every bag, beside what the trial itself is.
    """

    record: bool = True
    first_step_timeout: float = 5.0
    step_timeout: float = 2.0
    settle_time: float = 0.2
    maximum_consecutive_aborts: int = 3
    custom_data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationEnd:
    """How an evaluation ended.

    Attributes:
        counts: over all trials.
        reports: of all trials.
        reason: why it ended before all trials were run; empty when they were.
        interrupted: whether a person ended it.
    """

    counts: Tally
    reports: tuple[TrialReport, ...]
    reason: str = ""
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        """Whether every planned trial was run to its judgement."""
        judged = self.counts.successes + self.counts.failures
        return not self.reason and judged == self.counts.planned


@dataclass
class _Course:
    """What is known of the trial in progress."""

    steps: list[StepSample] = field(default_factory=list)
    started: float = 0.0
    ended: float = 0.0
    recording: str = ""
    recording_open: bool = False
    active: bool = False
    note: str = ""

    def add_note(self, text: str) -> None:
        self.note = "; ".join(filter(None, (self.note, text)))


class TrialRunner:
    """Runs the open trials of an evaluation.

    Args:
        stand: the parts.
        judge: who decides.
        results: where the results go; names the evaluation.
        rules: how trials are run.
        say: prints a line for people.
        plan: which layout and checkpoint each run has.
    """

    def __init__(
        self,
        stand: TrialStand,
        judge: Judge,
        results: ResultsFolder,
        rules: TrialRules,
        say: Callable[[str], None] = print,
        plan: TrialPlan | None = None,
    ) -> None:
        self._stand = stand
        self._judge = judge
        self._results = results
        self._identity = results.identity
        self._rules = rules
        self._say = say
        self._plan: TrialPlan = OnePolicy() if plan is None else plan

    def run(self) -> EvaluationEnd:
        """Runs trials until all are judged, or nothing can go on.

        What breaks in a trial does not raise; the end tells.
        """
        reason, interrupted, consecutive_aborts = "", False, 0
        try:
            for trial in self._results.open_trials():
                self._stand.wait_until_ready()
                report, end = self._run_trial(trial)
                self._finish_trial(report)
                if end is not None:
                    raise end
                aborted = report.outcome is Outcome.ABORTED
                consecutive_aborts = consecutive_aborts + 1 if aborted else 0
                if consecutive_aborts >= self._rules.maximum_consecutive_aborts:
                    reason = f"{consecutive_aborts} trials in a row were aborted"
                    break
        except StandLost as lost:
            reason = str(lost)
        except Interrupted as error:
            reason, interrupted = str(error) or "interrupted", True
        counts = self._counts()
        with contextlib.suppress(Exception):
            self._stand.publish_summary(counts, finished=True)
        return EvaluationEnd(counts, tuple(self._results.reports), reason, interrupted)

    def _counts(self) -> Tally:
        return tally(self._identity.trials, self._results.reports)

    def _finish_trial(self, report: TrialReport) -> None:
        try:
            self._results.add(report)
        except OSError as error:
            raise StandLost(
                f"the results cannot be written to {self._results.folder} "
                f"({error.strerror or error}); free space or make it writable"
            ) from error
        counts = self._counts()
        if self._plan.blind:
            # How surprised and how fast a policy is tells two of them apart.
            nothing = float("nan")
            report = dataclasses.replace(report, mean_surprise=nothing, p99_latency=nothing)
        self._say(trial_line(report, counts))
        with contextlib.suppress(Exception):
            self._stand.publish_result(report)
            self._stand.publish_summary(counts, finished=False)

    def _run_trial(self, trial: int) -> tuple[TrialReport, StandLost | Interrupted | None]:
        """Returns the result, and what makes it the last one."""
        course = _Course()
        end: StandLost | Interrupted | None = None
        outcome, verdict, reason = Outcome.ABORTED, Verdict(False, float("nan")), ""
        try:
            self._conduct(trial, self._plan.run(trial), course)
            # Before anybody is asked: an answer may take minutes, and a trial without its record
            # is not one to be judged.
            self._close_bag(course)
            verdict = self._judge.judge(self._results.picture_file(trial))
            outcome = Outcome.SUCCESS if verdict.success else Outcome.FAILURE
        except NotJudged as error:
            outcome, reason = Outcome.NOT_JUDGED, str(error)
            verdict = Verdict(False, error.distance, picture=error.picture)
        except (TrialAborted, JudgeError) as error:
            reason = str(error)
        except StandLost as error:
            reason, end = str(error), error
        except Interrupted as error:
            reason, end = str(error) or "interrupted by a person", error
        finally:
            if course.active:
                end = self._stop_policy() or end
        report, ended = self._conclude(trial, course, outcome, verdict, reason)
        return report, end or ended

    def _stop_policy(self) -> StandLost | Interrupted | None:
        """Asks for a stop after a fault; returns what lets no other trial follow.

        The policy may be dead or latched by now; it is asked all the same.
        """
        try:
            self._stand.deactivate()
        except TrialAborted:
            return None
        except StandLost as error:
            return error
        except Interrupted as error:
            # It cut the asking short, too.
            with contextlib.suppress(TrialAborted, StandLost, Interrupted):
                self._stand.deactivate()
            return error
        return None

    def _conduct(self, trial: int, planned: PlannedRun, course: _Course) -> None:
        """Everything up to the moment of judgement."""
        stand, rules, identity = self._stand, self._rules, self._identity
        stand.prepare_policy(planned.checkpoint, planned.checkpoint_label)
        layout = stand.reset(identity.task, identity.seed, planned.layout_trial)
        course.note = stand.place_objects(trial, layout)
        if self._judge.already_solved():
            raise TrialAborted(
                "the success rule holds already at the start: the reset did not place the objects"
            )
        if rules.record:
            folder = self._results.bag_folder(trial)
            stand.start_recording(folder, self._custom_data(trial, planned))
            course.recording, course.recording_open = str(folder), True
        stand.announce(trial, layout)
        course.active = True
        stand.activate()
        course.started = course.ended = stand.now()
        while not course.steps or course.steps[-1].step + 1 < identity.episode_steps:
            timeout = rules.step_timeout if course.steps else rules.first_step_timeout
            course.steps.append(stand.next_step(timeout))
            course.ended = stand.now()
        stand.deactivate()
        course.active = False
        if self._judge.needs_clear_view:
            stand.clear_view()
        stand.settle(rules.settle_time)

    def _conclude(
        self, trial: int, course: _Course, outcome: Outcome, verdict: Verdict, reason: str
    ) -> tuple[TrialReport, StandLost | Interrupted | None]:
        """Completes the bag; returns the result, and what makes it the last one."""
        steps, end = course.steps, None
        course.add_note(_slowness(steps))
        taken = steps[-1].step + 1 if steps else 0
        if course.recording:
            ending = {
                "outcome": str(outcome),
                "steps": str(taken),
                "final_distance": f"{verdict.distance:.6f}",
                "reason": reason,
                "judge": self._who(outcome, verdict),
                "picture": Path(verdict.picture).name,
            }
            try:
                self._end_recording(course, ending)
            except TrialAborted as error:
                # The result below says all of it; only the bag does not.
                course.add_note(str(error))
            except (StandLost, Interrupted) as error:
                reason, end = "; ".join(filter(None, (reason, str(error) or "interrupted"))), error
        report = TrialReport(
            trial=trial,
            outcome=outcome,
            reason=reason,
            final_distance=verdict.distance,
            distance_deviation=verdict.deviation,
            picture=verdict.picture,
            steps=taken,
            duration=course.ended - course.started if steps else float("nan"),
            mean_surprise=sum(s.surprise for s in steps) / len(steps) if steps else float("nan"),
            p99_latency=percentile([s.latency for s in steps], 99),
            judge=self._who(outcome, verdict),
            bag=course.recording,
            note=course.note,
        )
        return report, end

    def _close_bag(self, course: _Course) -> None:
        """Closes the bag before the trial is judged; `_end_recording` completes it."""
        if course.recording_open:
            # Asked once, whatever comes of it: a recorder that is asked again has nothing open.
            course.recording_open = False
            course.add_note(self._stand.stop_recording({}))

    def _end_recording(self, course: _Course, ending: dict[str, str]) -> None:
        if not course.recording_open:
            self._stand.complete_recording(Path(course.recording), ending)
            return
        course.recording_open = False
        course.add_note(self._stand.stop_recording(ending))

    def _who(self, outcome: Outcome, verdict: Verdict) -> str:
        return "" if outcome in OPEN else verdict.by or self._judge.name

    def _custom_data(self, trial: int, planned: PlannedRun) -> dict[str, str]:
        identity = self._identity
        return {
            "task": identity.task,
            "trial": str(trial),
            "layout_trial": str(planned.layout_trial),
            "trials": str(identity.trials),
            "seed": str(identity.seed),
            "checkpoint": planned.checkpoint_label or identity.checkpoint,
            "episode_steps": str(identity.episode_steps),
            "conditions": identity.conditions,
            **self._rules.custom_data,
        }


def _slowness(steps: list[StepSample]) -> str:
    """What a result has to say when the policy never had its trained speed."""
    fastest = max((step.speed for step in steps), default=1.0)
    if fastest == 0.0:
        return "dry run: the policy moved nothing"
    return f"at {fastest:.0%} of the trained speed" if fastest < 1.0 else ""
