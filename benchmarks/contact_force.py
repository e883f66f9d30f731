"""How hard the arm presses on what it touches, in recorded trials.

The twin tells the force of every contact of arm and tool in ``robot_state``, a Franka driver its
estimate of it. A policy for a real arm has to stay below the profile's ``contact_force_limit``
(25 N in config/robots); the twin holds its positions more stiffly than an arm does, so its forces
are an upper bound.

    python benchmarks/contact_force.py [FOLDER] [--limit N] [--trials N]

Without a folder of recorded bags it runs trials with the shipped checkpoint first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from stamp_to_command import SHIPPED, run_trials

from twist_policy.checkpoint import CheckpointError

STATE_TOPIC = "/robot_state"


def read_forces(bag: Path) -> np.ndarray:
    """Contact force of every robot state in a bag, newtons, (T,).

    Raises:
        AnyReaderError: the bag cannot be read.
    """
    with AnyReader([bag]) as reader:
        wanted = [c for c in reader.connections if c.topic == STATE_TOPIC]
        return np.array(
            [
                reader.deserialize(data, connection.msgtype).contact_force
                for connection, _, data in reader.messages(connections=wanted)
            ]
        )


def report(folder: Path, limit: float) -> int:
    """Prints the table of the bags in `folder`; returns 1 when there is nothing to read."""
    bags = sorted(path.parent for path in folder.rglob("metadata.yaml"))
    try:
        trials = [forces for forces in map(read_forces, bags) if len(forces)]
    except (AnyReaderError, OSError) as error:
        print(f"contact_force: {error}", file=sys.stderr)
        return 1
    if not trials:
        print(
            f"contact_force: no {STATE_TOPIC} in the {len(bags)} bags of {folder}",
            file=sys.stderr,
        )
        return 1
    largest = np.array([forces.max() for forces in trials])
    over = np.array([float(np.mean(forces > limit)) for forces in trials])
    print(f"{len(trials)} trials, {sum(map(len, trials))} robot states")
    print(
        f"largest contact force of a trial   median {np.median(largest):5.0f} N   "
        f"p90 {np.percentile(largest, 90):5.0f} N   max {largest.max():5.0f} N"
    )
    print(
        f"above {limit:g} N   in {int((largest > limit).sum())} of {len(trials)} trials, "
        f"{over.mean():.1%} of the time"
    )
    return 0


def main() -> int:
    """Prints the table; returns 1 when there is nothing to read."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="recorded bags to read")
    parser.add_argument("--limit", type=float, default=25.0, help="newtons; default 25")
    parser.add_argument("--trials", type=int, default=2, help="how many new trials; default 2")
    arguments = parser.parse_args()
    if arguments.trials < 1:
        parser.error(f"--trials must be at least 1, found {arguments.trials}")
    if arguments.folder is not None:
        return report(arguments.folder, arguments.limit)
    with tempfile.TemporaryDirectory(prefix="twist_contact_force_") as temporary:
        try:
            code = run_trials(SHIPPED, Path(temporary), arguments.trials)
        except CheckpointError as error:
            print(f"contact_force: {error}", file=sys.stderr)
            return 1
        return report(Path(temporary), arguments.limit) if code in (0, 1) else code


if __name__ == "__main__":
    sys.exit(main())
