"""The course of an evaluation, with a stand of plain objects: no ROS, no time."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from twist_evaluation.judge import GroundTruthJudge, JudgeError, Verdict, WorldState
from twist_evaluation.results import (
    EvaluationIdentity,
    ResultsError,
    ResultsFolder,
    Tally,
    TrialReport,
)
from twist_evaluation.trial_plan import OnePolicy
from twist_evaluation.trial_runner import EvaluationEnd, TrialRules, TrialRunner
from twist_evaluation.trial_stand import (
    Interrupted,
    ObjectLayout,
    StandLost,
    StepSample,
    TrialAborted,
)

STEPS = 4
LAYOUT = ObjectLayout((0.5, 0.0, 0.02), 0.0, (0.6, 0.1, 0.0))


class PaperStand:
    """Does what it is told and writes down what it was asked; `breaks` maps a call to an error."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.trial = -1
        self.time = 0.0
        self.step = 0
        self.breaks: dict[tuple[int, str], Exception] = {}
        self.bags: dict[str, dict[str, str]] = {}
        self.open_bag = ""
        self.moving = False
        self.published: list[TrialReport] = []
        self.summaries: list[tuple[Tally, bool]] = []
        self.note = ""
        self.speed = 1.0
        self.loaded: list[tuple[Path | None, str]] = []

    def _do(self, name: str) -> None:
        self.calls.append(name)
        error = self.breaks.get((self.trial, name))
        if error is not None:
            raise error

    def now(self) -> float:
        return self.time

    def wait_until_ready(self) -> None:
        self.trial += 1
        self._do("ready")

    def prepare_policy(self, checkpoint: Path | None = None, label: str = "") -> None:
        self._do("prepare")
        self.loaded.append((checkpoint, label))

    def reset(self, task: str, seed: int, trial: int) -> ObjectLayout:
        self._do("reset")
        return LAYOUT

    def place_objects(self, trial: int, layout: ObjectLayout) -> str:
        self._do("place")
        return ""

    def clear_view(self) -> None:
        assert not self.moving, "the view was cleared while the policy was active"
        self._do("clear")

    def announce(self, trial: int, layout: ObjectLayout) -> None:
        self._do("announce")

    def start_recording(self, folder: Path, custom_data: Mapping[str, str]) -> None:
        self._do("start")
        self.open_bag = str(folder)
        self.bags[self.open_bag] = dict(custom_data)

    def complete_recording(self, folder: Path, custom_data: Mapping[str, str]) -> None:
        self._do("complete")
        self.bags[str(folder)].update(custom_data)

    def stop_recording(self, custom_data: Mapping[str, str]) -> str:
        self._do("stop")
        self.bags[self.open_bag].update(custom_data)
        self.open_bag = ""
        return self.note

    def activate(self) -> None:
        self._do("activate")
        self.moving = True
        self.step = 0

    def deactivate(self) -> None:
        self.moving = False
        self._do("deactivate")

    def next_step(self, timeout: float) -> StepSample:
        self._do(f"step {self.step}")
        sample = StepSample(self.step, surprise=1.0 + self.step, latency=0.03, speed=self.speed)
        self.step += 1
        self.time += 0.1
        return sample

    def settle(self, seconds: float) -> None:
        self._do("settle")

    def publish_result(self, report: TrialReport) -> None:
        self.published.append(report)

    def publish_summary(self, counts: Tally, finished: bool) -> None:
        self.summaries.append((counts, finished))


class PaperJudge:
    """Succeeds unless the trial is in `failures`; is solved at the start of those in `solved`."""

    name = "ground_truth"
    needs_clear_view = True

    def __init__(self, stand: PaperStand) -> None:
        self.stand = stand
        self.failures: set[int] = set()
        self.solved: set[int] = set()
        self.blind: set[int] = set()

    def already_solved(self) -> bool:
        return self.stand.trial in self.solved

    def judge(self, picture: Path | None = None) -> Verdict:
        assert not self.stand.moving, "judged while the arm was moving"
        if self.stand.trial in self.blind:
            raise JudgeError("no message on robot_twin/ground_truth")
        failed = self.stand.trial in self.failures
        return Verdict(not failed, 0.09 if failed else 0.02)


