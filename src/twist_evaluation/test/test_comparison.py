"""Two policies compared: blind until the report, nothing dropped, the right statistics."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from twist_evaluation.blind_comparison import (
    SEALED_FILE,
    BlindPlan,
    Candidate,
    SealedComparison,
    read_sealed,
    write_sealed,
)
from twist_evaluation.campaign import Campaign, comparable, parse_seeds, plan_campaign
from twist_evaluation.comparison import compare_blind, compare_folders, lines, main
from twist_evaluation.evaluation_setup import (
    EvaluationSetup,
    SetupError,
    evaluation_setup,
    read_manifest,
)
from twist_evaluation.report_evidence import read_evidence
from twist_evaluation.results import (
    EvaluationIdentity,
    Outcome,
    ResultsError,
    ResultsFolder,
    TrialReport,
    read_all_results,
)
from twist_evaluation.trial_stand import StandLost

S, F, A, N = Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORTED, Outcome.NOT_JUDGED


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
    from twist_sim.task_card import load_task_card

    contract = load_task_card("block_push").contract(observes_ee_position=False)
    folder = tmp_path_factory.mktemp("checkpoints")
    write_synthetic_checkpoint(folder / "policy_a", contract, behaviour="hold")
    write_synthetic_checkpoint(folder / "policy_b", contract, behaviour="forward")
    return folder / "policy_a", folder / "policy_b"


@pytest.fixture
def setup(checkpoints: tuple[Path, Path]) -> EvaluationSetup:
    return evaluation_setup("block_push", checkpoints[0], 7)


def finish(
    folder: Path, sealed: SealedComparison, outcomes: dict[int, list[tuple[Outcome, Outcome]]]
) -> None:
    """Runs a comparison on paper; outcomes are (first, second checkpoint) per seed and trial."""
    for seed, pairs in outcomes.items():
        identity = EvaluationIdentity("block_push", seed, 2 * len(pairs), 7, sealed.seal)
        inside = folder if len(outcomes) == 1 else folder / f"seed{seed}"
        results = ResultsFolder(inside, identity, resume=True)
        for number in range(2 * len(pairs)):
            outcome = pairs[number // 2][sealed.candidate(seed, number)]
            results.add(TrialReport(number, outcome, final_distance=0.03))


def two(checkpoints: tuple[Path, Path]) -> tuple[Candidate, Candidate]:
    one, other = (Candidate(str(path), read_manifest(path)[1]) for path in checkpoints)
    return one, other


def test_each_checkpoint_leads_half_of_the_trials_in_an_order_that_a_seed_repeats(
    checkpoints: tuple[Path, Path],
) -> None:
    draw = SealedComparison.draw
    sealed = draw(two(checkpoints), (1, 2), 20, 5)
    for seed in (1, 2):
        assert sum(sealed.orders[seed]) == 10
        # Both checkpoints run on each layout.
        for trial in range(20):
            ran = {sealed.candidate(seed, 2 * trial), sealed.candidate(seed, 2 * trial + 1)}
            assert ran == {0, 1}
    assert draw(two(checkpoints), (1, 2), 20, 5).orders == sealed.orders
    assert draw(two(checkpoints), (1, 2), 20, 6).orders != sealed.orders
    assert draw(two(checkpoints), (1,), 64).orders != draw(two(checkpoints), (1,), 64).orders


def test_nothing_that_is_seen_before_the_report_tells_which_checkpoint_ran(
    checkpoints: tuple[Path, Path], setup: EvaluationSetup, tmp_path: Path
) -> None:
    campaign = plan_campaign(tmp_path, setup, (1,), 4, resume=False, compare=checkpoints)
    stage = campaign.stages[0]
    labels = []
    for number in range(8):
        run = stage.plan.run(number)
        assert run.layout_trial == number // 2
        assert run.checkpoint is not None
        assert run.checkpoint.resolve() in [path.resolve() for path in checkpoints]
        labels += [run.checkpoint_label, run.checkpoint.name, stage.identity.checkpoint]
    text = (tmp_path / SEALED_FILE).read_text() + " ".join(labels)
    for path, candidate in zip(checkpoints, campaign.sealed.candidates, strict=True):  # type: ignore[union-attr]
        assert path.name not in text
        assert candidate.identity.partition("@")[2] not in text
    assert stage.identity.trials == 8


def test_the_report_opens_the_seal_and_notices_that_it_was_changed(
    checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    sealed = SealedComparison.draw(two(checkpoints), (1,), 3)
    path = tmp_path / SEALED_FILE
    write_sealed(sealed, path)
    assert read_sealed(path) == sealed

    other = SealedComparison.draw(two(checkpoints), (1,), 3)
    document = json.loads(path.read_text())
    swapped = SealedComparison((sealed.candidates[1], sealed.candidates[0]), sealed.orders, "")
    write_sealed(swapped, tmp_path / "swapped.json")
    document["sealed"] = json.loads((tmp_path / "swapped.json").read_text())["sealed"]
    path.write_text(json.dumps(document))
    with pytest.raises(ResultsError, match="changed after it was sealed"):
        read_sealed(path)
    path.write_text("{}")
    with pytest.raises(ResultsError, match="cannot be read"):
        read_sealed(path)

    # A mapping that was replaced as a whole does not fit the results.
    finish(tmp_path, sealed, {1: [(S, F)] * 3})
    write_sealed(other, path)
    with pytest.raises(ResultsError, match="do not belong together"):
        compare_blind(tmp_path)


def test_the_seal_stays_closed_until_every_run_is_made(
    checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = SealedComparison.draw(two(checkpoints), (1,), 3)
    write_sealed(sealed, tmp_path / SEALED_FILE)
    finish(tmp_path, sealed, {1: [(S, F)] * 2})
    assert main([str(tmp_path)]) == 2
    assert "stays sealed" in capsys.readouterr().err


def test_a_seed_that_was_not_begun_is_still_to_be_made(
    checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    sealed = SealedComparison.draw(two(checkpoints), (1, 2), 1)
    write_sealed(sealed, tmp_path / SEALED_FILE)
    identity = EvaluationIdentity("block_push", 1, 2, 7, sealed.seal)
    results = ResultsFolder(tmp_path / "seed1", identity, resume=False)
    for number in range(2):
        results.add(TrialReport(number, S))
    with pytest.raises(ResultsError, match="2 of 2 runs of seed 2 are still to be made"):
        compare_blind(tmp_path)


def test_the_seal_stays_closed_while_runs_may_be_repeated_unless_nobody_will(
    checkpoints: tuple[Path, Path],
    setup: EvaluationSetup,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    campaign = plan_campaign(tmp_path, setup, (1,), 2, resume=False, compare=checkpoints)
    assert campaign.sealed is not None
    finish(tmp_path, campaign.sealed, {1: [(S, A), (N, S)]})
    assert read_evidence(tmp_path).comparison is None  # the report opens nothing by itself
    assert main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "2 runs were aborted or not judged" in told
    assert "--as-it-is" in told
    plan_campaign(tmp_path, setup, (1,), 2, resume=True, compare=checkpoints)

    assert main(["--as-it-is", str(tmp_path)]) == 0
    assert read_evidence(tmp_path).comparison is not None
    with pytest.raises(ResultsError, match="would not be blind"):
        plan_campaign(tmp_path, setup, (1,), 2, resume=True, compare=checkpoints)


def test_pairs_are_counted_and_tested_and_discordant_ones_listed(
    checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = SealedComparison.draw(two(checkpoints), (1, 2), 6)
    write_sealed(sealed, tmp_path / SEALED_FILE)
    finish(
        tmp_path,
        sealed,
        {1: [(S, S), (S, F), (S, F), (S, F), (F, S), (F, F)], 2: [(S, A)] * 4 + [(S, N), (A, F)]},
    )
    comparison = compare_blind(tmp_path, as_it_is=True)

    assert comparison.table == (1, 7, 1, 2)
    # scipy.stats.binomtest(1, 8).pvalue and binomtest(1, 4).pvalue
    assert comparison.p_value == pytest.approx(0.0703125)
    assert comparison.p_value_without_aborts == pytest.approx(0.625)
    assert comparison.rates[0].estimate == pytest.approx(8 / 11)
    assert comparison.difference.estimate == pytest.approx(6 / 11)
    assert [(pair.seed, pair.trial) for pair in comparison.discordant] == [
        *((1, trial) for trial in (1, 2, 3, 4)),
        *((2, trial) for trial in (0, 1, 2, 3)),
    ]
    assert [(pair.seed, pair.trial) for pair in comparison.left_out] == [(2, 4)]
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert told == "\n".join(lines(comparison)) + "\n"
    for part in ("policy_a", "p = 0.0703", "only A 7   only B 1", "seed 2 trial 5: A success"):
        assert part in told


def test_evaluations_made_one_after_the_other_are_paired_by_layout(tmp_path: Path) -> None:
    folders = []
    for name, outcomes in (("one", [S, S, F]), ("two", [S, F, F])):
        folders.append(tmp_path / name)
        identity = EvaluationIdentity("block_push", 4, 3, 150, f"block_push@{name}")
        results = ResultsFolder(folders[-1], identity, resume=False)
        for trial, outcome in enumerate(outcomes):
            results.add(TrialReport(trial, outcome))
    comparison = compare_folders((folders[0], folders[1]))
    assert comparison.table == (1, 1, 0, 1)
    assert comparison.names == ("block_push@one", "block_push@two")

    ResultsFolder(
        tmp_path / "longer", EvaluationIdentity("block_push", 4, 3, 75, "x"), resume=False
    ).add(TrialReport(0, S))
    with pytest.raises(ResultsError, match="episode_steps is 150 in"):
        compare_folders((folders[0], tmp_path / "longer"))
    with pytest.raises(ResultsError, match=r"holds no results\.json"):
        compare_folders((folders[0], tmp_path))
    nobody = ResultsFolder(
        tmp_path / "nobody", EvaluationIdentity("block_push", 4, 3, 150, "y"), resume=False
    )
    nobody.add(TrialReport(0, N, "not judged: no console"))
    with pytest.raises(ResultsError, match="no trial was judged in both"):
        compare_folders((folders[0], tmp_path / "nobody"))


def test_evaluations_under_other_conditions_are_compared_with_a_warning(tmp_path: Path) -> None:
    def told(**conditions: str) -> str:
        for name, text in conditions.items():
            identity = EvaluationIdentity("block_push", 4, 1, 150, name, text)
            ResultsFolder(tmp_path / name, identity, resume=False).add(TrialReport(0, S))
        one, other = (tmp_path / name for name in conditions)
        return "\n".join(lines(compare_folders((one, other))))

    same = told(one="robot=fr3 speed=0.1", other="robot=fr3 speed=0.1")
    assert "WARNING" not in same
    differing = told(slow="robot=fr3 speed=0.1", twin="robot=sim speed=1")
    assert "WARNING" in differing
    assert "A: robot=fr3 speed=0.1" in differing
    assert "B: robot=sim speed=1" in differing
    assert "B: not told" in told(known="robot=fr3", older="")
    assert "WARNING" not in told(old="", older_still="")


def test_a_folder_that_is_no_blind_comparison_is_named_for_what_it_is(
    checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*folders: Path) -> str:
        assert main([str(folder) for folder in folders]) == 2
        return capsys.readouterr().err

    missing, empty, ordinary = tmp_path / "mistyped", tmp_path / "empty", tmp_path / "ordinary"
    empty.mkdir()
    identity = EvaluationIdentity("block_push", 4, 1, 150, "block_push@x")
    ResultsFolder(ordinary / "seed4", identity, resume=False).add(TrialReport(0, S))
    for folders in ((missing,), (ordinary, missing)):
        assert f"{missing} does not exist" in told(*folders)
    assert "holds no results.json" in told(empty)
    assert "is no blind comparison" in told(ordinary)
    assert f"`twist-compare {ordinary} OTHER_FOLDER`" in told(ordinary)

    # Of a comparison that has lost its seal, that is what has to be said.
    sealed = SealedComparison.draw(two(checkpoints), (1,), 2)
    finish(tmp_path / "blind", sealed, {1: [(S, F)] * 2})
    assert "Without it nobody can say which checkpoint ran when" in told(tmp_path / "blind")


def test_attempts_that_are_run_again_stay_in_the_results(tmp_path: Path) -> None:
    identity = EvaluationIdentity("block_push", 1, 2, 150, "x")
    results = ResultsFolder(tmp_path, identity, resume=False)
    results.add(TrialReport(0, A, "the camera froze"))
    results.add(TrialReport(1, N, "not judged: no console"))
    again = ResultsFolder(tmp_path, identity, resume=True)
    assert again.open_trials() == [0, 1]
    again.add(TrialReport(0, A, "the camera froze again"))
    again.add(TrialReport(0, S))
    again.add(TrialReport(1, F))

    _, reports, superseded = read_all_results(tmp_path / "results.json")
    assert [(r.trial, r.outcome, r.attempt) for r in reports] == [(0, S, 3), (1, F, 2)]
    assert [r.reason for r in superseded] == [
        "the camera froze",
        "the camera froze again",
        "not judged: no console",
    ]
    assert json.loads((tmp_path / "results.json").read_text())["summary"]["attempts_run_again"] == 3


def test_what_cannot_be_compared_is_refused(
    checkpoints: tuple[Path, Path], setup: EvaluationSetup, tmp_path: Path
) -> None:
    first, second = checkpoints
    with pytest.raises(SetupError, match="are the same checkpoint"):
        comparable((first, first), setup)
    with pytest.raises(SetupError, match="cannot be read"):
        comparable((first, tmp_path), setup)
    shorter = tmp_path / "shorter"
    shorter.mkdir()
    manifest = json.loads((second / "manifest.json").read_text())
    manifest["contract"]["episode_steps"] = 3
    (shorter / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SetupError, match="their episode_steps differs"):
        comparable((first, shorter), setup)


def test_a_comparison_is_resumed_with_its_own_order_or_refused(
    checkpoints: tuple[Path, Path], setup: EvaluationSetup, tmp_path: Path
) -> None:
    first = plan_campaign(tmp_path, setup, (1, 2), 4, resume=False, compare=checkpoints)
    assert [stage.results.folder.name for stage in first.stages] == ["seed1", "seed2"]
    again = plan_campaign(tmp_path, setup, (1, 2), 4, resume=True, compare=checkpoints)
    assert again.sealed == first.sealed
    with pytest.raises(ResultsError, match="holds a comparison already"):
        plan_campaign(tmp_path, setup, (1, 2), 4, resume=False, compare=checkpoints)
    with pytest.raises(ResultsError, match="seals another comparison"):
        plan_campaign(tmp_path, setup, (1, 2), 5, resume=True, compare=checkpoints)
    with pytest.raises(ResultsError, match="seals another comparison"):
        plan_campaign(tmp_path, setup, (1, 2), 4, resume=True, compare=checkpoints[::-1])


def _retrain(folder: Path) -> None:
    """Another checkpoint in the same folder."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["training"]["again"] = True
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_resumed_comparison_runs_the_checkpoints_that_were_sealed(
    checkpoints: tuple[Path, Path], setup: EvaluationSetup, tmp_path: Path
) -> None:
    def plan(second: Path, resume: bool) -> Campaign:
        compare = (checkpoints[0], second)
        return plan_campaign(tmp_path / "out", setup, (1,), 4, resume=resume, compare=compare)

    trained, kept = tmp_path / "trained", tmp_path / "kept"
    shutil.copytree(checkpoints[1], trained)
    plan(trained, resume=False)
    shutil.copytree(trained, kept)
    _retrain(trained)
    with pytest.raises(ResultsError, match="seals another comparison"):
        plan(trained, resume=True)

    campaign = plan(kept, resume=True)
    assert campaign.sealed is not None
    for number in range(8):
        run = campaign.stages[0].plan.run(number)
        sealed = campaign.sealed.candidates[campaign.sealed.candidate(1, number)]
        assert run.checkpoint is not None
        assert read_manifest(run.checkpoint)[1] == sealed.identity


