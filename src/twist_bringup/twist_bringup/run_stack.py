"""``run_stack``: starts the graph without ``ros2 launch``.

    run_stack task:=block_push trials:=5 seed:=1 checkpoint:=models/block_push output:=bags/demo

Exit codes: 0 the run is complete (every trial ended in success or failure; how often is in the
report); 1 trials were aborted, or a process died or could not start; 2 wrong arguments, or a check
before the start failed; 128 + signal after Ctrl-C (130) or another stop signal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from twist_bringup.executables import check_packages, command_of
from twist_bringup.log_lines import CONSOLE_FORMAT, LogLines
from twist_bringup.moveit_parameters import MoveItError
from twist_bringup.options import (
    ARGUMENTS,
    RUNNER_ARGUMENTS,
    OptionError,
    describe_arguments,
    options_from,
    parse_arguments,
)
from twist_bringup.preflight import free_domain_id, problems
from twist_bringup.robot_profile import ProfileError
from twist_bringup.stack import Process, Stack, StackError, describe
from twist_bringup.supervisor import Cause, Ending, Supervisor, describe_code

EXIT_COMPLETE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
EXIT_SIGNAL = 128
_INTERRUPTED = 130
_HELP = """\
Runs the policy's graph: camera, robot, Servo, policy node, recorder and trial runner.

usage: run_stack [name:=value ...]

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code described above."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    table = (*ARGUMENTS, *RUNNER_ARGUMENTS)
    if any(word in ("-h", "--help", "-s", "--show-args") for word in words):
        print(_HELP + describe_arguments(table))
        return EXIT_COMPLETE
    try:
        values = parse_arguments(words, table)
        stack = describe(options_from(values))
        check_packages(stack)
        found = problems(stack.options)
        if found:
            raise StackError("\n  ".join(["not started:", *found]))
        return _run(stack, verbose=bool(values["verbose"]), report=bool(values["report"]))
    except (OptionError, StackError, ProfileError, MoveItError) as error:
        print(f"run_stack: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("run_stack: interrupted", file=sys.stderr)
        return _INTERRUPTED


def child_environment(output: Path, *, alone: bool) -> dict[str, str]:
    """This process's environment with what the nodes need.

    Discovery stays on this machine, and the domain is a free one, unless the caller chose others.

    Args:
        output: folder of the run.
        alone: whether every node is started from here; a robot's driver is in ROS's own domain, 0.
    """
    environment = dict(os.environ)
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if not environment.get("ROS_DOMAIN_ID"):
        environment["ROS_DOMAIN_ID"] = str(free_domain_id()) if alone else "0"
    environment["RCUTILS_CONSOLE_OUTPUT_FORMAT"] = CONSOLE_FORMAT
    environment["RCUTILS_COLORIZED_OUTPUT"] = "0"
    environment["PYTHONUNBUFFERED"] = "1"
    environment.setdefault("ROS_LOG_DIR", str(output / "log" / "ros"))
    # One thread per process: the nodes share few cores, and a pool that spins steals them.
    environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


def command_line(process: Process, parameters: Path) -> list[str]:
    """The whole command line of a process; its parameters are written to a file.

    Args:
        process: what to start.
        parameters: folder for the parameter file.

    Raises:
        StackError: its program is not there.
        ProfileError: its parameter file cannot be read.
        MoveItError: the robot's description cannot be loaded.
    """
    words = [
        *command_of(process),
        *process.arguments,
        "--ros-args",
        "-r",
        f"__node:={process.name}",
    ]
    if process.namespace:
        words += ["-r", f"__ns:={process.namespace}"]
    tree = process.parameter_tree()
    if tree:
        parameters.mkdir(parents=True, exist_ok=True)
        path = parameters / f"{process.name}.yaml"
        text = yaml.safe_dump({"/**": {"ros__parameters": tree}}, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        words += ["--params-file", str(path)]
    if process.params_file:
        words += ["--params-file", process.params_file]
    for source, target in process.remappings:
        words += ["-r", f"{source}:={target}"]
    return words


def _run(stack: Stack, *, verbose: bool, report: bool) -> int:
    output = Path(stack.options.output)
    folder = output / "log"
    environment = child_environment(output, alone=stack.options.robot == "sim")
    # Every command line exists before the first process does: a missing program starts nothing.
    commands = {p.name: command_line(p, folder / "parameters") for p in stack.processes}
    log = LogLines(stack.processes, folder, verbose=verbose)
    (folder / "stack.json").write_text(
        json.dumps(
            {
                "options": asdict(stack.options),
                "domain_id": environment["ROS_DOMAIN_ID"],
                "commands": commands,
            },
            indent=2,
        ),
        encoding="utf-8",
    )
    log.say(
        f"run_stack: {stack.options.task} with {stack.options.checkpoint}\n"
        f"run_stack: {len(stack.processes)} processes, ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}"
        f", logs in {folder}"
    )
    supervisor = Supervisor(
        stack.processes,
        lambda process: commands[process.name],
        environment,
        log.line,
        log.event,
    )
    try:
        ending = supervisor.run()
    except StackError as error:
        log.say(f"run_stack: {error}")
        return EXIT_FAILED
    finally:
        log.close()
    _explain(ending, log)
    folders = (output, *output.glob("seed*"))
    bags = sorted(path.parent for place in folders for path in place.glob("trial_*/metadata.yaml"))
    if bags:
        log.say(f"bags:    {len(bags)} in {output} ({bags[0].name} ... {bags[-1].name})")
    if report and bags and ending.cause is not Cause.SIGNALLED:
        _report(output, log, environment)
    return exit_code(ending)


def exit_code(ending: Ending) -> int:
    """The runner's exit code for the way a run ended."""
    if ending.cause is Cause.SIGNALLED:
        return EXIT_SIGNAL + ending.code
    if ending.cause is Cause.FINISHED and ending.code in (EXIT_COMPLETE, EXIT_USAGE):
        return ending.code
    return EXIT_FAILED


def _explain(ending: Ending, log: LogLines) -> None:
    if ending.forced:
        log.say(f"run_stack: had to be killed: {', '.join(ending.forced)}")
    if ending.cause is Cause.SIGNALLED:
        log.say("run_stack: stopped; trials recorded so far are kept")
    elif ending.cause is Cause.DIED or ending.code < 0:
        last = log.last_lines(ending.process)
        log.say(f"run_stack: {ending.process} died with {describe_code(ending.code)}")
        log.say(f"run_stack: the whole story is in {log.folder / (ending.process + '.log')}")
        for line in last:
            log.say(f"  {line}")


def _report(output: Path, log: LogLines, environment: dict[str, str]) -> None:
    program = shutil.which("twist-report")
    command = (
        [program]
        if program
        else [sys.executable, "-c", "from twist_evaluation.report import main; main()"]
    )
    result = subprocess.run([*command, str(output)], env=environment, check=False)
    if result.returncode != 0:
        log.say(
            f"run_stack: no report ({describe_code(result.returncode)}); "
            f"the bags are whole, try again with: twist-report {output}"
        )


if __name__ == "__main__":
    sys.exit(main())
