"""The rooms of the workspace: which package may import which, and who may use ROS."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

MAY_IMPORT = {
    "twist_nodes": set(),
    "twist_policy": set(),
    "twist_policy_node": {"twist_policy", "twist_nodes", "twist_msgs"},
    "twist_camera": {"twist_policy"},
    "twist_camera/ros": {"twist_policy", "twist_nodes", "twist_msgs"},
    "twist_robot": {"twist_policy", "twist_nodes", "twist_msgs", "twist_sim"},
    "twist_sim": {"twist_policy"},
    "twist_sim/ros": {"twist_policy", "twist_nodes", "twist_msgs"},
    "twist_training": {"twist_policy", "twist_sim"},
    "twist_evaluation": {"twist_policy", "twist_nodes", "twist_sim", "twist_msgs"},
    "twist_robot/motion": {"twist_nodes", "twist_msgs", "twist_sim"},
    "twist_viewer": {"twist_policy", "twist_nodes", "twist_sim", "twist_msgs"},
    "twist_bringup": {
        "twist_msgs",
        "twist_nodes",
        "twist_policy",
        "twist_policy_node",
        "twist_sim",
        "twist_evaluation",
        "twist_camera",
    },
}
"""Package, or folder of one with rules of its own, to the packages of ours that it may import."""

MAY_USE_ROS = {
    "twist_camera/ros",
    "twist_nodes",
    "twist_policy_node",
    "twist_robot",
    "twist_robot/motion",
    "twist_sim/ros",
    "twist_evaluation",
    "twist_viewer",
    "twist_bringup",
}

MAY_USE_TORCH = {"twist_policy", "twist_training"}
"""Everyone else goes through twist_policy: the simulator and the nodes hold no networks."""

ROS = {"rclpy", "launch", "launch_ros", "tf2_ros", "moveit", "ament_index_python"}

OPTIONAL_ROS = {
    "control_msgs",
    "controller_manager_msgs",
    "franka_msgs",
    "moveit",
    "moveit_configs_utils",
    "moveit_msgs",
    "realsense2_camera_msgs",
    "shape_msgs",
    "tf2_ros",
}
"""Used where they are installed; the embedded default never needs them."""

ROSDEP_KEYS = {
    "PIL": "python3-pil",
    "OpenGL": "python3-opengl",
    "cv2": "python3-opencv",
    "gymnasium": "python3-gymnasium-pip",
    "hypothesis": "python3-hypothesis",
    "jinja2": "python3-jinja2",
    "matplotlib": "python3-matplotlib",
    "mujoco": "python3-mujoco-pip",
    "numpy": "python3-numpy",
    "rich": "python3-rich",
    "rosbags": "python3-rosbags-pip",
    "scipy": "python3-scipy",
    "tensorboard": "python3-tensorboard-pip",
    "torch": "python3-pytorch-pip",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
"""Python module to its rosdep key. av, example_robot_data and mcap have none: see requirements/."""

PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/setup.py"))


def imported_modules(text: str) -> set[str]:
    """Returns the dotted names of all modules imported anywhere in a Python file's text."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    return modules


def tops(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def room_of(path: Path) -> str:
    """Returns the row of the table that a file under src/ belongs to."""
    package, _, *folders = path.relative_to(SOURCE).parts
    room = f"{package}/{folders[0]}" if len(folders) > 1 else package
    return room if room in MAY_IMPORT else package


def files() -> list[Path]:
    return sorted(
        path for package in PACKAGES for path in (SOURCE / package / package).rglob("*.py")
    )


def uses_ros(modules: set[str]) -> set[str]:
    return {
        top
        for top in tops(modules)
        if top in ROS or top.endswith(("_msgs", "_interfaces")) or top == "std_srvs"
    }


def manifest_keys(modules: set[str], package: str) -> set[str]:
    """Returns what the manifest of a package with these imports has to name."""
    found = tops(modules)
    keys = {top for top in found if top.startswith("twist_") and top != package}
    keys |= uses_ros(modules) - OPTIONAL_ROS
    if any(module.startswith("torch.utils.tensorboard") for module in modules):
        keys.add(ROSDEP_KEYS["tensorboard"])
    return keys | {ROSDEP_KEYS[top] for top in found if top in ROSDEP_KEYS}


def test_every_package_has_its_row_in_the_table() -> None:
    assert set(PACKAGES) == {room for room in MAY_IMPORT if "/" not in room}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_packages_that_its_room_allows(package: str) -> None:
    trespasses = []
    for path in files():
        room = room_of(path)
        if room.partition("/")[0] != package:
            continue
        ours = {top for top in tops(imported_modules(path.read_text())) if top.startswith("twist_")}
        for other in sorted(ours - MAY_IMPORT[room] - {package}):
            trespasses.append(f"{path.relative_to(SOURCE)} imports {other}")
    assert not trespasses


def test_only_the_node_rooms_use_ros() -> None:
    trespasses = [
        f"{path.relative_to(SOURCE)} imports {', '.join(sorted(found))}"
        for path in files()
        if room_of(path) not in MAY_USE_ROS
        and (found := uses_ros(imported_modules(path.read_text())))
    ]
    assert not trespasses


def test_the_evaluation_takes_nothing_but_cards_and_camera_geometry_from_the_simulator() -> None:
    allowed = ("twist_sim.task_card", "twist_sim.layout", "twist_sim.camera_geometry")
    trespasses = [
        f"{path.relative_to(SOURCE)} imports {module}"
        for path in files()
        if room_of(path) == "twist_evaluation"
        for module in sorted(imported_modules(path.read_text()))
        if module.startswith("twist_sim.") and not module.startswith(allowed)
    ]
    assert not trespasses


def test_only_policy_and_training_use_torch() -> None:
    trespasses = [
        str(path.relative_to(SOURCE))
        for path in files()
        if room_of(path) not in MAY_USE_TORCH
        and "torch" in tops(imported_modules(path.read_text()))
    ]
    assert not trespasses


def test_an_import_inside_a_function_is_found() -> None:
    text = "def late():\n    from twist_training.cli import main\n    import rclpy.node\n"
    assert tops(imported_modules(text)) == {"twist_training", "rclpy"}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_manifest_names_what_the_package_imports(package: str) -> None:
    manifest = (SOURCE / package / "package.xml").read_text()
    missing = set()
    for path in (SOURCE / package / package).rglob("*.py"):
        keys = manifest_keys(imported_modules(path.read_text()), package)
        missing |= {key for key in keys if f"exec_depend>{key}</" not in manifest}
    assert not missing


@pytest.mark.parametrize("package", PACKAGES)
def test_the_manifest_names_what_the_tests_import_and_no_more(package: str) -> None:
    manifest = (SOURCE / package / "package.xml").read_text()
    keys = {"python3-pytest", "python3-pytest-timeout"}
    for path in (SOURCE / package / "test").rglob("*.py"):
        keys |= manifest_keys(imported_modules(path.read_text()), package)
    missing = {key for key in keys if f"depend>{key}</" not in manifest}
    named = set(re.findall("<test_depend>(.+?)</", manifest))
    assert (missing, named - keys - {"launch_testing"}) == (set(), set())
