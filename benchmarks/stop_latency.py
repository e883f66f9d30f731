"""How soon the arm stops after each kind of fault, measured in the running node graph.

Camera faults come from the mock camera; poses and Servo's status pass through a relay that spoils
them; processes are killed, interrupted and held. Two times are taken from the stamps of messages,
each from the last good input (or the signal, or the request): until the last command that moves the
arm, and until the twin's arm stands still to a millimetre.

    python benchmarks/stop_latency.py [--repetitions N] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src" / "twist_bringup" / "test"))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

from geometry_msgs.msg import PoseStamped
from graph_processes import GraphProcesses
from graph_promises import BUSY_CODES, CAMERA_FAULTS, GraphProbe, stamp
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from twist_bringup.options import StackOptions
from twist_bringup.preflight import free_domain_id
from twist_bringup.stack import Stack, describe
from twist_nodes.spinning import spinning_node
from twist_policy.contract import PolicyContract
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_policy_node.servo_messages import ServoStatus
from twist_policy_node.tool_frame import ToolFrame
from twist_sim.task_card import load_task_card

GOAL_MS = 200.0
"""From the last good camera frame to the last command that moves the arm."""
STILL = 0.001
"""An arm that stays this near to where it ends stands still, metres."""
STEPS = 6
"""Policy steps before something goes wrong."""
POLICY = "twist_policy_node"
PARAMETERS = """
/twist_policy_node:
  ros__parameters:
    activation_timeout: 30.0
    service_timeout: 30.0
/servo_node:
  ros__parameters:
    joint_state_timeout: 60.0
"""
"""Patience while the graph starts; every limit of a stop is the default."""


class Relay:
    """Passes poses and Servo's status on, spoiled on command, through a node of another thread."""

    def __init__(self, node: Node) -> None:
        self.pose_fault = self.status_fault = ""
        self.good_pose = self.good_status = 0.0
        """Stamp of the last good pose, and time of the last good status, seconds."""
        self.arm: list[tuple[float, tuple[float, float, float]]] = []
        """Where the arm really was: (stamp, position)."""
        self._poses = node.create_publisher(PoseStamped, "/relay/ee_pose", 1)
        self._statuses = node.create_publisher(ServoStatus, "/relay/servo_status", 1)
        node.create_subscription(PoseStamped, "/ee_pose", self._on_pose, qos_profile_sensor_data)
        node.create_subscription(
            ServoStatus, "/servo_node/status", self._on_status, qos_profile_sensor_data
        )

    def _on_pose(self, message: PoseStamped) -> None:
        p = message.pose.position
        self.arm.append((stamp(message.header), (p.x, p.y, p.z)))
        if self.pose_fault == "silent":
            return
        if self.pose_fault == "jump":
            p.y += 0.2
        elif self.pose_fault == "nan":
            p.x = math.nan
        elif self.pose_fault == "old":
            message.header.stamp.sec -= 1
        else:
            self.good_pose = stamp(message.header)
        self._poses.publish(message)

    def _on_status(self, message: ServoStatus) -> None:
        if self.status_fault == "silent":
            return
        if self.status_fault:
            message.code = int(self.status_fault)
        else:
            self.good_status = time.time()
        self._statuses.publish(message)


class MeasurementError(RuntimeError):
    """What was to be measured was not seen."""


@dataclass
class Bench:
    """The running graph."""

    processes: GraphProcesses
    probe: GraphProbe
    relay: Relay
    contract: PolicyContract

    def run_policy(self) -> None:
        """Activates until the policy has made some steps; a busy machine may take several tries."""
        probe = self.probe
        end = time.monotonic() + 180.0
        while True:
            assert time.monotonic() < end, f"the policy does not run; {probe.situation()}"
            for seen in (probe.commands, probe.steps, probe.diagnostics, self.relay.arm):
                seen.clear()
            if not probe.change_state(Transition.TRANSITION_ACTIVATE):
                # A node that was killed is remembered by the middleware for some 20 s.
                probe.wait_for("a moment", _after(1.0))
                continue
            probe.wait_for(
                "steps or a stop", lambda: len(probe.steps) >= STEPS or bool(probe.stop_code()), 60
            )
            code = probe.stop_code()
            if not code:
                return
            assert code in BUSY_CODES, probe.situation()
            probe.wait_until_inactive()

    def last_motion(self) -> float:
        """Stamp of the last command that is the target of a decision, seconds.

        Raises:
            MeasurementError: there is none.
        """
        tool = ToolFrame(self.contract)
        targets = [tool.ik_target(seen.message.target).tolist() for seen in self.probe.steps]
        stamps = []
        for seen in self.probe.commands:
            p = seen.message.pose.position
            if any(math.dist((p.x, p.y, p.z), target) < 1e-9 for target in targets):
                stamps.append(stamp(seen.message.header))
        if not stamps:
            raise MeasurementError("no command is the target of a decision")
        return max(stamps)

    def arm_still(self) -> float:
        """Stamp of the last pose that is away from where the arm is now, seconds."""
        arm = list(self.relay.arm)
        final = arm[-1][1]
        return max((at for at, place in arm if math.dist(place, final) > STILL), default=0.0)


