"""Images and packages without a Docker engine: every file is parsed, every name in it checked."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = sorted(ROOT.glob("docker/*/Dockerfile"))
COMPOSE = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
INSTRUCTIONS = {"ARG", "FROM", "SHELL", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT", "CMD"}

BASE_IMAGES = {"ros:jazzy-ros-base", "ubuntu:24.04"}
"""Official images; the first holds rosdep, colcon's dependencies and ros_base."""

UBUNTU_PACKAGES = {
    "ca-certificates",
    "cmake",
    "g++",
    "git",
    "libegl1",
    "libeigen3-dev",
    "libgl1",
    "libgl1-mesa-dri",
    "libgles2",
    "libpoco-dev",
    "make",
    "python3",
    "python3-colcon-common-extensions",
    "python3-dev",
    "python3-rosdep",
    "python3-venv",
    "udev",
    "usbutils",
}
"""Names in Ubuntu 24.04 (universe included) or in ROS's own apt repository."""

ROS_PACKAGES = {
    "action_msgs",
    "ament_cmake",
    "ament_index_python",
    "builtin_interfaces",
    "control_msgs",
    "controller_manager_msgs",
    "diagnostic_msgs",
    "foxglove_bridge",
    "geometry_msgs",
    "launch",
    "launch_ros",
    "launch_testing",
    "lifecycle_msgs",
    "moveit",
    "moveit_msgs",
    "moveit_py",
    "moveit_resources_panda_moveit_config",
    "moveit_servo",
    "pinocchio",
    "nav_msgs",
    "rcl_interfaces",
    "rclpy",
    "realsense2_camera",
    "ros2_control",
    "ros2_controllers",
    "rosbag2",
    "rosgraph_msgs",
    "rosidl_default_generators",
    "rosidl_default_runtime",
    "rviz2",
    "sensor_msgs",
    "shape_msgs",
    "std_msgs",
    "std_srvs",
    "trajectory_msgs",
    "unique_identifier_msgs",
    "visualization_msgs",
    "xacro",
}
"""Packages that are released for Jazzy, looked up in ros/rosdistro (August 2026)."""

ROSDEP_KEYS = {
    "python3-gymnasium-pip",
    "python3-hypothesis",
    "python3-jinja2",
    "python3-matplotlib",
    "python3-mujoco-pip",
    "python3-numpy",
    "python3-opencv",
    "python3-opengl",
    "python3-pil",
    "python3-pytest",
    "python3-pytest-timeout",
    "python3-pytorch-pip",
    "python3-rich",
    "python3-rosbags-pip",
    "python3-scipy",
    "python3-tensorboard-pip",
    "python3-tqdm",
    "python3-yaml",
}
"""Keys of rosdep/python.yaml in ros/rosdistro (August 2026)."""

OUR_PACKAGES = {path.parent.name for path in ROOT.glob("src/*/package.xml")}


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: its word, and the rest with build arguments filled in."""

    word: str
    rest: str
    line: int


def parse(path: Path) -> list[Instruction]:
    """Reads the part of the Dockerfile language that ours use; refuses the rest by line."""
    found: list[Instruction] = []
    arguments: dict[str, str] = {}
    pending, start = "", 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        start = start if pending else number
        pending += line.strip().removesuffix("\\") + " "
        if line.endswith("\\"):
            continue
        word, _, rest = pending.strip().partition(" ")
        assert word in INSTRUCTIONS, f"{path}:{start}: {word} is no instruction used here"
        assert "<<" not in rest, f"{path}:{start}: here-documents are not understood here"
        if word == "ARG" and "=" in rest:
            name, _, value = rest.partition("=")
            arguments[name] = value
        for name, value in arguments.items():
            rest = rest.replace(f"${{{name}}}", value)
        found.append(Instruction(word, rest.strip(), start))
        pending = ""
    assert not pending, f"{path}: the last line is continued"
    return found


def of(path: Path, word: str) -> list[str]:
    return [item.rest for item in parse(path) if item.word == word]


def name(path: Path) -> str:
    return path.parent.name


def our_programs() -> set[str]:
    """Entry points of our packages, by name."""
    programs = set()
    for setup in ROOT.glob("src/*/setup.py"):
        programs |= set(re.findall(r'"([\w-]+) = [\w.]+:\w+"', setup.read_text()))
    return programs


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the build's context."""
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    parts = Path(path).parts
    prefixes = ["/".join(parts[: index + 1]) for index in range(len(parts))]
    return any(
        fnmatch.fnmatch(part, pattern.removeprefix("**/"))
        if pattern.startswith("**/")
        else fnmatch.fnmatch(prefix, pattern)
        for pattern in patterns
        for part, prefix in zip(parts, prefixes, strict=True)
    )


def apt_packages(path: Path) -> set[str]:
    packages: set[str] = set()
    for run in of(path, "RUN"):
        for command in re.split(r"&&|;", run):
            words = shlex.split(command)
            if "apt-get" in words and "install" in words:
                packages |= {w for w in words[words.index("install") + 1 :] if w[0] != "-"}
    return packages


