"""The runner's command line: arguments, checks before the start, exit codes."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import yaml

from twist_bringup import preflight, run_stack
from twist_bringup.options import StackOptions
from twist_bringup.stack import Process, Stack, describe
from twist_bringup.supervisor import Cause, Ending
from twist_sim.gl_backend import BACKENDS
from twist_sim.task_card import load_task_card

FAKE_NODE = "import signal; signal.signal(signal.SIGINT, lambda *_: exit(0)); signal.pause()"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    write_contract(folder)
    return folder


def write_contract(folder: Path, **changes: object) -> None:
    """The manifest of a checkpoint of block push whose contract has some fields changed."""
    contract = load_task_card("block_push").contract(observes_ee_position=True).to_dict()
    (folder / "manifest.json").write_text(json.dumps({"contract": {**contract, **changes}}))


@pytest.fixture
def fake_graph(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> dict[str, str]:
    """The real runner with small programs in the nodes' places; returns the programs by name."""
    programs = {"trial_runner": "pass"}

    def command(process: Process) -> list[str]:
        return [sys.executable, "-c", programs.get(process.name, FAKE_NODE)]

    monkeypatch.setattr(run_stack, "command_of", command)
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    return programs


def run(checkpoint: Path, tmp_path: Path, *words: str) -> int:
    fixed = [f"checkpoint:={checkpoint}", f"output:={tmp_path / 'out'}", "report:=false"]
    return run_stack.main([*fixed, *words])


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (2, 2), (5, 1)])
def test_the_exit_code_tells_whether_the_trials_are_complete(
    fake_graph: dict[str, str], checkpoint: Path, tmp_path: Path, code: int, expected: int
) -> None:
    fake_graph["trial_runner"] = f"import sys; sys.exit({code})"
    assert run(checkpoint, tmp_path) == expected