@dataclass(frozen=True)
class Kind:
    """One way to go wrong.

    Attributes:
        name: of the row.
        inject: makes it go wrong; returns the time of the last good input, seconds, or a function
            that tells it after the stop.
        heal: makes it good again, after the stop was measured.
        stops: whether the policy node stops by itself and is inactive then.
        camera: whether the goal of this project is meant for it.
    """

    name: str
    inject: Callable[[Bench], float | Callable[[], float]]
    heal: Callable[[Bench], None] = field(default=lambda bench: None)
    stops: bool = True
    camera: bool = False


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def camera_kind(fault: str) -> Kind:
    """The mock camera's `fault`."""

    def inject(bench: Bench) -> Callable[[], float]:
        bench.probe.set_camera_fault(fault)
        return lambda: stamp(bench.probe.good_frames[-1].message)

    return Kind(
        f"camera: {fault}", inject, lambda bench: bench.probe.set_camera_fault("none"), camera=True
    )


def relay_kind(name: str, attribute: str, fault: str) -> Kind:
    """What the relay does to a message."""

    def inject(bench: Bench) -> Callable[[], float]:
        setattr(bench.relay, f"{attribute}_fault", fault)
        return lambda: float(getattr(bench.relay, f"good_{attribute}"))

    return Kind(name, inject, lambda bench: setattr(bench.relay, f"{attribute}_fault", ""))


def signal_kind(name: str, process: str, number: signal.Signals, **fields: Any) -> Kind:
    """What a signal to a process does."""

    def inject(bench: Bench) -> float:
        bench.processes.send(process, number)
        return time.time()

    return Kind(name, inject, **fields)


def _deactivate(bench: Bench) -> float:
    now = time.time()
    bench.probe.change_state(Transition.TRANSITION_DEACTIVATE)
    return now


def _restart_servo(bench: Bench) -> None:
    bench.processes.wait("servo_node")
    bench.processes.start("servo_node")
    # The probe's own look at the graph: the node's activation waits for the rest.
    bench.probe.wait_for("Servo", lambda: bench.probe.node.count_publishers("/servo_node/status"))


def _restart_policy(bench: Bench) -> None:
    bench.processes.wait(POLICY)
    bench.processes.start(POLICY)
    # The killed node's servers are remembered for some 20 s; what is sent to them is lost.
    probe, end = bench.probe, time.monotonic() + 120.0
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    while True:
        with contextlib.suppress(AssertionError):
            probe.call(ChangeState, f"/{POLICY}/change_state", request, timeout=10)
            state = probe.call(GetState, f"/{POLICY}/get_state", GetState.Request(), timeout=5)
            if state.current_state.id == State.PRIMARY_STATE_INACTIVE:
                return
        assert time.monotonic() < end, bench.processes.log_tail(POLICY)


def _continue_policy(bench: Bench) -> None:
    bench.processes.send(POLICY, signal.SIGCONT)
    bench.probe.wait_until_inactive()  # it must not go on by itself


KINDS = (
    *(camera_kind(fault) for fault in CAMERA_FAULTS),
    relay_kind("pose silent", "pose", "silent"),
    relay_kind("pose jumps", "pose", "jump"),
    relay_kind("pose holds NaN", "pose", "nan"),
    relay_kind("pose is old", "pose", "old"),
    relay_kind("Servo's status silent", "status", "silent"),
    relay_kind("Servo: HALT_FOR_SINGULARITY", "status", "2"),
    relay_kind("Servo: HALT_FOR_COLLISION", "status", "5"),
    relay_kind("Servo: JOINT_BOUND", "status", "6"),
    relay_kind("Servo: INVALID", "status", "-1"),
    signal_kind("Servo killed", "servo_node", signal.SIGKILL, heal=_restart_servo),
    Kind("activation revoked", _deactivate),
    signal_kind(
        "inference hangs (process held)",
        POLICY,
        signal.SIGSTOP,
        heal=_continue_policy,
        stops=False,
    ),
    signal_kind("Ctrl-C", POLICY, signal.SIGINT, heal=_restart_policy, stops=False),
    signal_kind("policy killed", POLICY, signal.SIGKILL, heal=_restart_policy, stops=False),
)


