"""The launch file's graph with a mock camera, under the real launch system.

    launch_test src/twist_bringup/test/launch/test_block_push.launch_test.py

Needs ``launch_testing`` (part of every ROS installation). The same promises are kept by
``run_stack`` in ``test_graph_with_mock_camera.py``, where there is no ``launch_testing``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import launch_testing.actions
import launch_testing.asserts
import pytest
from launch import LaunchDescription

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from graph_promises import (
    CAMERA_FAULTS,
    GraphProbe,
    camera_fault_stops_the_arm_for_good,
    no_command_before_activation,
)
from running_graph import QUICK_CAMERA_LIMITS

from twist_bringup.launch_stack import actions_of
from twist_bringup.options import StackOptions
from twist_bringup.preflight import free_domain_id
from twist_bringup.stack import describe
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_sim.task_card import load_task_card

CONTRACT = load_task_card("block_push").contract(observes_ee_position=True)
DOMAIN = free_domain_id()


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    folder = Path(tempfile.mkdtemp(prefix="twist_launch_test_"))
    write_synthetic_checkpoint(folder / "checkpoint", CONTRACT, behaviour="sway")
    limits = folder / "limits.yaml"
    limits.write_text(QUICK_CAMERA_LIMITS)
    stack = describe(
        StackOptions(
            camera="mock",
            trials=0,
            record=False,
            checkpoint=str(folder / "checkpoint"),
            output=str(folder / "bags"),
            params_file=str(limits),
        )
    )
    return LaunchDescription([*actions_of(stack), launch_testing.actions.ReadyToTest()])


class TestBlockPush(unittest.TestCase):
    """While the graph runs."""

    def test_it_moves_only_when_told_within_bounds_and_stops_for_good(self) -> None:
        with GraphProbe(DOMAIN) as probe:
            no_command_before_activation(probe)
            for fault in CAMERA_FAULTS:
                camera_fault_stops_the_arm_for_good(probe, CONTRACT, fault)


@launch_testing.post_shutdown_test()
class TestAfterShutdown(unittest.TestCase):
    """After the graph was stopped."""

    def test_every_process_ended_cleanly(self, proc_info: Any) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