def test_there_is_an_image_for_the_robot_and_one_for_training() -> None:
    assert [name(path) for path in DOCKERFILES] == ["robot", "train"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_an_image_starts_from_a_known_one_and_ends_with_a_program(path: Path) -> None:
    words = [item.word for item in parse(path)]
    assert set(of(path, "FROM")) <= BASE_IMAGES
    assert set(words[: words.index("FROM")]) <= {"ARG"}
    assert words.count("CMD") == 1


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_everything_copied_into_an_image_exists_and_is_tracked(path: Path) -> None:
    copies = of(path, "COPY")
    assert copies
    for copy in copies:
        *sources, target = copy.split()
        assert len(sources) == 1 or target.endswith("/")
        for source in sources:
            assert (ROOT / source).exists(), f"{path}: COPY {source}: there is no such path"
            assert not ignored(source.rstrip("/")), f"{path}: .dockerignore keeps {source} out"


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_every_apt_package_of_an_image_is_a_known_name(path: Path) -> None:
    packages = apt_packages(path)
    ros = {p.removeprefix("ros-jazzy-").replace("-", "_") for p in packages if "ros-" in p[:4]}
    assert len(packages) > 5
    assert not ros - ROS_PACKAGES
    assert not {p for p in packages if "ros-" not in p[:4]} - UBUNTU_PACKAGES


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_requirements_our_packages_and_programs_named_in_an_image_exist(path: Path) -> None:
    text = path.read_text()
    for requirement in re.findall(r"requirements/[\w.-]+\.txt", text):
        assert (ROOT / requirement).is_file()
    for package in re.findall(r"\btwist_\w+", text):
        assert package in OUR_PACKAGES
    for target in re.findall(r"\bmake (\w+)", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
    (command,) = of(path, "CMD")
    program = yaml.safe_load(command)[0]
    assert program in our_programs() | {"bash"}


def test_the_training_image_installs_what_the_training_imports_and_no_ros() -> None:
    path = ROOT / "docker/train/Dockerfile"
    installed = set(re.findall(r"\./src/(\w+)", path.read_text()))
    needed, todo = set(), {"twist_training"}
    while todo:
        package = todo.pop()
        needed.add(package)
        # twist_sim/ros is the twin; everything else of these packages works without ROS.
        sources = (
            p
            for p in (ROOT / "src" / package / package).rglob("*.py")
            if "ros" not in p.parent.parts[-1:]
        )
        for source in sources:
            found = re.findall(r"^\s*(?:from|import) (twist_\w+)", source.read_text(), re.M)
            todo |= set(found) - needed
    assert installed == needed
    assert not [package for package in apt_packages(path) if package.startswith("ros-")]


def test_the_entry_point_is_valid_shell_and_sources_ros_the_underlay_and_ours_in_this_order() -> (
    None
):
    path = ROOT / "docker/robot/entrypoint.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    parts = ("/opt/ros/", '. "$underlay/install', "/opt/twist/env.sh")
    order = [text.index(part) for part in parts]
    assert order == sorted(order)
    (entry,) = of(ROOT / "docker/robot/Dockerfile", "ENTRYPOINT")
    installed = next(c for c in of(ROOT / "docker/robot/Dockerfile", "COPY") if "entrypoint" in c)
    assert installed.split()[-1].endswith(yaml.safe_load(entry)[0])


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_a_service_is_built_from_a_file_that_exists_and_mounts_what_git_does_not_track(
    service: str,
) -> None:
    description = COMPOSE["services"][service]
    context = (ROOT / "docker" / description["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / description["build"]["dockerfile"]) in DOCKERFILES
    ignored_by_git = (ROOT / ".gitignore").read_text().split()
    for volume in description["volumes"]:
        if isinstance(volume, dict):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume["source"])
            assert source.startswith("../")
            assert f"{source.removeprefix('../')}/" in ignored_by_git
            assert volume["target"].startswith(("/opt/twist/", "${FRANKA_WS:-/underlay}"))


def test_the_robot_service_has_devices_real_time_limits_network_and_domain() -> None:
    robot: dict[str, Any] = COMPOSE["services"]["robot"]
    assert robot["network_mode"] == robot["ipc"] == "host"
    assert robot["ulimits"] == {"rtprio": 99, "memlock": {"soft": -1, "hard": -1}}
    assert robot["cap_add"] == ["SYS_NICE"]
    assert {"c 189:* rmw", "c 81:* rmw"} <= set(robot["device_cgroup_rules"])  # USB, video
    assert {"/dev:/dev", "/run/udev:/run/udev:ro"} <= {
        v for v in robot["volumes"] if isinstance(v, str)
    }
    assert robot["environment"]["ROS_DOMAIN_ID"] == "${ROS_DOMAIN_ID:-0}"
    underlay = [v for v in robot["volumes"] if isinstance(v, dict) and "FRANKA_WS" in v["target"]]
    assert underlay[0]["read_only"] is True


def test_the_training_service_gets_the_gpus() -> None:
    train = COMPOSE["services"]["train"]
    (device,) = train["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


@pytest.mark.parametrize("text", ["FROM", "ADD x y\n", "RUN a \\\n", "RUN cat <<EOF\n"])
def test_the_parser_refuses_what_it_does_not_understand(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(text)
    if text == "FROM":
        assert parse(path) == [Instruction("FROM", "", 1)]
        return
    with pytest.raises(AssertionError, match=r"Dockerfile"):
        parse(path)


@pytest.mark.parametrize(
    "manifest", sorted(ROOT.glob("src/*/package.xml")), ids=lambda path: path.parent.name
)
def test_every_dependency_of_a_package_is_a_key_that_rosdep_knows(manifest: Path) -> None:
    root = ElementTree.parse(manifest).getroot()
    keys = {element.text for element in root if element.tag.endswith("depend")}
    assert not keys - OUR_PACKAGES - ROS_PACKAGES - ROSDEP_KEYS
