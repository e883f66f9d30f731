"""Every node of the workspace, as the process it is, refuses a parameter that it does not have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

SOURCE = Path(__file__).resolve().parents[2]
NO_NODES = {"run_stack"}
"""Programs without parameters of their own; so are those called ``twist-...``."""


def nodes() -> dict[str, str]:
    """Executables that are nodes: name to module, out of every setup.py."""
    found = {}
    for setup in sorted(SOURCE.glob("*/setup.py")):
        for name, module in re.findall(r'"([\w-]+) = ([\w.]+):main"', setup.read_text()):
            if name not in NO_NODES and not name.startswith("twist-"):
                found[name] = module
    return found


NODES = nodes()


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = f"import sys; from {module} import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", start, "--ros-args", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_nodes_are_found() -> None:
    assert {"policy_node", "arm_motion", "servo_stand_in", "operator_console"} <= set(NODES)
    assert len(NODES) >= 13


@pytest.mark.parametrize("name", NODES)
def test_every_node_ends_when_it_is_given_a_parameter_that_it_does_not_have(
    ros_domain_id: int, name: str
) -> None:
    # Before anything else: no camera, robot or driver's package is looked for.
    result = run(NODES[name], "-p", "max_velocty:=0.05")
    said = result.stdout + result.stderr
    assert result.returncode in (1, 2), said
    assert "there is no parameter 'max_velocty'" in said
    assert re.search(r"; \w+ has \w+", said), "what there is instead"
    assert "Traceback" not in said


def test_the_arm_does_not_go_home_at_another_velocity_than_the_one_that_was_meant(
    ros_domain_id: int,
) -> None:
    result = run(NODES["arm_motion"], "-p", "max_velocty:=0.05")
    assert "did you mean max_velocity?" in result.stderr
