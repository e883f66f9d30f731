#!/usr/bin/env python3
"""Makes the ROS wheels in a virtual environment usable for building message packages.

The CMake files that the wheels export hold the include folders of the machine that built them.
This script puts this interpreter's own folders in their place. It is idempotent: a second run
finds nothing to repair.

Run it with the environment's own interpreter: ``.venv/bin/python scripts/repair_ros_wheels.py``.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILDER_PYTHON = re.compile(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+")
BUILDER_NUMPY = re.compile(
    r"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages/numpy/(?:_core|core)/include"
)


def repaired(text: str, python_include: str, numpy_include: str) -> str:
    """Returns a CMake file's text with the builder's include folders replaced by ours."""
    text = BUILDER_NUMPY.sub(lambda _: numpy_include, text)
    return BUILDER_PYTHON.sub(lambda _: python_include, text)


def repair(prefix: Path) -> int:
    """Repairs every exported CMake file under ``prefix/share``; returns how many were changed."""
    python_include = sysconfig.get_paths()["include"]
    if not (Path(python_include) / "Python.h").is_file():
        raise SystemExit(
            f"Python.h was not found in {python_include}; message packages cannot be built. "
            f"Install the headers (Debian, Ubuntu: apt-get install python3-dev) and run this again."
        )
    changed = 0
    for path in sorted((prefix / "share").rglob("*.cmake")):
        before = path.read_text(encoding="utf-8")
        after = repaired(before, python_include, numpy.get_include())
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed += 1
    return changed


if __name__ == "__main__":
    print(f"{repair(Path(sys.prefix))} exported CMake files repaired")