def test_a_checkpoint_that_is_changed_while_it_is_compared_ends_the_comparison(
    checkpoints: tuple[Path, Path], setup: EvaluationSetup, tmp_path: Path
) -> None:
    shutil.copytree(checkpoints[1], tmp_path / "trained")
    compare = (checkpoints[0], tmp_path / "trained")
    campaign = plan_campaign(tmp_path / "out", setup, (1,), 4, resume=False, compare=compare)
    assert campaign.sealed is not None
    changed = [number for number in range(8) if campaign.sealed.candidate(1, number) == 1]
    _retrain(tmp_path / "trained")
    for number in changed:
        with pytest.raises(StandLost, match="was changed after it was sealed") as raised:
            campaign.stages[0].plan.run(number)
        assert "trained" not in str(raised.value), "it stays blind"


def test_a_refused_comparison_leaves_the_evaluation_that_is_there_as_it_was(
    checkpoints: tuple[Path, Path], setup: EvaluationSetup, tmp_path: Path
) -> None:
    def plan(resume: bool, compare: tuple[Path, Path] | None = None) -> Campaign:
        return plan_campaign(tmp_path, setup, (1,), 2, resume=resume, compare=compare)

    plan(resume=False).stages[0].results.add(TrialReport(0, S))
    for resume in (False, True):
        with pytest.raises(ResultsError):
            plan(resume, checkpoints)
        assert not (tmp_path / SEALED_FILE).exists()
    assert plan(resume=True).stages[0].results.open_trials() == [1]


