"""``twist-compare``: two policies on the same layouts, pair by pair.

    twist-compare FOLDER            a blind comparison (checkpoint:=A compare_with:=B)
    twist-compare --as-it-is FOLDER the same with runs that nobody will repeat
    twist-compare FOLDER FOLDER     two evaluations of the same layouts, run one after the other

Prints success rates with Wilson intervals, their difference with Newcombe's interval, the exact
McNemar test, and every pair in which the two differ. Needs no ROS.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twist_evaluation.blind_comparison import (
    OPENED_FILE,
    SEAL_PREFIX,
    SEALED_FILE,
    Candidate,
    read_sealed,
)
from twist_evaluation.results import (
    OPEN,
    RESULTS_FILE,
    EvaluationIdentity,
    Outcome,
    ResultsError,
    TrialReport,
    read_all_results,
)
from twist_policy.statistics import Interval, mcnemar_exact, paired_difference, wilson_interval


@dataclass(frozen=True)
class Pair:
    """Both policies on one layout.

    Attributes:
        seed: of the evaluation.
        trial: 0-based number of the layout.
        first: how the first policy's run ended; None: it was not run.
        second: the second's.
        first_ran_first: whether the first policy had the first of the two runs; None when they
            were not run in turn.
    """

    seed: int
    trial: int
    first: TrialReport | None
    second: TrialReport | None
    first_ran_first: bool | None = None

    @property
    def judged(self) -> bool:
        """Whether somebody said how both runs ended."""
        return _counts(self.first) and _counts(self.second)


@dataclass(frozen=True)
class Comparison:
    """Two policies, pair by pair.

    An aborted run counts as one that did not succeed, as everywhere: what aborts it may be the
    policy's doing. Pairs with a run that nobody judged, or that was never made, are left out of the
    test and listed.

    Attributes:
        names: of the policies.
        pairs: by seed and trial.
        again: attempts that were run again, of both policies.
        conditions: in which the two were not run alike, each pair of them once.
    """

    names: tuple[str, str]
    pairs: tuple[Pair, ...]
    again: int
    conditions: tuple[tuple[str, str], ...] = ()

    def letter(self, seed: int, number: int) -> str:
        """``A`` or ``B``: which policy run `number` of a seed had; empty when that is not known."""
        for pair in self.pairs:
            if (pair.seed, pair.trial) == (seed, number // 2) and pair.first_ran_first is not None:
                return "A" if pair.first_ran_first == (number % 2 == 0) else "B"
        return ""

    @property
    def used(self) -> tuple[Pair, ...]:
        """The pairs that are compared."""
        return tuple(pair for pair in self.pairs if pair.judged)

    @property
    def left_out(self) -> tuple[Pair, ...]:
        """The pairs that are not."""
        return tuple(pair for pair in self.pairs if not pair.judged)

    @property
    def table(self) -> tuple[int, int, int, int]:
        """Pairs in which both, only the first, only the second, and neither succeeded."""
        return _table(self.used)

    @property
    def rates(self) -> tuple[Interval, Interval]:
        """Success rates with Wilson 95 % intervals."""
        both, first, second, _ = self.table
        count = len(self.used)
        return wilson_interval(both + first, count), wilson_interval(both + second, count)

    @property
    def difference(self) -> Interval:
        """How much more often the first succeeds, with Newcombe's 95 % interval."""
        return paired_difference(*self.table)

    @property
    def p_value(self) -> float:
        """Of the exact two-sided McNemar test."""
        _, first, second, _ = self.table
        return mcnemar_exact(first, second)

    @property
    def p_value_without_aborts(self) -> float:
        """The same, without pairs of which a run was aborted."""
        pairs = [
            pair
            for pair in self.used
            if Outcome.ABORTED not in (_outcome(pair.first), _outcome(pair.second))
        ]
        _, first, second, _ = _table(pairs)
        return mcnemar_exact(first, second)

    @property
    def discordant(self) -> tuple[Pair, ...]:
        """The pairs in which the policies differ."""
        return tuple(pair for pair in self.used if _won(pair.first) != _won(pair.second))


