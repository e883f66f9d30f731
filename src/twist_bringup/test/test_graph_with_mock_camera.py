"""The promises of ``launch/test_block_push.launch_test.py``, kept by the runner's graph."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_promises import (
    GraphProbe,
    camera_fault_stops_the_arm_for_good,
    no_command_before_activation,
)
from running_graph import QUICK_CAMERA_LIMITS, StartGraph

from twist_sim.task_card import load_task_card

pytestmark = [pytest.mark.realtime, pytest.mark.slow]


@pytest.mark.timeout(400)
def test_the_graph_moves_only_when_told_within_bounds_and_stops_for_good(
    start_graph: StartGraph, swaying_checkpoint: Path
) -> None:
    graph = start_graph(
        *("camera:=mock", "trials:=0", "record:=false"),
        checkpoint=swaying_checkpoint,
        limits=QUICK_CAMERA_LIMITS,
    )
    contract = load_task_card("block_push").contract(observes_ee_position=True)
    with GraphProbe(graph.domain_id) as probe:
        no_command_before_activation(probe)
        for fault in ("drop", "freeze", "stale", "wrong_encoding"):
            camera_fault_stops_the_arm_for_good(probe, contract, fault)
        graph.interrupt()
        assert graph.wait() == 130
    assert "died" not in graph.terminal()
    assert "while stopping" not in graph.terminal()
    assert "SIGTERM" not in graph.terminal()
