"""The whole graph with a checkpoint that was not trained: trials, deaths, Ctrl-C, bad company."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from graph_promises import GraphProbe, check_step
from lifecycle_msgs.msg import Transition
from rosbags.highlevel import AnyReader
from running_graph import RunningGraph, StartGraph

from twist_bringup.executables import command_of
from twist_bringup.options import StackOptions
from twist_bringup.stack import describe
from twist_sim.task_card import load_task_card

pytestmark = [pytest.mark.realtime, pytest.mark.slow, pytest.mark.timeout(400)]

STEPS = 15


def count(bag: Path, topic: str) -> int:
    """Messages of `topic` that a reader without ROS gets out of the bag, each one decoded."""
    with AnyReader([bag]) as reader:
        wanted = [c for c in reader.connections if c.topic == topic]
        return sum(
            reader.deserialize(data, connection.msgtype) is not None
            for connection, _, data in reader.messages(connections=wanted)
        )


def bags(graph: RunningGraph) -> list[Path]:
    return sorted(path.parent for path in graph.output.glob("trial_*/metadata.yaml"))


def wait_for_step(graph: RunningGraph, probe: GraphProbe, trial_steps: int) -> None:
    """Until the policy has made `trial_steps` steps of a trial that is being recorded."""
    goal = len(probe.steps) + trial_steps
    probe.wait_for(
        f"{trial_steps} steps",
        lambda: len(probe.steps) >= goal or graph.process.poll() is not None,
        timeout=120.0,
    )
    assert graph.process.poll() is None, graph.terminal()


def leftovers(graph: RunningGraph) -> list[str]:
    """Command lines of processes that still carry this run's parameter files."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(graph.output / "log" / "parameters") in line:
            found.append(line)
    return found


def test_trials_run_are_judged_and_recorded(start_graph: StartGraph) -> None:
    graph = start_graph("trials:=2", f"episode_steps:={STEPS}", "seed:=3")
    contract = load_task_card("block_push").contract(observes_ee_position=True)
    with GraphProbe(graph.domain_id) as probe:
        probe.wait_for("the end", lambda: graph.process.poll() is not None, timeout=150.0)
        steps = [seen.message for seen in probe.steps]
    assert graph.wait() == 0, graph.terminal()
    assert len(steps) >= STEPS
    for step in steps:
        check_step(step, contract)
    results = graph.results()
    assert [result["outcome"] for result in results] == ["failure", "failure"]
    assert [result["steps"] for result in results] == [STEPS, STEPS]
    assert len(bags(graph)) == 2
    for bag in bags(graph):
        assert count(bag, "/twist_policy_node/step") == STEPS
        assert count(bag, "/camera/camera/color/image_raw") > 0
        assert count(bag, "/joint_states") > 0
    text = graph.terminal()
    assert "trial 2/2" in text
    assert "95 % interval" in text
    assert leftovers(graph) == []


@pytest.mark.parametrize("victim", ["servo_node", "robot_twin", "twist_policy_node"])
def test_a_node_killed_in_a_trial_ends_the_run_and_the_bag_stays_readable(
    start_graph: StartGraph, victim: str
) -> None:
    graph = start_graph("trials:=2", "episode_steps:=100000")
    with GraphProbe(graph.domain_id) as probe:
        wait_for_step(graph, probe, 5)
        graph.kill(victim)
        probe.wait_for("the end", lambda: graph.process.poll() is not None)
    assert graph.wait() == 1
    text = graph.terminal()
    assert f"{victim} died with SIGKILL" in text
    (result,) = graph.results()
    assert result["outcome"] == "aborted"
    assert result["reason"]
    (bag,) = bags(graph)
    assert count(bag, "/twist_policy_node/step") >= 5
    assert "outcome: aborted" in (bag / "metadata.yaml").read_text()
    assert leftovers(graph) == []


