"""Finding the program of a process: in the built workspace, else as a module of a checkout."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from twist_bringup.stack import Process, Stack, StackError


def package_installed(package: str) -> bool:
    """Whether a package is in the ament index of the sourced environment."""
    return _prefix(package) is not None


def check_packages(stack: Stack) -> None:
    """Checks that every package of another project is there.

    Raises:
        StackError: at least one is not; the message says what to install.
    """
    missing = stack.missing_packages(package_installed)
    if missing:
        chosen = stack.options
        raise StackError(
            f"robot:={chosen.robot} camera:={chosen.camera_source} servo:={chosen.servo_source} "
            "needs packages that are not installed:\n  " + "\n  ".join(missing)
        )


def check_programs(stack: Stack) -> None:
    """Checks that every program is installed, before the first one is started.

    Raises:
        StackError: at least one is not; the message names them.
    """
    missing = [f"{p.package}/{p.executable}" for p in stack.processes if _program(p) is None]
    if missing:
        raise StackError(
            f"not installed: {', '.join(missing)}; build the workspace (colcon build) and source it"
        )


def command_of(process: Process) -> list[str]:
    """The command line of a process without its ROS arguments.

    Raises:
        StackError: neither the installed program nor the module can be found.
    """
    program = _program(process)
    if program is not None:
        return [str(program)]
    if process.module and _importable(process.module):
        start = f"import sys; from {process.module} import main; sys.exit(main())"
        return [sys.executable, "-c", start]
    raise StackError(
        f"the program {process.executable} of package {process.package} is not installed; "
        "build the workspace (make build) and source it (. ./env.sh)"
    )


def _program(process: Process) -> Path | None:
    prefix = _prefix(process.package)
    program = prefix / "lib" / process.package / process.executable if prefix else None
    return program if program is not None and os.access(program, os.X_OK) else None


def _prefix(package: str) -> Path | None:
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        marker = Path(prefix) / "share" / "ament_index" / "resource_index" / "packages" / package
        if prefix and marker.is_file():
            return Path(prefix)
    return None


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