def measure(bench: Bench, kind: Kind) -> tuple[float, float]:
    """One fault: seconds until the last motion command, and until the arm stands still.

    Raises:
        MeasurementError: the commands or the good input do not tell; the graph is healed.
    """
    bench.run_policy()
    last_good = kind.inject(bench)
    if kind.stops:
        bench.probe.wait_until_inactive()
    bench.probe.wait_for("the arm to stand still", _after(1.0))
    try:
        reference = last_good() if callable(last_good) else last_good
        result = bench.last_motion() - reference, bench.arm_still() - reference
    finally:
        kind.heal(bench)
    if kind.stops:
        assert bench.probe.state() == State.PRIMARY_STATE_INACTIVE, "it did not stay stopped"
    return max(0.0, result[0]), max(0.0, result[1])


def report(rows: dict[str, list[tuple[float, float]]]) -> bool:
    """Prints the table; returns whether every camera fault kept the goal."""
    print(f"\n{'':<34}{'last motion command':>22}{'arm stands still':>22}")
    print(
        f"{'after the last good input [ms]':<34}{'median':>11}{'max':>11}{'median':>11}{'max':>11}"
    )
    kept = True
    for kind in KINDS:
        if kind.name not in rows:
            continue
        cells = ""
        for values in zip(*rows[kind.name], strict=True):
            cells += f"{statistics.median(values) * 1e3:>11.0f}{max(values) * 1e3:>11.0f}"
        print(f"{kind.name:<34}{cells}   n = {len(rows[kind.name])}")
        if kind.camera:
            kept &= max(command for command, _ in rows[kind.name]) * 1e3 <= GOAL_MS
    return kept


def graph(folder: Path) -> tuple[Stack, PolicyContract]:
    """The graph with the mock camera and the relay between robot, Servo and policy."""
    contract = load_task_card("block_push").contract(observes_ee_position=True)
    write_synthetic_checkpoint(folder / "checkpoint", contract, behaviour="sway")
    parameters = folder / "parameters.yaml"
    parameters.write_text(PARAMETERS)
    stack = describe(
        StackOptions(
            camera="mock",
            trials=0,
            record=False,
            checkpoint=str(folder / "checkpoint"),
            output=str(folder),
            params_file=str(parameters),
        )
    )
    relayed = (("ee_pose", "/relay/ee_pose"), ("servo_node/status", "/relay/servo_status"))
    processes = tuple(
        dataclasses.replace(process, remappings=(*relayed, *process.remappings))
        if process.name == POLICY
        else process
        for process in stack.processes
    )
    return dataclasses.replace(stack, processes=processes), contract


def main() -> int:
    """Prints the table; returns 1 when a camera fault took too long or was not seen."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3, help="of each fault; default 3")
    parser.add_argument("--only", nargs="+", help="rows whose names contain one of these")
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, found {arguments.repetitions}")
    unknown = [part for part in arguments.only or () if not any(part in k.name for k in KINDS)]
    if unknown:
        parser.error(
            f"--only: no row has {', '.join(map(repr, unknown))} in its name; rows: "
            + ", ".join(kind.name for kind in KINDS)
        )
    kinds = [
        kind
        for kind in KINDS
        if not arguments.only or any(part in kind.name for part in arguments.only)
    ]
    domain = free_domain_id()
    rows: dict[str, list[tuple[float, float]]] = {}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="twist_stop_latency_") as temporary:
        folder = Path(temporary)
        stack, contract = graph(folder)
        with GraphProcesses(stack, folder, domain) as processes, GraphProbe(domain) as probe:
            processes.start_all()
            with spinning_node("relay", domain) as node:
                bench = Bench(processes, probe, Relay(node), contract)
                assert probe.change_state(Transition.TRANSITION_CONFIGURE), processes.log_tail(
                    POLICY
                )
                for kind in kinds:
                    for _ in range(arguments.repetitions):
                        try:
                            result = measure(bench, kind)
                        except MeasurementError as error:
                            failed += 1
                            print(f"{kind.name}: NOT MEASURED: {error}", flush=True)
                            continue
                        rows.setdefault(kind.name, []).append(result)
                    if kind.name in rows:
                        last = ", ".join(f"{command * 1e3:.0f}" for command, _ in rows[kind.name])
                        print(f"{kind.name}: {last} ms", flush=True)
    print(f"\n{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    kept = report(rows)
    print(
        f"goal: the last motion at most {GOAL_MS:.0f} ms after the last good frame: "
        f"{'met' if kept else 'missed'}"
    )
    if failed:
        print(f"stop_latency: {failed} measurements failed, see above", file=sys.stderr)
    return 0 if kept and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
