"""Block lift through the whole graph, with a checkpoint that was not trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_promises import GraphProbe, check_step
from running_graph import StartGraph
from sensor_msgs.msg import JointState

from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_sim.task_card import load_task_card

pytestmark = [pytest.mark.realtime, pytest.mark.slow, pytest.mark.timeout(400)]

STEPS = 70
GRIP_EVERY = 25
"""A command takes a second; on a busy machine, longer."""


def test_the_policys_gripper_commands_reach_the_twins_fingers(
    start_graph: StartGraph, tmp_path: Path
) -> None:
    contract = load_task_card("block_lift").contract(observes_ee_position=True)
    write_synthetic_checkpoint(tmp_path / "m", contract, behaviour="grip", grip_every=GRIP_EVERY)
    graph = start_graph(
        "task:=block_lift",
        "trials:=1",
        f"episode_steps:={STEPS}",
        checkpoint=tmp_path / "m",
    )
    joints: list[JointState] = []
    with GraphProbe(graph.domain_id) as probe:
        probe.node.create_subscription(JointState, "/joint_states", joints.append, 10)
        probe.wait_for("the end", lambda: graph.process.poll() is not None, timeout=150.0)
        steps = [seen.message for seen in probe.steps]
        truths = [seen.message for seen in probe.truths]
    assert graph.wait() == 0, graph.terminal()
    (result,) = graph.results()
    assert (result["outcome"], result["steps"]) == ("failure", STEPS)  # nothing was lifted
    for step in steps:
        check_step(step, contract)
    commands = [step.gripper_command for step in steps if step.gripper_command]
    assert commands == ["close", "open"]
    # The hand closes over the table: a grasp of nothing, which is reported and stops nobody.
    closing = [step.gripper_result for step in steps if step.gripper_state == 1.0]
    assert closing[0] == "running"
    assert closing[-1] == "failed"
    assert steps[-1].gripper_result == "success"
    open_width = contract.gripper.open_width
    assert steps[0].gripper_width == pytest.approx(open_width, abs=0.005)
    assert min(step.gripper_width for step in steps) < 0.005
    assert steps[-1].gripper_width == pytest.approx(open_width, abs=0.005)
    assert min(truth.gripper_width for truth in truths) < 0.005
    assert not any(truth.grasped for truth in truths)
    assert set(joints[-1].name[7:]) == {"panda_finger_joint1", "panda_finger_joint2"}
