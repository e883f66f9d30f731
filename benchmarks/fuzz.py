"""Fuzzes the policy node: random, malformed and adversarial sequences, judged from outside.

Each sequence is an activation or two of the whole policy node (lifecycle, inputs, watchdogs,
control loop, gate, Servo and gripper client) in virtual time, with camera, robot, Servo, gripper,
networks, clocks and persons that misbehave. The judge knows the promises and nothing of the node:
no command above the bound, outside the box, beyond the leash, not finite, on stale inputs, or after
a stop.

    python benchmarks/fuzz.py [--sequences N] [--seed S] [--jobs J]
    python benchmarks/fuzz.py --seed S --only NUMBER        # one sequence again, with its traceback
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src" / "twist_policy_node" / "test"))

from node_fuzz import Tally, run_sequence

CHUNK = 100
"""Sequences that a worker process takes at a time."""


def run_chunk(work: tuple[int, int, int]) -> Tally:
    """Runs some sequences of a seed: (seed, first, how many)."""
    # Numbers of 1e308 overflow in a norm, and are refused because of it.
    warnings.filterwarnings("ignore", message="overflow encountered", category=RuntimeWarning)
    seed, first, count = work
    tally = Tally()
    for number in range(first, first + count):
        run_sequence(seed, number, tally)
    return tally


def add(total: Tally, part: Tally) -> None:
    """Adds one tally to another."""
    total.sequences += part.sequences
    total.commands += part.commands
    total.motions += part.motions
    total.moved += part.moved
    total.events += part.events
    total.faults += part.faults
    total.violations += part.violations


def table(title: str, counts: Counter[str]) -> None:
    """Prints counts by name, the largest first, in three columns."""
    print(f"\n{title}: {sum(counts.values())}")
    cells = [f"{name:<24}{count:>8}" for name, count in counts.most_common()]
    for row in range(0, len(cells), 3):
        print("  " + "   ".join(cells[row : row + 3]))


def main() -> int:
    """Prints the counts; returns 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sequences", type=int, default=2000, help="how many; default 2000")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same sequences")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default 1")
    parser.add_argument("--only", type=int, help="run this one alone")
    arguments = parser.parse_args()
    if arguments.sequences < 1 or arguments.jobs < 1:
        parser.error("--sequences and --jobs must be at least 1")
    if arguments.only is not None:
        total = run_chunk((arguments.seed, arguments.only, 1))
    else:
        total = Tally()
        started = time.monotonic()
        work = [
            (arguments.seed, first, min(CHUNK, arguments.sequences - first))
            for first in range(0, arguments.sequences, CHUNK)
        ]
        with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
            for done, part in enumerate(pool.imap_unordered(run_chunk, work), 1):
                add(total, part)
                for number, what in part.violations:
                    print(f"sequence {number}: {what}", file=sys.stderr, flush=True)
                if done % 50 == 0:
                    print(f"{total.sequences} sequences", file=sys.stderr, flush=True)
        print(
            f"{total.sequences} sequences of seed {arguments.seed} in "
            f"{time.monotonic() - started:.0f} s, {arguments.jobs} of {os.cpu_count()} cores, load "
            f"average {os.getloadavg()[0]:.1f}"
        )
        print(
            f"{total.moved} moved the arm: {total.commands} commands, {total.motions} of them "
            "motions"
        )
        events: Counter[str] = Counter()
        for name, count in total.events.items():
            if not name.endswith(" good"):
                events[name] += count
        table("things that went wrong", events)
        table("stops, by the node's own code", total.faults)
    print(f"\nbroken promises: {len(total.violations)}")
    for number, what in sorted(total.violations)[:20]:
        print(f"  sequence {number}: {what}")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