def test_a_recorder_killed_in_a_trial_costs_no_earlier_trial(start_graph: StartGraph) -> None:
    graph = start_graph("trials:=3", f"episode_steps:={STEPS}")
    with GraphProbe(graph.domain_id) as probe:
        wait_for_step(graph, probe, STEPS + 5)  # in the second trial
        graph.kill("recorder")
        probe.wait_for("the end", lambda: graph.process.poll() is not None)
    assert graph.wait() == 1
    assert "recorder died with SIGKILL" in graph.terminal()
    assert graph.results()[0]["outcome"] == "failure"
    assert count(bags(graph)[0], "/twist_policy_node/step") == STEPS
    assert leftovers(graph) == []


def test_ctrl_c_in_a_trial_keeps_every_trial_readable(start_graph: StartGraph) -> None:
    graph = start_graph("trials:=3", f"episode_steps:={STEPS}")
    with GraphProbe(graph.domain_id) as probe:
        wait_for_step(graph, probe, STEPS + 5)  # in the second trial
        graph.interrupt()
        probe.wait_for("the end", lambda: graph.process.poll() is not None)
    assert graph.wait() == 130
    finished, interrupted = graph.results()
    assert finished["outcome"] == "failure"
    assert interrupted["outcome"] == "aborted"
    assert "interrupted" in interrupted["reason"]
    assert [count(bag, "/twist_policy_node/step") >= 5 for bag in bags(graph)] == [True, True]
    assert "had to be killed" not in graph.terminal()
    assert leftovers(graph) == []


@pytest.mark.parametrize("delay", [0.5, 1.5, 3.0, 5.0])
def test_ctrl_c_while_the_graph_starts_leaves_nothing_behind(
    start_graph: StartGraph, delay: float
) -> None:
    graph = start_graph("trials:=1")
    time.sleep(delay)  # the moment itself is what is varied here
    graph.interrupt()
    assert graph.wait() == 130
    assert "had to be killed" not in graph.terminal()
    assert leftovers(graph) == []


def test_a_camera_that_stops_aborts_its_trial_alone(start_graph: StartGraph) -> None:
    graph = start_graph("camera:=mock", "trials:=2", f"episode_steps:={4 * STEPS}")
    with GraphProbe(graph.domain_id) as probe:
        wait_for_step(graph, probe, 5)
        probe.set_camera_fault("drop")
        probe.wait_for("the stop", lambda: "trial 1/2  ABORTED" in graph.terminal())
        probe.set_camera_fault("none")
        probe.wait_for("the end", lambda: graph.process.poll() is not None)
    assert graph.wait() == 1
    aborted, judged = graph.results()
    assert aborted["outcome"] == "aborted"
    assert "camera" in aborted["reason"]
    assert judged["outcome"] == "failure"
    assert len(bags(graph)) == 2


def test_of_two_policy_nodes_at_most_one_commands_servo(
    start_graph: StartGraph, synthetic_checkpoint: Path
) -> None:
    graph = start_graph("camera:=mock", "trials:=0", "record:=false")
    second = subprocess.Popen(
        [
            *command_of(describe(StackOptions()).process("twist_policy_node")),
            *("--ros-args", "-p", f"checkpoint:={synthetic_checkpoint}"),
        ],
        env={**os.environ, "ROS_DOMAIN_ID": str(graph.domain_id)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with GraphProbe(graph.domain_id) as probe:
            service = "/twist_policy_node/change_state"
            probe.wait_for(
                "both nodes",
                lambda: probe.node.count_services(service) == 2,
            )
            probe.change_state(Transition.TRANSITION_CONFIGURE)
            probe.more_frames(10)
            probe.change_state(Transition.TRANSITION_ACTIVATE)
            # Both refuse where each has heard of the other. Middleware may tell one of them late:
            # it starts, and the other one sees its commands.
            reasons = (
                "2 nodes named /twist_policy_node are running",
                "somebody else commands Servo",
            )
            probe.wait_for(
                "a refusal's reason",
                lambda: any(
                    reason in status.message
                    for reason in reasons
                    for seen in probe.diagnostics
                    for status in seen.message.status
                ),
            )
            probe.more_frames(30)
            assert probe.node.count_publishers("/servo_node/pose_target_cmds") <= 1
        graph.interrupt()
        assert graph.wait() == 130
    finally:
        second.kill()
        second.wait()