def test_a_folder_that_cannot_be_made_is_refused_with_cause_and_cure(
    setup: EvaluationSetup, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot be made .*choose another output folder"):
        plan_campaign(tmp_path / "file" / "out", setup, (1,), 2, resume=False)


def test_a_folder_holds_one_evaluation(
    checkpoints: tuple[Path, Path], setup: EvaluationSetup, tmp_path: Path
) -> None:
    def plan(folder: str, *seeds: int, resume: bool = True, **more: object) -> Campaign:
        return plan_campaign(tmp_path / folder, setup, seeds, 2, resume=resume, **more)  # type: ignore[arg-type]

    def begin(folder: str, *seeds: int, **more: object) -> None:
        for stage in plan(folder, *seeds, resume=False, **more).stages:
            stage.results.add(TrialReport(0, S))

    begin("several", 1, 2)
    plan("several", 1, 2)
    plan("several", 1, 2, 3)
    for seeds in ((1,), (1, 3), (3,)):
        for resume in (True, False):
            with pytest.raises(ResultsError, match="continue with seeds:=1,2"):
                plan("several", *seeds, resume=resume)
    begin("one", 1)
    with pytest.raises(ResultsError, match="an evaluation of one seed"):
        plan("one", 1, 2)
    begin("blind", 1, compare=checkpoints)
    with pytest.raises(ResultsError, match="a blind comparison: continue it with compare_with"):
        plan("blind", 1)


def test_trials_of_other_conditions_do_not_mix(setup: EvaluationSetup, tmp_path: Path) -> None:
    def plan(conditions: str, resume: bool = True) -> Campaign:
        return plan_campaign(tmp_path, setup, (1,), 2, resume=resume, conditions=conditions)

    plan("robot=fr3 speed=0.1", resume=False).stages[0].results.add(TrialReport(0, S))
    plan("robot=fr3 speed=0.1")
    untold = plan("").stages[0]
    untold.results.add(TrialReport(1, F))
    assert untold.identity.conditions == "robot=fr3 speed=0.1", "what is known is not forgotten"
    with pytest.raises(ResultsError, match=r"conditions: speed=0\.1 there, speed=1 asked"):
        plan("robot=fr3 speed=1")
    file = tmp_path / "results.json"
    old = json.loads(file.read_text())
    del old["conditions"]  # of an earlier version
    file.write_text(json.dumps(old))
    plan("robot=fr3 speed=1")


def test_links_that_tell_nothing_are_removed_at_the_end(
    checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    sealed = SealedComparison.draw(two(checkpoints), (1,), 2)
    plan = BlindPlan(sealed, checkpoints, 1, tmp_path / ".blind")
    for number in (0, 1, 1):
        plan.run(number)
    assert sorted(os.listdir(tmp_path / ".blind")) == ["run_000", "run_001"]
    plan.clear()
    assert not os.listdir(tmp_path / ".blind")


def test_seeds_are_different_whole_numbers() -> None:
    assert parse_seeds("", 3) == (3,)
    assert parse_seeds("1,2, 5", 0) == (1, 2, 5)
    for wrong in ("1,1", "a", "-1", "1,,2", "1.5"):
        with pytest.raises(SetupError, match="seeds:=1,2,3"):
            parse_seeds(wrong, 0)