class Bench:
    """A stand, a judge and an output folder, ready to run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stand = PaperStand()
        self.judge = PaperJudge(self.stand)
        self.lines: list[str] = []

    def run(self, trials: int = 3, *, resume: bool = False, **rules: Any) -> EvaluationEnd:
        identity = EvaluationIdentity("block_push", 7, trials, STEPS, "block_push@abc")
        results = ResultsFolder(self.folder, identity, resume=resume)
        runner = TrialRunner(
            self.stand, self.judge, results, TrialRules(**rules), self.lines.append
        )
        return runner.run()

    def results(self) -> list[dict[str, Any]]:
        return json.loads((self.folder / "results.json").read_text())["results"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "out")


def _outcomes(end: EvaluationEnd) -> list[str]:
    return [str(report.outcome) for report in end.reports]


def test_a_trial_goes_through_its_stages_in_order(bench: Bench) -> None:
    bench.run(trials=1)

    steps = [f"step {i}" for i in range(STEPS)]
    assert bench.stand.calls == [
        *("ready", "prepare", "reset", "place", "start", "announce", "activate"),
        *steps,
        *("deactivate", "clear", "settle", "stop", "complete"),
    ]


def test_the_arm_stays_where_it_is_for_a_judge_that_needs_no_clear_view(bench: Bench) -> None:
    bench.judge.needs_clear_view = False
    bench.run(trials=1)
    assert bench.stand.calls[-4:] == ["deactivate", "settle", "stop", "complete"]


def test_all_trials_judged_is_a_complete_evaluation(bench: Bench) -> None:
    bench.judge.failures = {1}

    end = bench.run()

    assert end.complete
    assert _outcomes(end) == ["success", "failure", "success"]
    assert end.reports[1].final_distance == 0.09
    assert end.reports[0].steps == STEPS
    assert end.reports[0].mean_surprise == 2.5
    assert end.reports[0].p99_latency == pytest.approx(0.03)
    assert bench.stand.summaries[-1] == (Tally(3, 2, 1, 0), True)
    assert bench.stand.published == list(end.reports)


@pytest.mark.parametrize(
    ("speed", "note"),
    [(1.0, ""), (0.5, "at 50% of the trained speed"), (0.0, "dry run: the policy moved nothing")],
)
def test_a_trial_that_was_slowed_down_says_so(bench: Bench, speed: float, note: str) -> None:
    bench.stand.speed = speed
    assert bench.run(trials=1).reports[0].note == note


def test_a_blind_comparison_shows_nothing_that_tells_two_policies_apart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(trials=1)
    assert any("surprise" in line and "p99" in line for line in bench.lines)
    bench.folder, bench.lines[:] = bench.folder.with_name("blind"), []
    bench.stand.published.clear()
    monkeypatch.setattr(OnePolicy, "blind", True)
    bench.run(trials=1)
    assert not any("surprise" in line or "p99" in line for line in bench.lines)
    (told,) = bench.stand.published
    assert math.isnan(told.mean_surprise)
    assert math.isnan(told.p99_latency)
    assert bench.results()[0]["mean_surprise"] > 0.0, "the results keep it"


def test_every_bag_says_what_trial_it_is_and_how_it_ended(bench: Bench) -> None:
    bench.run(trials=2)

    folder, data = list(bench.stand.bags.items())[1]
    assert folder.endswith("trial_001_block_push_seed7")
    assert data["task"] == "block_push"
    assert data["trial"] == "1"
    assert data["seed"] == "7"
    assert data["checkpoint"] == "block_push@abc"
    assert data["outcome"] == "success"
    assert data["steps"] == str(STEPS)
    assert data["final_distance"] == "0.020000"
    assert data["reason"] == ""


BREAKS = [
    ("reset", TrialAborted("reset refused: enable the arm")),
    ("start", TrialAborted("recorder: only 3 MiB are free")),
    ("activate", TrialAborted("twist_policy_node refused to be activated")),
    ("step 2", TrialAborted("policy stopped: the camera froze")),
    ("deactivate", TrialAborted("change_state did not answer")),
    ("stop", TrialAborted("recorder: disk full while recording")),
]


@pytest.mark.parametrize(("call", "error"), BREAKS, ids=[call for call, _ in BREAKS])
def test_whatever_breaks_aborts_its_trial_with_the_reason_and_the_next_one_runs(
    bench: Bench, call: str, error: Exception
) -> None:
    bench.stand.breaks = {(1, call): error}

    end = bench.run()

    assert _outcomes(end) == ["success", "aborted", "success"]
    assert str(error) in end.reports[1].reason
    assert not end.complete
    assert not end.reason
    assert any(str(error) in line for line in bench.lines)


@pytest.mark.parametrize("call", ["activate", "step 0", "step 3", "settle"])
def test_after_a_break_the_arm_is_stopped_and_the_bag_is_closed(bench: Bench, call: str) -> None:
    bench.stand.breaks = {(0, call): TrialAborted("broken")}

    bench.run(trials=1)

    calls = bench.stand.calls[bench.stand.calls.index(call) :] if call != "settle" else []
    assert not bench.stand.moving
    assert not bench.stand.open_bag
    if calls:
        assert calls[1:] == ["deactivate", "stop"]
    (data,) = bench.stand.bags.values()
    assert data["outcome"] == "aborted"
    assert data["reason"] == "broken"


def test_even_a_programming_error_stops_the_arm(bench: Bench) -> None:
    bench.stand.breaks = {(0, "step 1"): ZeroDivisionError()}

    with pytest.raises(ZeroDivisionError):
        bench.run(trials=1)

    assert not bench.stand.moving


def test_trial_that_is_solved_at_the_start_is_no_success(bench: Bench) -> None:
    bench.judge.solved = {0}

    end = bench.run(trials=2)

    assert _outcomes(end) == ["aborted", "success"]
    assert "already at the start" in end.reports[0].reason
    assert bench.stand.calls.count("activate") == 1


def test_nobody_is_asked_while_the_bag_is_open_or_when_it_is_broken(bench: Bench) -> None:
    asked: list[str] = []
    judge = bench.judge.judge

    def look(picture: Path | None = None) -> Verdict:
        asked.append(bench.stand.open_bag)
        return judge(picture)

    bench.judge.judge = look  # type: ignore[method-assign]
    bench.stand.breaks = {(1, "stop"): TrialAborted("recorder: disk full while recording")}
    end = bench.run(trials=2)

    assert asked == [""]
    assert _outcomes(end) == ["success", "aborted"]
    # The bag says what the result says.
    assert [data["outcome"] for data in bench.stand.bags.values()] == ["success", "aborted"]


def test_an_interrupt_while_the_bag_is_closed_asks_the_recorder_no_second_time(
    bench: Bench,
) -> None:
    bench.stand.breaks = {(0, "stop"): Interrupted()}
    end = bench.run(trials=2)
    assert end.interrupted
    assert bench.stand.calls.count("stop") == 1
    assert end.reports[0].note == ""
    (data,) = bench.stand.bags.values()
    assert data["outcome"] == "aborted"


def test_a_bag_that_cannot_be_completed_keeps_its_result_with_a_note(bench: Bench) -> None:
    bench.stand.breaks = {(0, "complete"): TrialAborted("the bag does not tell how it ended")}
    end = bench.run(trials=1)
    assert end.complete
    assert end.reports[0].note == "the bag does not tell how it ended"


def test_trial_that_nobody_could_judge_is_aborted(bench: Bench) -> None:
    bench.judge.blind = {0}

    end = bench.run(trials=1)

    assert _outcomes(end) == ["aborted"]
    assert "ground_truth" in end.reports[0].reason
    assert end.reports[0].judge == ""


def test_aborted_trials_in_a_row_end_the_evaluation(bench: Bench) -> None:
    for trial in (1, 2, 3):
        bench.stand.breaks[trial, "reset"] = TrialAborted("refused")

    end = bench.run(trials=10)

    assert _outcomes(end) == ["success", "aborted", "aborted", "aborted"]
    assert end.reason == "3 trials in a row were aborted"
    assert not end.complete


def test_aborts_with_judged_trials_between_do_not_end_the_evaluation(bench: Bench) -> None:
    for trial in (0, 1, 3, 4):
        bench.stand.breaks[trial, "reset"] = TrialAborted("refused")

    end = bench.run(trials=6)

    assert not end.reason
    assert end.counts == Tally(6, 2, 0, 4)


@pytest.mark.parametrize("call", ["ready", "prepare", "step 1"])
def test_lost_part_ends_the_evaluation_at_once(bench: Bench, call: str) -> None:
    bench.stand.breaks = {(1, call): StandLost("no answer from recorder")}

    end = bench.run(trials=5)

    assert end.reason == "no answer from recorder"
    assert end.counts.successes == 1
    assert not bench.stand.moving
    assert bench.stand.summaries[-1][1]


@pytest.mark.parametrize("call", ["ready", "reset", "start", "step 2", "settle"])
def test_interrupt_stops_the_arm_keeps_results_and_is_told(bench: Bench, call: str) -> None:
    bench.stand.breaks = {(1, call): Interrupted()}

    end = bench.run(trials=3)

    assert end.interrupted
    assert not end.complete
    assert not bench.stand.moving
    assert not bench.stand.open_bag
    assert bench.results()[0]["outcome"] == "success"
    if call != "ready":
        assert end.reports[1].reason == "interrupted by a person"


@pytest.mark.parametrize("call", ["deactivate", "stop"])
def test_interrupt_while_a_faulted_trial_is_ended_lets_no_other_trial_follow(
    bench: Bench, call: str
) -> None:
    bench.stand.breaks = {(0, "step 1"): TrialAborted("camera frozen"), (0, call): Interrupted()}

    end = bench.run(trials=3)

    assert end.interrupted
    assert bench.stand.calls.count("activate") == 1
    assert bench.stand.calls.count("deactivate") == (2 if call == "deactivate" else 1)
    assert not bench.stand.moving
    assert _outcomes(end) == ["aborted"]
    assert end.reports[0].reason.startswith("camera frozen")


def test_interrupt_after_the_judgement_keeps_it_and_lets_no_other_trial_follow(
    bench: Bench,
) -> None:
    bench.stand.breaks = {(0, "complete"): Interrupted()}

    end = bench.run(trials=3)

    assert end.interrupted
    assert bench.stand.calls.count("activate") == 1
    assert _outcomes(end) == ["success"]


def test_results_are_on_the_disk_after_every_trial(bench: Bench) -> None:
    seen: list[int] = []
    publish = bench.stand.publish_result

    def look(report: TrialReport) -> None:
        seen.append(len(bench.results()))
        publish(report)

    bench.stand.publish_result = look  # type: ignore[method-assign]
    bench.run()

    assert seen == [1, 2, 3]
    table = (bench.folder / "results.csv").read_text().splitlines()
    assert table[0].startswith("trial,outcome,reason,final_distance")
    assert len(table) == 4
    assert not list(bench.folder.glob(".*"))


def test_results_that_cannot_be_written_end_the_evaluation_with_cause_and_cure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("twist_evaluation.results.os.replace", full)

    end = bench.run()

    assert not end.complete
    assert "No space left on device" in end.reason
    assert "free space" in end.reason
    assert len(bench.stand.bags) == 1
    assert not bench.stand.moving
    assert not bench.stand.open_bag


def test_without_recording_the_recorder_is_left_alone(bench: Bench) -> None:
    end = bench.run(trials=1, record=False)

    assert end.complete
    assert not {"start", "stop"} & set(bench.stand.calls)
    assert end.reports[0].bag == ""


def test_finished_results_are_not_overwritten_without_resume(bench: Bench) -> None:
    bench.run()
    with pytest.raises(ResultsError, match="resume:=true"):
        bench.run()


def test_resume_runs_what_was_aborted_or_is_missing_and_nothing_else(bench: Bench) -> None:
    bench.stand.breaks = {(1, "step 1"): TrialAborted("broken")}
    bench.run(trials=3)
    (bench.folder / "trial_001_block_push_seed7").mkdir()  # the aborted trial's bag
    again = Bench(bench.folder)

    end = again.run(trials=4, resume=True)

    assert again.stand.calls.count("activate") == 2
    assert _outcomes(end) == ["success"] * 4
    assert end.complete
    assert next(iter(again.stand.bags)).endswith("trial_001_block_push_seed7_attempt2")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda text: text.replace('"seed": 7', '"seed": 8'), "seed: 8 there, 7 asked"),
        (lambda text: text[: len(text) // 2], "cannot be read"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 9'), "version 9"),
    ],
)
def test_results_that_do_not_fit_are_not_continued(
    bench: Bench, damage: Callable[[str], str], expected: str
) -> None:
    bench.run()
    path = bench.folder / "results.json"
    path.write_text(damage(path.read_text()))

    with pytest.raises(ResultsError, match=expected):
        bench.run(resume=True)


def test_progress_line_tells_the_trial_at_a_glance(bench: Bench) -> None:
    bench.judge.failures = {1}
    bench.run(trials=2)

    assert bench.lines[0] == (
        "trial 1/2  SUCCESS    2.0 cm     4 steps    0.4 s  surprise  2.5  p99  30 ms   so far 1/1"
    )
    assert "FAILURE    9.0 cm" in bench.lines[1]


def test_note_about_dropped_messages_reaches_the_person(bench: Bench) -> None:
    bench.stand.note = "12 messages were dropped"
    end = bench.run(trials=1)

    assert end.complete
    assert "12 messages were dropped" in bench.lines[0]
    assert bench.results()[0]["note"] == "12 messages were dropped"


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


def _ground_truth_judge(latest: Callable[[], WorldState | None], clock: Clock) -> GroundTruthJudge:
    return GroundTruthJudge(latest, clock, maximum_age=0.5, timeout=1.0, wait=clock.wait)


def test_judge_waits_for_a_state_from_after_the_question() -> None:
    clock = Clock()

    def latest() -> WorldState:
        moved = clock.time > 100.2
        return WorldState(clock.time if moved else 99.9, 0.01 if moved else 0.2, moved)

    assert _ground_truth_judge(latest, clock).judge() == Verdict(True, 0.01)


@pytest.mark.parametrize("state", [None, WorldState(98.0, 0.01, True)])
def test_judge_refuses_to_judge_by_nothing_or_by_an_old_state(state: WorldState | None) -> None:
    with pytest.raises(JudgeError, match="twin"):
        _ground_truth_judge(lambda: state, Clock()).judge()
