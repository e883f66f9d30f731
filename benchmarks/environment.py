"""How many environment steps one core does: python benchmarks/environment.py [--steps N]."""

from __future__ import annotations

import argparse
import os
import platform
import time

import mujoco
import numpy as np

from twist_sim.env import TaskEnv
from twist_sim.scripted import ScriptedPusher
from twist_sim.task_card import available_tasks


def measure(task: str, steps: int, policy: str) -> tuple[float, float]:
    """Environment steps per second of wall time and of processor time, resets included.

    Args:
        task: name of a task card.
        steps: how many environment steps to time.
        policy: ``scripted`` (much contact) or ``random`` (little contact).
    """
    env = TaskEnv(task, episode_steps=75)
    pusher, generator = ScriptedPusher(env.card), np.random.default_rng(0)
    actions = generator.uniform(-1.0, 1.0, (steps, 3)).astype(np.float32)
    observation, _ = env.reset(seed=0)
    wall, processor = time.perf_counter(), time.process_time()
    for step in range(steps):
        action = pusher.act(observation) if policy == "scripted" else actions[step]
        observation, _, _, truncated, _ = env.step(action)
        if truncated:
            observation, _ = env.reset()
    return steps / (time.perf_counter() - wall), steps / (time.process_time() - processor)


def main() -> None:
    """Prints one line per task and policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000, help="timed environment steps")
    arguments = parser.parse_args()
    if arguments.steps <= 0:
        parser.error(f"--steps must be positive, found {arguments.steps}")
    load = os.getloadavg()[0]
    print(f"MuJoCo {mujoco.__version__}, Python {platform.python_version()}, one process,")
    print(f"{os.cpu_count()} cores, load average {load:.1f} at the start")
    for task in available_tasks():
        for policy in ("random", "scripted"):
            wall, processor = measure(task, arguments.steps, policy)
            print(
                f"{task}, {policy} actions: {wall:.0f} steps/s of wall time, "
                f"{processor:.0f} per processor second ({arguments.steps} steps)"
            )


if __name__ == "__main__":
    main()