def compare_blind(folder: Path, *, as_it_is: bool = False) -> Comparison:
    """Opens the sealed mapping of a blind comparison.

    Args:
        folder: of the comparison.
        as_it_is: also with runs that were aborted or not judged; none can be repeated then.

    Raises:
        ResultsError: something is missing, was changed, or runs are still open: whoever goes on
            with them must not know. Or it is no blind comparison.
    """
    if not (folder / SEALED_FILE).exists():
        _refuse_without_seal(folder)
    sealed = read_sealed(folder / SEALED_FILE)
    pairs, again, repeatable = [], 0, 0
    for seed, order in sealed.orders.items():
        inside = folder if len(sealed.orders) == 1 else folder / f"seed{seed}"
        if not (inside / RESULTS_FILE).exists():
            raise ResultsError(_still_to_be_made(2 * len(order), 2 * len(order), seed))
        identity, reports, superseded = read_all_results(inside / RESULTS_FILE)
        if identity.checkpoint != sealed.seal:
            raise ResultsError(
                f"{inside / RESULTS_FILE} is of {identity.checkpoint}, {folder / SEALED_FILE} of "
                f"{sealed.seal}: they do not belong together"
            )
        by_number = {report.trial: report for report in reports}
        missing = [number for number in range(2 * len(order)) if number not in by_number]
        if missing:
            raise ResultsError(_still_to_be_made(len(missing), 2 * len(order), seed))
        repeatable += sum(report.outcome in OPEN for report in reports)
        again += len(superseded)
        for trial, leading in enumerate(order):
            runs = [by_number.get(2 * trial), by_number.get(2 * trial + 1)]
            first, second = runs if leading == 0 else runs[::-1]
            pairs.append(Pair(seed, trial, first, second, leading == 0))
    if repeatable and not (folder / OPENED_FILE).exists():
        if not as_it_is:
            raise ResultsError(
                f"{repeatable} runs were aborted or not judged: resume:=true makes them again, and "
                "the mapping stays sealed until then. If nobody will, open it with "
                f"`twist-compare --as-it-is {folder}`"
            )
        _mark_as_opened(folder)
    names = (_name(sealed.candidates[0]), _name(sealed.candidates[1]))
    return Comparison(names, tuple(pairs), again)


def _refuse_without_seal(folder: Path) -> None:
    """Lets a comparison pass that has lost its seal, which `read_sealed` tells."""
    identities = [identity for identity, *_ in _evaluations(folder).values()]
    if not any(identity.checkpoint.startswith(SEAL_PREFIX) for identity in identities):
        raise ResultsError(
            f"{folder} is no blind comparison: it holds results, and no {SEALED_FILE}. Compare it "
            f"with another evaluation of the same layouts: `twist-compare {folder} OTHER_FOLDER`"
        )


def _still_to_be_made(missing: int, planned: int, seed: int) -> str:
    return (
        f"{missing} of {planned} runs of seed {seed} are still to be made; the mapping stays "
        "sealed until then. Continue with resume:=true"
    )


def _mark_as_opened(folder: Path) -> None:
    try:
        (folder / OPENED_FILE).touch()
    except OSError as error:
        raise ResultsError(
            f"{folder / OPENED_FILE} cannot be written ({error.strerror or error}); nobody would "
            "know that the mapping is open"
        ) from error


def compare_folders(folders: tuple[Path, Path]) -> Comparison:
    """Pairs the trials of two evaluations by layout.

    Raises:
        ResultsError: one cannot be read, or they are not of the same layouts and episodes.
    """
    read = [_evaluations(folder) for folder in folders]
    if read[0].keys() != read[1].keys():
        raise ResultsError(
            f"{folders[0]} has seeds {sorted(read[0])}, {folders[1]} has {sorted(read[1])}: only "
            "evaluations of the same layouts can be compared in pairs"
        )
    pairs, again, names = [], 0, ("", "")
    conditions: dict[tuple[str, str], None] = {}
    for seed in sorted(read[0]):
        (one, first, before), (other, second, before_too) = read[0][seed], read[1][seed]
        for name in ("task", "episode_steps", "trials"):
            if getattr(one, name) != getattr(other, name):
                raise ResultsError(
                    f"seed {seed}: {name} is {getattr(one, name)} in {folders[0]} and "
                    f"{getattr(other, name)} in {folders[1]}; these are different evaluations"
                )
        if one.conditions != other.conditions:
            conditions[one.conditions or "not told", other.conditions or "not told"] = None
        by_number = ({r.trial: r for r in first}, {r.trial: r for r in second})
        again += len(before) + len(before_too)
        names = (one.checkpoint or str(folders[0]), other.checkpoint or str(folders[1]))
        pairs += [
            Pair(seed, trial, by_number[0].get(trial), by_number[1].get(trial))
            for trial in range(one.trials)
        ]
    comparison = Comparison(names, tuple(pairs), again, tuple(conditions))
    if not comparison.used:
        raise ResultsError(
            f"no trial was judged in both {folders[0]} and {folders[1]}: nothing to compare"
        )
    return comparison


