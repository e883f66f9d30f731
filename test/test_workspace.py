"""The workspace itself: packages are complete, versions pinned, the shell environment sound."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = sorted(ROOT.glob("src/*/package.xml"))
PYTHON_PACKAGES = sorted(path.parent for path in ROOT.glob("src/*/setup.py"))


def name(path: Path) -> str:
    return path.parent.name if path.is_file() else path.name


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name)
def test_a_manifest_states_its_folder_name_licence_and_maintainer(manifest: Path) -> None:
    root = ElementTree.parse(manifest).getroot()
    assert root.findtext("name") == manifest.parent.name
    assert root.findtext("license") == "Apache-2.0"
    assert root.findtext("maintainer")
    assert (root.findtext("description") or "").strip()


def test_all_packages_have_the_same_version() -> None:
    versions = {ElementTree.parse(path).getroot().findtext("version") for path in MANIFESTS}
    versions |= {
        match[1]
        for path in PYTHON_PACKAGES
        if (match := re.search(r'version="([^"]+)"', (path / "setup.py").read_text()))
    }
    assert len(versions) == 1


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name)
def test_a_package_has_a_readme(manifest: Path) -> None:
    readme = manifest.parent / "README.md"
    assert readme.is_file()
    assert manifest.parent.name in readme.read_text()


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=name)
def test_a_python_package_is_found_by_ros_and_by_type_checkers(package: Path) -> None:
    assert (package / "resource" / package.name).is_file()
    assert (package / package.name / "py.typed").is_file()
    assert list((package / "test").glob("test_*.py")), "a package without tests promises nothing"


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=name)
def test_every_executable_points_at_a_function_that_exists(package: Path) -> None:
    scripts = re.findall(r'"[\w-]+ = ([\w.]+):(\w+)"', (package / "setup.py").read_text())
    for module, function in scripts:
        path = package / Path(*module.split("."))
        source = path.with_suffix(".py")
        source = source if source.is_file() else path / "__init__.py"
        assert re.search(
            rf"^(?:async )?def {function}\(|import .*\b{function}\b", source.read_text(), re.M
        )


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("requirements/*.txt")), ids=lambda path: path.name
)
def test_every_requirement_is_pinned(path: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    unpinned = [line for line in lines if line and not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert not unpinned


def test_a_requirement_has_one_version() -> None:
    # ros-distro.txt replaces ros-jazzy.txt and so may differ from it.
    versions: dict[str, set[str]] = {}
    for path in ROOT.glob("requirements/*.txt"):
        if path.name == "ros-distro.txt":
            continue
        for line in path.read_text().splitlines():
            if match := re.fullmatch(r"([\w.-]+)==([\w.]+)", line.strip()):
                versions.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), set()).add(match[2])
    assert not {key: found for key, found in versions.items() if len(found) > 1}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.split("\0") if line and (ROOT / line).is_file()]


def test_no_file_names_a_machine_or_a_package_index() -> None:
    # Put together here, so that this file does not hold what it looks for.
    homes = "|".join(["ro" + "ot", "wo" + "rk", "ho" + r"me/(?!(?:me|you)/)\w+"])
    hosts = "|".join(["py" + r"pi\.org", "python" + "hosted", "npm" + "js", "debian" + r"\.org"])
    pattern = re.compile(rf"(?<![\w.$}}~*-])/(?:{homes})/|{hosts}")
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def built() -> bool:
    return (ROOT / ".venv" / "bin" / "python").exists() and (ROOT / "install").is_dir()


@pytest.mark.skipif(not built(), reason="env.sh needs the built workspace: make build")
def test_the_environment_can_be_sourced_twice_and_holds_no_folder_twice() -> None:
    done = shell(
        '. ./env.sh; . ./env.sh; printf \'%s\\n\' "$PATH" "$PYTHONPATH" "$AMENT_PREFIX_PATH"'
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        folders = line.split(":")
        assert len(folders) == len(set(folders))
    assert str(ROOT / ".venv" / "bin") in done.stdout.splitlines()[0].split(":")


@pytest.mark.skipif(not built(), reason="env.sh needs the built workspace: make build")
def test_the_environment_keeps_ros_on_this_machine_unless_told_otherwise() -> None:
    script = '. ./env.sh; printf %s "$ROS_AUTOMATIC_DISCOVERY_RANGE"'
    assert shell(script).stdout == "LOCALHOST"
    assert shell(script, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET").stdout == "SUBNET"


def test_setup_refuses_an_unknown_ros_folder_and_names_the_cure() -> None:
    done = shell("scripts/setup.sh", TWIST_ROS="/nowhere/ros")
    assert done.returncode != 0
    assert "/nowhere/ros/setup.sh" in done.stderr
    assert "wheels" in done.stderr


def test_setup_refuses_an_unsuitable_interpreter_and_names_the_cure(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9.1\n")
    old.chmod(0o755)
    done = shell("scripts/setup.sh", TWIST_PYTHON=str(old), TWIST_ROS="wheels")
    assert done.returncode != 0
    assert "3.9.1" in done.stderr
    assert "3.11 or 3.12" in done.stderr


def test_the_repair_puts_our_include_folders_into_exported_cmake_files() -> None:
    builder = "/opt/python/cp312-cp312"
    text = (
        f'set(a "{builder}/include/python3.12;'
        f'{builder}/lib/python3.12/site-packages/numpy/_core/include")\n'
    )
    script = (
        "import sys; sys.path.insert(0, 'scripts'); import repair_ros_wheels as r; "
        f"print(r.repaired({text!r}, '/here/python', '/here/numpy'), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == 'set(a "/here/python;/here/numpy")\n'


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("seed=1",), 'ARGS="seed=..."'),
        (("PRESET=smoke", "device=cuda"), 'ARGS="device=..."'),
        (("PRESET=smoke", "ARGS=seed=1"), "preset=smoke seed=1"),
    ],
)
def test_a_setting_that_make_would_swallow_is_refused(words: tuple[str, ...], told: str) -> None:
    result = subprocess.run(
        ["make", "--dry-run", "train", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert (result.returncode == 0) == (words[-1].startswith("ARGS"))
    assert told in result.stdout + result.stderr
