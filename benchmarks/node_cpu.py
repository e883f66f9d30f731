"""How much of one core the policy node takes: 30 Hz frames, 10 Hz control, the whole graph running.

The twin's robot, the Servo stand-in and a mock camera of 30 Hz feed the node; somebody who listens
to beliefs makes it imagine paths as in a trial. CPU time is the kernel's, user and system, of all
its threads.

    python benchmarks/node_cpu.py [--seconds S] [--checkpoint FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src" / "twist_bringup" / "test"))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

from graph_processes import GraphProcesses
from graph_promises import GraphProbe
from lifecycle_msgs.msg import Transition
from rclpy.qos import qos_profile_sensor_data

from twist_bringup.options import StackOptions
from twist_bringup.preflight import free_domain_id
from twist_bringup.stack import describe
from twist_msgs.msg import Belief
from twist_policy.checkpoint import load_checkpoint
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "block_push"
GOAL = 0.40
"""Share of one core that this project aims at."""
POLICY = "twist_policy_node"
PARAMETERS = """
/twist_policy_node:
  ros__parameters:
    activation_timeout: 30.0
    frame_age_limit: 2.0
    frame_interval_limit: 2.0
    pose_age_limit: 2.0
    servo_silence_limit: 2.0
    servo_halt_limit: 5.0
    inference_overrun_limit: 100
    surprise_slow: 900000.0
    surprise_stop: 1000000.0
/servo_node:
  ros__parameters:
    joint_state_timeout: 60.0
"""
"""Nothing may stop the node meanwhile: a trained policy is surprised by a mock's pictures."""


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken so far, all threads, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads(pid: int) -> dict[str, float]:
    """CPU time by thread name, seconds."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "stat").read_text()
        name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text.rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        found[name] = found.get(name, 0.0) + ticks / os.sysconf("SC_CLK_TCK")
    return found


def measure(folder: Path, checkpoint: Path, seconds: float) -> float | None:
    """The share of one core; None when the node stopped meanwhile."""
    parameters = folder / "parameters.yaml"
    parameters.write_text(PARAMETERS)
    stack = describe(
        StackOptions(
            camera="mock",
            trials=0,
            record=False,
            checkpoint=str(checkpoint),
            output=str(folder),
            params_file=str(parameters),
        )
    )
    domain = free_domain_id()
    with GraphProcesses(stack, folder, domain) as processes, GraphProbe(domain) as probe:
        processes.start_all()
        beliefs: list[Belief] = []
        probe.node.create_subscription(
            Belief, f"/{POLICY}/belief", beliefs.append, qos_profile_sensor_data
        )
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            if not probe.change_state(transition):
                print(processes.log_tail(POLICY), file=sys.stderr)
                return None
        probe.wait_for("ten steps", lambda: len(probe.steps) >= 10)
        pid = processes.pid(POLICY)
        counts = len(probe.frames), len(probe.steps), len(beliefs)
        before, by_thread, started = cpu_seconds(pid), threads(pid), time.monotonic()
        end = started + seconds
        probe.wait_for("the end", lambda: time.monotonic() >= end, seconds + 60)
        took, passed = cpu_seconds(pid) - before, time.monotonic() - started
        frames, steps, believed = (
            (now - then) / passed
            for now, then in zip(
                (len(probe.frames), len(probe.steps), len(beliefs)), counts, strict=True
            )
        )
        code = probe.stop_code()
        if code or not steps:
            print(f"the node stopped: {code}; {probe.situation()}", file=sys.stderr)
            return None
        print(
            f"{passed:.0f} s: {frames:.1f} frames/s, {steps:.1f} steps/s, {believed:.1f} beliefs/s;"
            f" {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"
        )
        for name, now in sorted(threads(pid).items(), key=lambda item: -item[1])[:6]:
            share = (now - by_thread.get(name, 0.0)) / passed
            print(f"  thread {name:<18}{share * 100:6.1f} %")
        return took / passed


def main() -> int:
    """Prints the share; returns 1 when it is above the goal or could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long; default 60")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint's folder")
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint or (SHIPPED if SHIPPED.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="twist_node_cpu_") as temporary:
        folder = Path(temporary)
        if checkpoint is None:
            print(f"no checkpoint at {SHIPPED}: tiny synthetic modules instead")
            from twist_sim.task_card import load_task_card

            checkpoint = folder / "checkpoint"
            contract = load_task_card("block_push").contract(observes_ee_position=True)
            write_synthetic_checkpoint(checkpoint, contract, behaviour="sway")
        print(f"checkpoint {load_checkpoint(checkpoint).identity}")
        share = measure(folder, checkpoint, arguments.seconds)
    if share is None:
        return 1
    print(f"policy node: {share * 100:.1f} % of one core")
    print(f"goal: at most {GOAL * 100:.0f} %: {'met' if share <= GOAL else 'missed'}")
    return 0 if share <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