def lines(comparison: Comparison) -> list[str]:
    """The comparison as a person reads it."""
    both, only_first, only_second, neither = comparison.table
    first, second = comparison.rates
    difference = comparison.difference
    count = len(comparison.used)
    told = [f"A  {comparison.names[0]}", f"B  {comparison.names[1]}", ""]
    if comparison.conditions:
        told.append(
            "WARNING  run under different conditions: what differs below may come from these"
        )
        for one, other in comparison.conditions:
            told += [f"  A: {one}", f"  B: {other}"]
        told.append("")
    for letter, rate in (("A", first), ("B", second)):
        successes = round(rate.estimate * count) if count else 0
        told.append(
            f"{letter}  {successes}/{count} = {rate.estimate:.0%}"
            f"   95 % interval {rate.low:.0%} to {rate.high:.0%} (Wilson)"
        )
    told += [
        f"A - B  {difference.estimate:+.0%}   95 % interval {difference.low:+.0%} to "
        f"{difference.high:+.0%} (Newcombe, paired)",
        f"pairs  both {both}   only A {only_first}   only B {only_second}   neither {neither}",
        f"exact McNemar test  p = {comparison.p_value:.3g}"
        f"   (without aborted runs {comparison.p_value_without_aborts:.3g})",
    ]
    if comparison.discordant:
        told += ["", "pairs in which they differ", "  seed  trial  first run  A           B"]
        told += [
            f"  {pair.seed:>4}  {pair.trial + 1:>5}  {_leader(pair):<9}  "
            f"{_cell(pair.first)}  {_cell(pair.second)}"
            for pair in comparison.discordant
        ]
    if comparison.left_out:
        told += ["", f"{len(comparison.left_out)} pairs are left out: not judged, or not run"]
        told += [
            f"  seed {pair.seed} trial {pair.trial + 1}: A {_outcome(pair.first) or 'not run'}, "
            f"B {_outcome(pair.second) or 'not run'}"
            for pair in comparison.left_out
        ]
    if comparison.again:
        told.append(f"attempts run again: {comparison.again}; results.json keeps them")
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``twist-compare``; 0 when there is a comparison, else 2."""
    parser = argparse.ArgumentParser(
        prog="twist-compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", help="one blind comparison, or two folders"
    )
    parser.add_argument(
        "--as-it-is",
        action="store_true",
        help="open a blind comparison although runs were aborted or not judged; no run can be "
        "repeated afterwards",
    )
    options = parser.parse_args(arguments)
    if len(options.folders) > 2:
        parser.error("give one folder of a blind comparison, or two folders of evaluations")
    try:
        if len(options.folders) == 1:
            comparison = compare_blind(options.folders[0], as_it_is=options.as_it_is)
        else:
            comparison = compare_folders((options.folders[0], options.folders[1]))
    except ResultsError as error:
        print(f"twist-compare: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines(comparison)))
    return 0


_Evaluation = tuple[EvaluationIdentity, list[TrialReport], list[TrialReport]]


def _evaluations(folder: Path) -> dict[int, _Evaluation]:
    if not folder.is_dir():
        raise ResultsError(f"{folder} does not exist; give the output folder of an evaluation")
    places = [folder] if (folder / RESULTS_FILE).exists() else sorted(folder.glob("seed*"))
    if not places:
        raise ResultsError(f"{folder} holds no {RESULTS_FILE}; give the output of an evaluation")
    found = [read_all_results(place / RESULTS_FILE) for place in places]
    return {identity.seed: (identity, *rest) for identity, *rest in found}  # type: ignore[misc]


def _table(pairs: Sequence[Pair]) -> tuple[int, int, int, int]:
    won = [(_won(pair.first), _won(pair.second)) for pair in pairs]
    return (
        won.count((True, True)),
        won.count((True, False)),
        won.count((False, True)),
        won.count((False, False)),
    )


def _counts(report: TrialReport | None) -> bool:
    return report is not None and report.outcome is not Outcome.NOT_JUDGED


def _won(report: TrialReport | None) -> bool:
    return report is not None and report.outcome is Outcome.SUCCESS


def _outcome(report: TrialReport | None) -> Outcome | None:
    return report.outcome if report is not None else None


def _leader(pair: Pair) -> str:
    return "" if pair.first_ran_first is None else "A" if pair.first_ran_first else "B"


def _cell(report: TrialReport | None) -> str:
    if report is None:
        return "not run     "
    distance = report.final_distance * 100
    shown = f"{distance:4.1f} cm" if report.outcome not in OPEN and distance == distance else ""
    return f"{report.outcome:<8}{shown:<8}"


def _name(candidate: Candidate) -> str:
    return f"{candidate.identity}  {candidate.folder}"


if __name__ == "__main__":
    sys.exit(main())
