"""How long one policy step takes: camera frame in, bounded action out, on one core.

A step is what the node does between a decoded frame and a command: crop, resize and scale the
640x480 frame, filter the latent state, act, decode the belief, bound the action with the gate, and
commit it. Imagining the path ahead is measured by itself: the node does it after commanding.

    python benchmarks/policy_step.py [--checkpoint FOLDER] [--steps N]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Read by PyTorch's thread pools when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from twist_policy.action_gate import ActionGate
from twist_policy.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from twist_policy.gripper_gate import GripperGate
from twist_policy.image_path import ImagePath
from twist_policy.latent_policy import LatentPolicy
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_policy.synthetic_contract import synthetic_contract

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "block_push"
GOAL_MS = 20.0
"""The step's p99 on one core that this project aims at."""


def cpu_model() -> str:
    """The processor's name, as the kernel tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def use_one_core() -> str:
    """Pins this process to one of its cores; says which."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned to a core"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"pinned to core {core}"


def synthetic_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint of tiny modules, for a workspace without a trained one."""
    contract = synthetic_contract()
    write_synthetic_checkpoint(folder, contract, behaviour="forward")
    return load_checkpoint(folder)


def report(name: str, seconds: list[float]) -> float:
    """Prints the distribution in milliseconds; returns its p99."""
    milliseconds = np.array(seconds) * 1e3
    p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99])
    print(
        f"{name:<34} p50 {p50:7.3f}  p90 {p90:7.3f}  p99 {p99:7.3f}  max {milliseconds.max():7.3f}"
        f"  ms  (n = {len(seconds)})"
    )
    return float(p99)


def timed(call: Callable[[int], object], count: int) -> list[float]:
    """Seconds that each of `count` calls took."""
    seconds = []
    for index in range(count):
        start = time.perf_counter()
        call(index)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(checkpoint: Checkpoint, steps: int) -> float:
    """Runs `steps` policy steps in episodes of the contract's length; returns the p99 in ms."""
    contract = checkpoint.contract
    policy = LatentPolicy(checkpoint, threads=1)
    gate = ActionGate.from_contract(contract)
    gripper = GripperGate.from_contract(contract) if contract.gripper else None
    camera = contract.camera
    rng = np.random.default_rng(0)
    # More frames than the caches hold, so that each is read from memory as a new one would be.
    frames = rng.integers(0, 256, (32, camera.height, camera.width, 3), dtype=np.uint8)
    policy.warm_up()
    position = gate.reset(contract.home)
    whole: list[float] = []
    for index in range(steps):
        if index % contract.episode_steps == 0:
            policy.reset()
            position = gate.reset(contract.home)
            if gripper is not None:
                gripper.reset()
        frame = frames[index % len(frames)]
        start = time.perf_counter()
        output = policy.step(frame, position)
        gated = gate.step(output.action[:3], position)
        state = None if gripper is None else gripper.step(output.action[3]).state
        policy.commit(gated.delta, state)
        whole.append(time.perf_counter() - start)
        position = gated.target
    p99 = report("policy step", whole)

    image_path = ImagePath.from_contract(contract)
    tensors = torch.from_numpy(frames)

    def see(index: int) -> object:
        with torch.inference_mode():
            return image_path(tensors[index % len(frames)][None])

    actions = rng.uniform(-1, 1, (steps, 3))
    report("  of it the image path", timed(see, min(steps, 500)))
    report(
        "  of it the gate",
        timed(lambda index: gate.step(actions[index], position), min(steps, 500)),
    )
    report("imagining 15 steps (afterwards)", timed(lambda _: policy.imagine(15), min(steps, 50)))
    return p99


def main() -> int:
    """Prints the table; returns 1 when the checkpoint cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint's folder")
    parser.add_argument("--steps", type=int, default=1000, help="how many steps to time")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps must be at least 1, found {arguments.steps}")
    folder = arguments.checkpoint or (SHIPPED if SHIPPED.is_dir() else None)
    core = use_one_core()
    try:
        if folder is not None:
            checkpoint = load_checkpoint(folder)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                checkpoint = synthetic_checkpoint(Path(temporary) / "synthetic")
            print(f"no checkpoint at {SHIPPED}: tiny synthetic modules instead; what follows is")
            print("the cost of everything around the networks, not of a trained policy")
    except CheckpointError as error:
        print(f"policy_step: {error}", file=sys.stderr)
        return 1
    modules = (checkpoint.student, checkpoint.actor, checkpoint.decoder)
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    print(f"checkpoint {checkpoint.identity}, {parameters / 1e6:.2f} M parameters")
    print(
        f"CPU {cpu_model()}, {core}, 1 thread, PyTorch {torch.__version__}, load average "
        f"{os.getloadavg()[0]:.1f}"
    )
    p99 = measure(checkpoint, arguments.steps)
    print(f"goal: p99 <= {GOAL_MS:.0f} ms: {'met' if p99 <= GOAL_MS else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