def test_a_dead_process_gives_exit_code_1_its_name_and_its_last_words(
    fake_graph: dict[str, str],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_graph["trial_runner"] = FAKE_NODE
    fake_graph["servo_node"] = "import sys; print('out of oil'); sys.exit(4)"
    assert run(checkpoint, tmp_path) == 1
    text = capsys.readouterr().out
    assert "servo_node died with exit code 4" in text
    assert "out of oil" in text
    assert (tmp_path / "out" / "log" / "servo_node.log").read_text().startswith("out of oil")


def test_what_ran_is_written_down(
    fake_graph: dict[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    run(checkpoint, tmp_path, "trials:=3", "seed:=9")
    log = tmp_path / "out" / "log"
    written = json.loads((log / "stack.json").read_text())
    assert written["options"]["trials"] == 3
    assert set(written["commands"]) == {p.name for p in describe(StackOptions()).processes}
    parameters = yaml.safe_load((log / "parameters" / "trial_runner.yaml").read_text())
    assert parameters["/**"]["ros__parameters"]["seed"] == 9


def test_the_command_line_carries_name_parameters_and_remappings(tmp_path: Path) -> None:
    process = Process(
        name="camera",
        package="twist_bringup",
        executable="mock_camera",
        module="twist_bringup.mock_camera",
        namespace="/camera",
        parameters=(("rate", 5.0),),
        remappings=(("a", "/b"),),
    )
    words = run_stack.command_line(process, tmp_path)
    tail = words[words.index("--ros-args") :]
    assert tail[1:5] == ["-r", "__node:=camera", "-r", "__ns:=/camera"]
    assert tail[-2:] == ["-r", "a:=/b"]
    assert yaml.safe_load((tmp_path / "camera.yaml").read_text()) == {
        "/**": {"ros__parameters": {"rate": 5.0}}
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["robot:=ur5"], "allowed values: sim, panda, fr3"),
        (["task:=juggling"], "juggling"),
        (["task:=../block_push"], "block_push"),
        (["camera:=bag"], "bag:=<folder"),
        (["camera:=bag", "bag:=/nowhere"], "no metadata.yaml"),
        (["robot:=panda"], "not installed"),
        (["params_file:=/nowhere.yaml"], "cannot be read"),
        (["sped:=9"], "unknown argument 'sped'"),
    ],
)
def test_wrong_arguments_give_exit_code_2_and_start_nothing(
    fake_graph: dict[str, str],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert run(checkpoint, tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "log").exists()


def checkpoint_missing(folder: Path) -> None:
    shutil.rmtree(folder)


def checkpoint_without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def checkpoint_damaged(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"contract"')


def checkpoint_of_another_task(folder: Path) -> None:
    write_contract(folder, task="block_lift")


def checkpoint_of_another_world(folder: Path) -> None:
    write_contract(folder, leash=0.07, control_period=0.05)


def checkpoint_with_a_nonsensical_contract(folder: Path) -> None:
    write_contract(folder, leash=-1.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (checkpoint_missing, "does not exist; train one with `twist-train"),
        (checkpoint_without_manifest, "is no checkpoint"),
        (checkpoint_damaged, "is damaged"),
        (checkpoint_of_another_task, "is for task block_lift, not block_push"),
        (checkpoint_of_another_world, "(checkpoint != card): control_period: 0.05 != 0.1; leash"),
        (checkpoint_with_a_nonsensical_contract, "its contract is not valid"),
    ],
)
def test_an_unusable_checkpoint_is_refused_before_anything_starts(
    fake_graph: dict[str, str],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Any,
    message: str,
) -> None:
    damage(checkpoint)
    assert run(checkpoint, tmp_path) == 2
    assert message in capsys.readouterr().err


def stack(tmp_path: Path, checkpoint: Path, **changes: Any) -> Stack:
    return describe(
        StackOptions(checkpoint=str(checkpoint), output=str(tmp_path / "out"), **changes)
    )


def test_a_disk_too_small_for_the_recordings_is_named_with_the_cures(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 7 * 10**8, 3 * 10**8))
    found = preflight.problems(stack(tmp_path, checkpoint, trials=20, speed=0.25).options)
    assert len(found) == 1
    assert "0.3 GB free" in found[0]
    assert "20 recorded trials may take 6.6 GB" in found[0]  # a slow one takes four times as long
    assert "record:=false" in found[0]
    assert preflight.problems(stack(tmp_path, checkpoint, trials=20, record=False).options) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 9 * 10**8, 10**8))
    found = preflight.problems(stack(tmp_path, checkpoint, trials=20, record=False).options)
    assert "0.1 GB free, but the log may take 0.2 GB" in found[0]
    assert "record:=false" not in found[0]
    # Three seeds with two checkpoints each are 24 recordings.
    many = {"trials": 4, "seeds": "1,2,3", "compare_with": str(checkpoint)}
    assert (
        "24 recorded trials" in preflight.problems(stack(tmp_path, checkpoint, **many).options)[0]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"twist_policy_node: {ros__parameters: {}} # caf\xe9", "cannot be read"),
        (b"twist_policy_node: {ros__parameters: {speed: 0.1}}", "say speed:=<share> instead"),
    ],
)
def test_a_parameter_file_that_the_results_could_not_tell_of_is_refused(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    (found,) = preflight.problems(stack(tmp_path, checkpoint, params_file=str(file)).options)
    assert message in found


def test_an_output_folder_whose_name_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    options = dataclasses.replace(
        stack(tmp_path, checkpoint).options, output=f"{tmp_path}/caf\udce9"
    )
    (found,) = preflight.problems(options)
    assert "no UTF-8 text" in found


def test_a_second_checkpoint_and_the_trials_of_every_seed_are_checked_too(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    found = preflight.problems(
        stack(tmp_path, checkpoint, compare_with=str(tmp_path / "no")).options
    )
    assert len(found) == 1
    assert "does not exist" in found[0]
    (tmp_path / "out" / "seed1" / "trial_000").mkdir(parents=True)
    found = preflight.problems(stack(tmp_path, checkpoint).options)
    assert len(found) == 1
    assert "already holds recorded trials" in found[0]


def test_an_output_folder_that_cannot_be_made_is_refused(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    (tmp_path / "out").write_text("a file")
    found = preflight.problems(stack(tmp_path, checkpoint).options)
    assert len(found) == 1
    assert os.strerror(errno.EEXIST) in found[0]


def test_recorded_trials_are_never_overwritten(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    (tmp_path / "out" / "trial_000_block_push_seed0").mkdir(parents=True)
    found = preflight.problems(stack(tmp_path, checkpoint).options)
    assert len(found) == 1
    assert "already holds recorded trials" in found[0]


def test_a_domain_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = preflight.free_domain_id()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7400 + 250 * domain))
        assert not preflight._ports_free(domain)
        monkeypatch.setattr(preflight, "_DOMAINS", [domain])
    assert preflight.free_domain_id() == domain


def test_discovery_stays_on_this_machine_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    environment = run_stack.child_environment(tmp_path, alone=True)
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 100
    # A robot's driver is where its owner has started it.
    assert run_stack.child_environment(tmp_path, alone=False)["ROS_DOMAIN_ID"] == "0"
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    for alone in (True, False):
        environment = run_stack.child_environment(tmp_path, alone=alone)
        assert environment["ROS_DOMAIN_ID"] == "7"


def test_the_checks_are_made_by_the_interpreter_of_the_nodes(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    """``ros2 launch`` runs in another one, which has no simulator to try."""
    program = (
        "import json, os, sys\n"
        "from twist_bringup import preflight\n"
        "from twist_bringup.options import StackOptions\n"
        "from twist_bringup.stack import describe\n"
        "sys.prefix, sys.executable = '/usr', '/bin/false'\n"
        "sys.modules.update(mujoco=None, scipy=None, torch=None, cv2=None)\n"
        "stack = describe(StackOptions(checkpoint=sys.argv[1], output=sys.argv[2]))\n"
        "found = preflight.workspace_problems(stack.options)\n"
        "print(json.dumps([found, os.environ['MUJOCO_GL']]))\n"
    )
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    command = [sys.executable, "-c", program, str(checkpoint)]
    result = subprocess.run(
        [*command, str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    problems, backend = json.loads(result.stdout)
    assert problems == []
    assert backend in BACKENDS
    result = subprocess.run(
        [*command[:3], str(tmp_path / "none"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "does not exist" in json.loads(result.stdout)[0][0]


def test_checks_that_cannot_be_made_are_a_reason_not_to_start(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    (found,) = preflight.workspace_problems(stack(tmp_path, checkpoint).options)
    assert "cannot be made" in found
    assert "make build" in found


def test_a_file_of_colours_is_read_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "_gl_problem", lambda: "")
    colours = tmp_path / "colours.json"
    colours.write_text("{")
    (found,) = preflight.problems(stack(tmp_path, checkpoint, colours=str(colours)).options)
    assert found.startswith(f"colours:={colours}: ")


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Ending(Cause.FINISHED, "trial_runner", 0), 0),
        (Ending(Cause.FINISHED, "trial_runner", 1), 1),
        (Ending(Cause.FINISHED, "trial_runner", -signal.SIGSEGV), 1),
        (Ending(Cause.DIED, "robot_twin", 0), 1),
        (Ending(Cause.SIGNALLED, "", signal.SIGINT), 130),
        (Ending(Cause.SIGNALLED, "", signal.SIGTERM), 143),
    ],
)
def test_exit_codes_are_those_of_the_documentation(ending: Ending, code: int) -> None:
    assert run_stack.exit_code(ending) == code


def test_ctrl_c_during_the_checks_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    # The check waits for ever; the interrupt comes when it says that it was reached.
    program = (
        "import time, sys\n"
        "from twist_bringup import run_stack\n"
        "def wait(stack):\n"
        "    print('checking', flush=True)\n"
        "    time.sleep(60)\n"
        "run_stack.problems = wait\n"
        f"sys.exit(run_stack.main(['output:={tmp_path}']))\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "checking\n"
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in errors


def test_help_names_every_argument_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_stack.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "trials:=<int>" in text
    assert "verbose:=<bool>" in text
