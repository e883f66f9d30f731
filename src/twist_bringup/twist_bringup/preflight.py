"""Checks before anything starts: each failed one is a line that names cause and cure."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from twist_bringup.camera_roles import camera_problems
from twist_bringup.options import StackOptions
from twist_policy.contract import ContractError, PolicyContract

BYTES_PER_TRIAL = 80_000_000
"""Disk space one recorded trial may take: 15 s of 640x480 rgb8 at the recorder's 5 Hz."""
BYTES_TO_SPARE = 200_000_000
_DIFFERENCES_SHOWN = 5
_CHECKS_TIMEOUT = 120.0
"""Seconds for all checks; the two ways to render are tried for up to 30 each."""
_DOMAINS = range(1, 101)
"""Domain ids whose ports lie below the ephemeral range on every platform; 0 is everybody's."""


def workspace_problems(options: StackOptions) -> list[str]:
    """What `problems` finds in the interpreter that the nodes run in.

    ``ros2 launch`` runs in the system's, which lacks what ``make setup`` has put into ``.venv``.

    Args:
        options: completed.
    """
    workspace = os.environ.get("VIRTUAL_ENV", "")
    python = Path(workspace) / "bin" / "python"
    if not workspace or Path(workspace).resolve() == Path(sys.prefix).resolve():
        return problems(options)
    cure = "build the workspace (make build) and source it (. ./env.sh)"
    try:
        result = subprocess.run(
            [str(python), "-m", "twist_bringup.preflight"],
            input=json.dumps(dataclasses.asdict(options)),
            capture_output=True,
            text=True,
            timeout=_CHECKS_TIMEOUT,
            check=True,
        )
        answer = json.loads(result.stdout)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"status {error.returncode}"])[-1]
        return [f"the checks before the start end with an error ({last}); {cure}"]
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return [f"the checks before the start cannot be made ({error}); {cure}"]
    os.environ.update(answer["environment"])
    return list(answer["problems"])


def problems(options: StackOptions) -> list[str]:
    """Everything that would keep the graph from working, found without starting it.

    Args:
        options: completed.
    """
    found = [
        _task_problem(options.task),
        _checkpoint_problem(Path(options.checkpoint), options.task),
        _checkpoint_problem(Path(options.compare_with), options.task)
        if options.compare_with
        else "",
        _output_problem(options),
        _bag_problem(options.bag),
        _params_problem(options.params_file),
        _colours_problem(options.colours),
    ]
    found += camera_problems(options)
    if options.robot == "sim":
        found.append(_gl_problem())
    return [problem for problem in found if problem]


def _task_problem(task: str) -> str:
    # Imported here: the graph's description does not need the simulator, and a lab robot neither.
    try:
        from twist_sim.task_card import TASK_PATH, TaskCardError, load_task_card
    except ImportError as error:
        return f"twist_sim cannot be imported ({error}); build the workspace: make build"
    try:
        card = load_task_card(task)
    except TaskCardError as error:
        return f"task:={task}: {error}"
    if card.task != task:
        return (
            f"task:={task} is a file; the nodes know tasks by their names: put its folder into "
            f"{TASK_PATH} and say task:={card.task}"
        )
    return ""


def _checkpoint_problem(folder: Path, task: str) -> str:
    manifest = folder / "manifest.json"
    cure = f"train one with `twist-train all task={task} preset=cpu`, or give checkpoint:=<folder>"
    if not folder.is_dir():
        return f"the checkpoint folder {folder} does not exist; {cure}"
    try:
        data = json.loads(manifest.read_text(encoding="utf-8"))
        found = data["contract"]["task"]
    except OSError as error:
        return f"{folder} is no checkpoint: {error}; {cure}"
    except (ValueError, TypeError, KeyError) as error:
        return f"{manifest} is damaged ({error!r}); fetch the checkpoint again, or {cure}"
    if found != task:
        return f"the checkpoint {folder} is for task {found}, not {task}; {cure}"
    return _contract_problem(folder, data["contract"], task, cure)


