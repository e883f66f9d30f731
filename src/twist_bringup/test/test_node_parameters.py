"""What the graph gives to a node of ours is what that node has."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from twist_bringup.options import StackOptions
from twist_bringup.stack import Process, StackError, describe

TABLES = {"twist_policy_node.policy_node": ("twist_policy_node.parameters", "TABLE")}
"""Where a node's parameters stand, if not as PARAMETERS beside its ``main``."""
OF_THE_DRIVER = {"camera_check": ("rgb_camera.", "enable_")}
"""Names that a node takes without having them: what it compares the camera driver's with."""


def names(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from names(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def known(process: Process) -> set[str]:
    module, table = TABLES.get(process.module, (process.module, "PARAMETERS"))
    return {row.name for row in getattr(importlib.import_module(module), table)}


def processes(folder: Path) -> Iterator[Process]:
    """Every process of ours in every graph."""
    for robot, camera, judge, dry_run in itertools.product(
        ("sim", "panda", "fr3"),
        ("sim", "realsense", "pyrealsense", "bag", "mock"),
        ("auto", "camera", "operator"),
        (False, True),
    ):
        options = StackOptions(
            robot=robot,
            camera=camera,
            judge=judge,
            dry_run=dry_run,
            trials=0 if dry_run else 3,
            bag=str(folder) if camera == "bag" else "",
            reference=str(folder / "reference.png"),
            viewer="topics",
            output=str(folder / "out"),
        )
        try:
            yield from (p for p in describe(options).processes if p.module)
        except StackError:
            assert robot != "sim"
            assert camera == "sim" or (camera in ("bag", "mock") and not dry_run)


def test_every_node_has_the_parameters_that_the_graph_gives_it(tmp_path: Path) -> None:
    checked = set()
    for process in processes(tmp_path):
        given = set(names(process.parameter_tree()))
        prefixes = OF_THE_DRIVER.get(process.name, ())
        unknown = {name for name in given - known(process) if not name.startswith(prefixes)}
        assert not unknown, process.name
        checked.add(process.executable)
    assert len(checked) >= 12
