"""How many environment steps one core does, without and with pictures, and where the time goes.

python benchmarks/environment.py [--steps N]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import time

import mujoco
import numpy as np

from twist_sim.appearance import AppearanceSampler
from twist_sim.env import TaskEnv
from twist_sim.rendering import SceneRenderer
from twist_sim.scripted import scripted_behaviour
from twist_sim.task_card import available_tasks


def measure(task: str, steps: int, policy: str) -> tuple[float, float]:
    """Environment steps per second of wall time and of processor time, resets included.

    Args:
        task: name of a task card.
        steps: how many environment steps to time.
        policy: ``scripted`` (much contact) or ``random`` (little contact).
    """
    env = TaskEnv(task, episode_steps=75)
    script, generator = scripted_behaviour(env.card), np.random.default_rng(0)
    size = env.card.contract(True).action_size
    actions = generator.uniform(-1.0, 1.0, (steps, size)).astype(np.float32)
    observation, _ = env.reset(seed=0)
    wall, processor = time.perf_counter(), time.process_time()
    for step in range(steps):
        action = script.act(observation) if policy == "scripted" else actions[step]
        observation, _, _, truncated, _ = env.step(action)
        if truncated:
            observation, _ = env.reset()
    return steps / (time.perf_counter() - wall), steps / (time.process_time() - processor)


def measure_with_pictures(task: str, steps: int) -> tuple[float, float, float]:
    """Randomly acting, with a randomised 64x64 picture of every state, as students see it.

    Returns:
        Seconds of wall time per step for the environment, for drawing a look, and for rendering.
    """
    env, generator = TaskEnv(task, episode_steps=75), np.random.default_rng(0)
    size = env.card.contract(True).action_size
    sampler = AppearanceSampler(env.card, split="train", seed=0)
    seconds = np.zeros(3)
    with contextlib.closing(SceneRenderer(env.card, sampler)) as renderer:
        _, info = env.reset(seed=0)
        look = sampler.draw()
        for _ in range(steps):
            action = generator.uniform(-1.0, 1.0, size).astype(np.float32)
            moments = [time.perf_counter()]
            _, _, _, truncated, info = env.step(action)
            moments.append(time.perf_counter())
            look = sampler.draw(keep_camera=look.camera)
            moments.append(time.perf_counter())
            renderer.render_training_image(info["sim_state"], look, generator)
            moments.append(time.perf_counter())
            seconds += np.diff(moments)
            if truncated:
                env.reset()
    step, draw, render = seconds / steps
    return float(step), float(draw), float(render)


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

        parts = measure_with_pictures(task, arguments.steps // 4)
        step, draw, render = (part / sum(parts) for part in parts)
        print(
            f"{task}, random actions with pictures: {1 / sum(parts):.0f} steps/s of wall time: "
            f"{step:.0%} environment, {draw:.0%} drawing looks, {render:.0%} rendering "
            f"({arguments.steps // 4} steps)"
        )


if __name__ == "__main__":
    main()