def _contract_problem(folder: Path, data: Any, task: str, cure: str) -> str:
    """Whether the checkpoint was trained for the world that the task card describes."""
    try:
        from twist_sim.task_card import TaskCardError, load_task_card
    except ImportError:
        return ""  # already named by the task's check
    try:
        contract = PolicyContract.from_dict(data)
        card = load_task_card(task).contract(contract.observes_ee_position)
    except ContractError as error:
        return f"{folder}: its contract is not valid ({error}); fetch it again, or {cure}"
    except TaskCardError:
        return ""  # already named by the task's check
    found = contract.differences(card)
    if not found:
        return ""
    shown = "; ".join(found[:_DIFFERENCES_SHOWN])
    more = f"; and {len(found) - _DIFFERENCES_SHOWN} more" * (len(found) > _DIFFERENCES_SHOWN)
    return (
        f"the checkpoint {folder} was trained for another world than task card {task} describes "
        f"(checkpoint != card): {shown}{more}; {cure}, or change the card back"
    )


def _output_problem(options: StackOptions) -> str:
    output = Path(options.output)
    try:
        options.output.encode()
    except UnicodeEncodeError:
        return f"output:={output} is no UTF-8 text, which bags and results need; give another one"
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"cannot make the output folder {output}: {error}; give output:=<folder>"
    if not os.access(output, os.W_OK | os.X_OK):
        return f"the output folder {output} is not writable; give output:=<folder>"
    if not options.resume and (any(output.glob("trial_*")) or any(output.glob("seed*/trial_*"))):
        return (
            f"{output} already holds recorded trials; give another output:=<folder>, or "
            "resume:=true to go on with them"
        )
    free = shutil.disk_usage(output).free
    recorded = options.runs if options.record else 0
    # A slow trial takes as much longer.
    needed = BYTES_TO_SPARE + recorded * BYTES_PER_TRIAL / options.speed
    if free >= needed:
        return ""
    what, cures = "the log", ""
    if recorded:
        what = f"{recorded} recorded trials"
        cures = ", fewer trials, or record:=false"
    return (
        f"{output} has {free / 1e9:.1f} GB free, but {what} may take {needed / 1e9:.1f} GB; "
        f"free some, give output:=<folder on another disk>{cures}"
    )


def _bag_problem(bag: str) -> str:
    if bag and not (Path(bag) / "metadata.yaml").is_file():
        return f"{bag} is no bag: it has no metadata.yaml; give the folder, not the .mcap file"
    return ""


def _params_problem(path: str) -> str:
    if not path:
        return ""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        return f"params_file:={path} cannot be read: {error}"
    nodes = list(data.values()) if isinstance(data, dict) else []
    whole = [isinstance(node, dict) and "ros__parameters" in node for node in nodes]
    if not nodes or not all(whole):
        return f"params_file:={path} must hold `<node>: {{ros__parameters: {{...}}}}` for each node"
    if any("speed" in (node["ros__parameters"] or {}) for node in nodes):
        # The results say at which speed they were made, by what the graph was asked for.
        return f"params_file:={path} sets `speed`; say speed:=<share> instead"
    return ""


def _colours_problem(path: str) -> str:
    if not path:
        return ""
    try:
        from twist_evaluation.observer.colours import ColourError, read_colours
    except ImportError as error:
        return f"twist_evaluation cannot be imported ({error}); build the workspace: make build"
    try:
        read_colours(Path(path))
    except ColourError as error:
        return f"colours:={path}: {error}"
    return ""


def _gl_problem() -> str:
    # Imported here: only the twin renders. Its choice is kept in MUJOCO_GL for the twin's process.
    try:
        from twist_sim.gl_backend import RenderError, select_backend
    except ImportError:
        return ""  # already named by the task's check
    try:
        select_backend()
    except RenderError as error:
        return f"the twin's camera cannot be rendered: {error}"
    return ""


def free_domain_id() -> int:
    """A ROS domain in which nobody on this machine takes part at the moment."""
    candidates = list(_DOMAINS)
    random.SystemRandom().shuffle(candidates)
    for domain in candidates:
        if _ports_free(domain):
            return domain
    return candidates[0]


def _ports_free(domain: int) -> bool:
    """Whether the first participant's discovery and user ports of a domain are unused."""
    base = 7400 + 250 * domain
    for port in (base, base + 10, base + 11):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True


def main() -> int:
    """Reads completed options from the standard input, for `workspace_problems`."""
    options = StackOptions(**json.load(sys.stdin))
    with contextlib.redirect_stdout(sys.stderr):  # rules of somebody's own may print
        found = problems(options)
    backend = {k: v for k, v in os.environ.items() if k == "MUJOCO_GL"}
    print(json.dumps({"problems": found, "environment": backend}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
