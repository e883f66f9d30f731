"""An evaluation over several seeds, of one policy or of two compared blindly. No ROS in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twist_evaluation.blind_comparison import (
    OPENED_FILE,
    SEALED_FILE,
    BlindPlan,
    Candidate,
    SealedComparison,
    read_sealed,
    write_sealed,
)
from twist_evaluation.evaluation_setup import EvaluationSetup, SetupError, read_manifest
from twist_evaluation.results import (
    RESULTS_FILE,
    EvaluationIdentity,
    ResultsError,
    ResultsFolder,
    tally,
)
from twist_evaluation.trial_plan import OnePolicy, TrialPlan
from twist_evaluation.trial_runner import EvaluationEnd


@dataclass(frozen=True)
class Stage:
    """The runs of one seed.

    Attributes:
        identity: of the evaluation.
        results: its folder.
        plan: what each run is.
    """

    identity: EvaluationIdentity
    results: ResultsFolder
    plan: TrialPlan


@dataclass(frozen=True)
class Campaign:
    """What is to be run.

    Attributes:
        output: folder of everything.
        stages: one per seed.
        sealed: the comparison, where two checkpoints are compared.
    """

    output: Path
    stages: tuple[Stage, ...]
    sealed: SealedComparison | None

    def run(self, run_stage: Callable[[Stage], EvaluationEnd]) -> EvaluationEnd:
        """Runs stage after stage; what ends one early ends all.

        Stages that are not reached count with the results they had before.
        """
        ends = []
        for stage in self.stages:
            ends.append(run_stage(stage))
            if ends[-1].reason or ends[-1].interrupted:
                break
        for stage in self.stages:
            if isinstance(stage.plan, BlindPlan):
                stage.plan.clear()
        reports = tuple(report for stage in self.stages for report in stage.results.reports)
        counts = tally(sum(stage.identity.trials for stage in self.stages), reports)
        return EvaluationEnd(counts, reports, ends[-1].reason, ends[-1].interrupted)


def parse_seeds(text: str, seed: int) -> tuple[int, ...]:
    """The seeds in ``1,2,3``; `seed` alone where the text is empty.

    Raises:
        SetupError: one is no whole number, negative, or there twice.
    """
    if not text:
        return (seed,)
    words = text.split(",")
    whole = all(word.strip().isdecimal() for word in words)
    seeds = tuple(int(word) for word in words) if whole else ()
    if not whole or len(set(seeds)) < len(seeds):
        raise SetupError(
            f"seeds {text!r} must be different whole numbers, zero or more, with commas between, "
            "e.g. seeds:=1,2,3"
        )
    return seeds


def plan_campaign(
    output: Path,
    setup: EvaluationSetup,
    seeds: Sequence[int],
    trials: int,
    *,
    resume: bool,
    compare: tuple[Path, Path] | None = None,
    shuffle_seed: int | None = None,
    conditions: str = "",
) -> Campaign:
    """Makes the folders; with two checkpoints, seals which runs when.

    Args:
        output: folder; with several seeds each has one of its own in it.
        setup: of task and checkpoint.
        seeds: of the evaluation.
        trials: layouts per seed.
        resume: whether to go on with what is in `output`.
        compare: folders of two checkpoints to compare.
        shuffle_seed: makes the order of a comparison repeatable.
        conditions: see `EvaluationIdentity`.

    Raises:
        SetupError: the checkpoints cannot be compared.
        ResultsError: `output` holds other results, also by other seeds or of a comparison.
    """
    _refuse_another(output, seeds, compare is not None)
    sealed = None
    if compare is not None:
        candidates = comparable(compare, setup)
        sealed = _sealed_before(output, candidates, seeds, trials, resume)
        sealed = sealed or SealedComparison.draw(candidates, seeds, trials, shuffle_seed)
    stages = []
    for seed in seeds:
        identity = EvaluationIdentity(
            setup.task,
            seed,
            trials if sealed is None else 2 * trials,
            setup.episode_steps,
            setup.checkpoint if sealed is None else sealed.seal,
            conditions,
        )
        folder = output if len(seeds) == 1 else output / f"seed{seed}"
        results = ResultsFolder(folder, identity, resume=resume)
        plan: TrialPlan = OnePolicy()
        if sealed is not None and compare is not None:
            plan = BlindPlan(sealed, compare, seed, folder / ".blind")
        stages.append(Stage(results.identity, results, plan))
    if sealed is not None:
        # Last: a comparison that is refused must not seal the folder of another evaluation.
        _seal(sealed, output / SEALED_FILE)
    return Campaign(output, tuple(stages), sealed)


def _refuse_another(output: Path, seeds: Sequence[int], compared: bool) -> None:
    """Two evaluations in one folder would be told as one.

    Raises:
        ResultsError: what is in `output` is of other seeds, or of a comparison where none is asked.
    """
    of_seeds = {path.parent.name: path for path in output.glob(f"seed*/{RESULTS_FILE}")}
    wanted = {f"seed{seed}" for seed in seeds} if len(seeds) > 1 else set()
    there = ""
    if (output / SEALED_FILE).exists() and not compared:
        there = "a blind comparison: continue it with compare_with:=<the second checkpoint>"
    elif wanted and (output / RESULTS_FILE).exists():
        there = "an evaluation of one seed: continue it with seed:=<that seed> and without seeds"
    elif others := sorted(of_seeds.keys() - wanted):
        numbers = ",".join(sorted((name[4:] for name in of_seeds), key=lambda n: (len(n), n)))
        there = f"results of {', '.join(others)}: continue with seeds:={numbers}"
    if there:
        raise ResultsError(f"{output} holds {there}. Or choose another output folder.")


def comparable(folders: tuple[Path, Path], setup: EvaluationSetup) -> tuple[Candidate, Candidate]:
    """The two checkpoints, when a comparison of them says something.

    Raises:
        SetupError: one cannot be read, they are of different tasks, episodes or cameras, or the
            same.
    """
    found = [(folder, *read_manifest(folder)) for folder in folders]
    (_, first, first_identity), (_, second, second_identity) = found
    if first_identity == second_identity:
        raise SetupError(
            f"{folders[0]} and {folders[1]} are the same checkpoint ({first_identity}); give two"
        )
    for name in ("task", "episode_steps", "control_period", "camera"):
        if getattr(first, name) != getattr(second, name):
            raise SetupError(
                f"{folders[0]} and {folders[1]} cannot be compared run by run: their {name} "
                f"differs ({getattr(first, name)} and {getattr(second, name)})"
            )
    if first.task != setup.task:
        raise SetupError(f"the checkpoints are of task {first.task!r}, not {setup.task!r}")
    one, other = (Candidate(str(folder.absolute()), identity) for folder, _, identity in found)
    return one, other


def _sealed_before(
    output: Path,
    candidates: tuple[Candidate, Candidate],
    seeds: Sequence[int],
    trials: int,
    resume: bool,
) -> SealedComparison | None:
    """The comparison that is to be continued; None where there is none yet."""
    path = output / SEALED_FILE
    if not path.exists():
        return None
    if not resume:
        raise ResultsError(
            f"{output} holds a comparison already. Choose another output folder, or set "
            "resume:=true to continue it."
        )
    if (output / OPENED_FILE).exists():
        raise ResultsError(
            f"the comparison in {output} was opened with `twist-compare --as-it-is`: a run "
            "made now would not be blind. Choose another output folder."
        )
    sealed = read_sealed(path)
    same = [one.identity for one in sealed.candidates] == [one.identity for one in candidates]
    planned = {seed: len(order) for seed, order in sealed.orders.items()}
    if not same or planned != dict.fromkeys(seeds, trials):
        raise ResultsError(
            f"{path} seals another comparison: other checkpoints, seeds or number of trials. "
            "Choose another output folder."
        )
    return sealed


def _seal(sealed: SealedComparison, path: Path) -> None:
    """Writes the mapping where it is not there yet."""
    if path.exists():
        return
    try:
        write_sealed(sealed, path)
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be written ({error.strerror or error}); free space or make the folder "
            "writable"
        ) from error
