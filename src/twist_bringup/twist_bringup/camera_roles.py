"""The camera's roles: who drives it, who checks its settings, and whether it still stands there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twist_bringup.options import StackOptions
    from twist_bringup.stack import Process

IMAGE_TOPIC = "/camera/camera/color/image_raw"
CAMERA_FILE, REFERENCE = Path("calibration/camera.yaml"), Path("calibration/reference.png")
"""What `twist-calibrate` and `twist-camera-reference` write when they are not told otherwise."""
WITHOUT = "none"
LAB_CAMERAS = ("realsense", "pyrealsense", "running")
_SETTINGS = "realsense.yaml"


def camera_drivers(options: StackOptions) -> list[Process]:
    """A real camera's driver, and the check of its settings where it does not check them itself."""
    from twist_bringup.stack import Process  # which describes with this: else a cycle

    if options.camera_source == "realsense":
        driver = Process(
            name="camera",
            namespace="/camera",
            package="realsense2_camera",
            executable="realsense2_camera_node",
            parameter_file=_SETTINGS,
            stop_stage=3,
        )
        check = Process(
            name="camera_check",
            package="twist_camera",
            executable="camera_check",
            module="twist_camera.ros.camera_check",
            parameter_file=_SETTINGS,
            parameters=(("driver", "/camera/camera"),),
        )
        return [driver, check]
    if options.camera_source == "pyrealsense":
        return [
            Process(
                name="camera",
                namespace="/camera",
                package="twist_camera",
                executable="pyrealsense_camera",
                module="twist_camera.ros.pyrealsense_camera",
                parameter_file=_SETTINGS,
                stop_stage=3,
            )
        ]
    return []


def camera_reference(options: StackOptions) -> list[Process]:
    """Who compares the live view with the stored one before an evaluation."""
    from twist_bringup.stack import Process

    if not options.reference:
        return []
    return [
        Process(
            name="camera_reference",
            package="twist_camera",
            executable="camera_reference",
            module="twist_camera.ros.camera_reference",
            parameters=(("reference", options.reference),),
            remappings=(("image_raw", IMAGE_TOPIC),),
            stop_stage=2,
        )
    ]


def complete_camera_file(options: StackOptions) -> str:
    """The camera file, absolute; the usual one is taken for a real camera where there is one.

    ``none`` stays: somebody has decided to go without.
    """
    if options.camera_file == WITHOUT:
        return WITHOUT
    return _complete(options.camera_file, CAMERA_FILE, options)


def complete_reference(options: StackOptions) -> str:
    """The same for the reference view; ``none`` is none."""
    if options.reference == WITHOUT:
        return ""
    return _complete(options.reference, REFERENCE, options)


def _complete(given: str, usual: Path, options: StackOptions) -> str:
    if given:
        return str(Path(given).expanduser().absolute())
    if options.camera_source in LAB_CAMERAS and usual.is_file():
        return str(usual.absolute())
    return ""


_ANEW = "for the graph that `twist-calibrate` needs, start with dry_run:=true camera_file:=none"


def camera_problems(options: StackOptions) -> list[str]:
    """Why this camera must not be looked through, found before anything starts.

    Args:
        options: completed.
    """
    found = []
    if options.camera_source == "pyrealsense" and find_spec("pyrealsense2") is None:
        found.append(
            "camera:=pyrealsense needs the Python package pyrealsense2, which is not installed: "
            ".venv/bin/python -m pip install pyrealsense2; or use camera:=realsense"
        )
    moves = options.robot != "sim" and not options.dry_run
    if moves and options.camera_source in LAB_CAMERAS and not options.camera_file:
        found.append(
            f"the camera is not calibrated: there is no {CAMERA_FILE}. The policy acts on what it "
            "sees from one place; measure that with `twist-calibrate`, or say camera_file:=none to "
            "go without"
        )
    camera_file = "" if options.camera_file == WITHOUT else options.camera_file
    if not camera_file and not options.reference:
        return found
    # Imported here: only a calibrated camera needs it.
    try:
        from twist_camera.camera_file import (
            CameraFileError,
            camera_difference,
            contract_of,
            load_camera_file,
        )
        from twist_camera.limits import LimitsError, load_limits
        from twist_camera.reference_view import ReferenceViewError, load_reference
        from twist_policy.camera_match import CameraMatchError
    except ImportError as error:
        return [f"twist_camera cannot be imported ({error}); build the workspace: make build"]
    if camera_file:
        try:
            contract = contract_of(Path(options.checkpoint))
            camera = load_camera_file(Path(camera_file))
            difference = camera_difference(camera, contract.camera, contract.image)
            problems = difference.problems(load_limits())
            found += [f"camera_file:={camera_file}: {problem}; {_ANEW}" for problem in problems]
        except (CameraFileError, CameraMatchError, LimitsError) as error:
            found.append(f"{error}; {_ANEW}")
    if options.reference:
        try:
            load_reference(Path(options.reference))
        except ReferenceViewError as error:
            found.append(f"reference:={options.reference}: {error}")
    return found
