"""How long a command takes from the camera's time stamp, through the whole node graph.

Every decision of the policy node carries its own measurement (``~/step``): the stamp of the frame,
its age when the decision was made, the time in the networks, and the time until the command was
published. This reads them from recorded bags; without any, it runs trials first.

    python benchmarks/stamp_to_command.py [FOLDER] [--checkpoint FOLDER] [--trials N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError

from twist_policy.checkpoint import CheckpointError, load_checkpoint

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "block_push"
GOAL_MS = 60.0
"""The p99 in the demo that this project aims at."""
STEP_TOPIC = "/twist_policy_node/step"
QUANTITIES = (
    ("camera stamp to command", "latency"),
    ("  of it until the decision", "camera_age"),
    ("  of it the networks", "inference_time"),
)


def read_steps(folder: Path) -> tuple[dict[str, list[float]], int]:
    """Reads the decisions of every bag below `folder`.

    Returns:
        Seconds by field of PolicyStep, and how many bags they came from.

    Raises:
        AnyReaderError: a bag cannot be read.
    """
    seconds: dict[str, list[float]] = {field: [] for _, field in QUANTITIES}
    bags = sorted(path.parent for path in folder.rglob("metadata.yaml"))
    for bag in bags:
        with AnyReader([bag]) as reader:
            wanted = [c for c in reader.connections if c.topic == STEP_TOPIC]
            for connection, _, data in reader.messages(connections=wanted):
                step = reader.deserialize(data, connection.msgtype)
                for field, values in seconds.items():
                    values.append(float(getattr(step, field)))
    return seconds, len(bags)


def run_trials(checkpoint: Path, output: Path, trials: int) -> int:
    """Runs trials through the graph; returns the runner's exit code.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    start = "import sys; from twist_bringup.run_stack import main; sys.exit(main())"
    arguments = [
        f"task:={load_checkpoint(checkpoint).contract.task}",
        f"checkpoint:={checkpoint}",
        f"output:={output}",
        f"trials:={trials}",
        "report:=false",
    ]
    return subprocess.run([sys.executable, "-c", start, *arguments], check=False).returncode


def synthetic_checkpoint(folder: Path) -> Path:
    """A checkpoint of tiny modules, for a workspace without a trained one."""
    from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
    from twist_sim.task_card import load_task_card

    contract = load_task_card("block_push").contract(observes_ee_position=True)
    write_synthetic_checkpoint(folder, contract, behaviour="forward")
    return folder


def report(folder: Path) -> int:
    """Prints the distributions of the bags in `folder`; returns the exit code."""
    try:
        seconds, bags = read_steps(folder)
    except (AnyReaderError, OSError) as error:
        print(f"stamp_to_command: {error}", file=sys.stderr)
        return 1
    count = len(seconds["latency"])
    if not count:
        print(f"stamp_to_command: no decisions in the {bags} bags of {folder}", file=sys.stderr)
        return 1
    print(
        f"{count} decisions of {bags} trials; {os.cpu_count()} cores, load average "
        f"{os.getloadavg()[0]:.1f}"
    )
    for name, field in QUANTITIES:
        values = np.array(seconds[field]) * 1e3
        p50, p90, p99 = np.percentile(values, [50, 90, 99])
        print(
            f"{name:<34} p50 {p50:6.1f}  p90 {p90:6.1f}  p99 {p99:6.1f}  max {values.max():6.1f}"
            f"  ms  (n = {count})"
        )
    p99 = float(np.percentile(seconds["latency"], 99)) * 1e3
    print(f"goal: p99 <= {GOAL_MS:.0f} ms: {'met' if p99 <= GOAL_MS else 'missed'}")
    return 0


def main() -> int:
    """Prints the table; returns 1 when there is nothing to measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="recorded bags to read")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint's folder, for new trials")
    parser.add_argument("--trials", type=int, default=2, help="how many new trials")
    arguments = parser.parse_args()
    if arguments.trials < 1:
        parser.error(f"--trials must be at least 1, found {arguments.trials}")
    if arguments.folder is not None:
        return report(arguments.folder)
    with tempfile.TemporaryDirectory(prefix="twist_stamp_to_command_") as temporary:
        folder = Path(temporary)
        checkpoint = arguments.checkpoint or (SHIPPED if SHIPPED.is_dir() else None)
        if checkpoint is None:
            print(f"no checkpoint at {SHIPPED}: tiny synthetic modules instead; what follows is")
            print("the cost of the graph around the networks, not with a trained policy")
            checkpoint = synthetic_checkpoint(folder / "checkpoint")
        try:
            code = run_trials(checkpoint, folder / "bags", arguments.trials)
        except CheckpointError as error:
            print(f"stamp_to_command: {error}", file=sys.stderr)
            return 1
        if code not in (0, 1):
            return code
        return report(folder / "bags")


if __name__ == "__main__":
    sys.exit(main())
