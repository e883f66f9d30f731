"""``twist-camera-reference``: has the camera been moved?

    twist-camera-reference save                     stores what the camera sees now
    twist-camera-reference check                    compares; refuses above a limit

Both take frames from the camera's topic, of the lab or of the twin, or PNG files (``--image``).
Exit codes: 0 done, or the camera stands where it stood; 1 refused, for the reason that is printed;
2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from PIL import Image as PngFile

from twist_camera.camera_file import CameraFileError, contract_of
from twist_camera.charuco_board import Image
from twist_camera.collecting import LabError
from twist_camera.limits import LimitsError, load_limits
from twist_camera.reference_view import (
    REFERENCE,
    ReferenceViewError,
    check_reference,
    check_reference_name,
    load_reference,
    make_reference,
)
from twist_camera.registration import RegistrationError
from twist_camera.session import SessionError, check_png_name, read_picture
from twist_policy.camera_match import crop_points

_ERRORS = (
    CameraFileError,
    LabError,
    LimitsError,
    OSError,
    ReferenceViewError,
    RegistrationError,
    SessionError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except _ERRORS as error:
        print(f"twist-camera-reference: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="twist-camera-reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    save = commands.add_parser("save", help="store what the camera sees now")
    _add_source(save)
    save.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("models/block_push"),
        help="whose crop tells where in the picture the shift counts",
    )
    save.set_defaults(run=_save)
    check = commands.add_parser("check", help="compare with what was stored")
    _add_source(check)
    check.add_argument("--limit", type=float, help="pixels; default: of the limits")
    check.add_argument("--limits", type=Path, help="default: limits.yaml of this package")
    check.add_argument(
        "--output", type=Path, help="both views; default: reference_check.png beside the reference"
    )
    check.set_defaults(run=_check)
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reference", type=Path, default=REFERENCE)
    parser.add_argument("--image-topic", default="/camera/camera/color/image_raw")
    parser.add_argument("--frames", type=int, default=10, help="averaged")
    parser.add_argument("--image", type=Path, nargs="+", help="PNG files instead of the topic")


def _frames(options: argparse.Namespace) -> list[Image]:
    if options.image:
        return [read_picture(path) for path in options.image]
    from twist_camera.ros.frames import take_frames  # only this needs ROS

    return take_frames(options.image_topic, max(options.frames, 1))


def _save(options: argparse.Namespace) -> int:
    check_reference_name(options.reference)  # before a picture is waited for
    contract = contract_of(options.checkpoint)
    frames = _frames(options)
    height, width = frames[0].shape[:2]
    if (width, height) != (contract.camera.width, contract.camera.height):
        raise ReferenceViewError(
            f"the camera sends {width}x{height}, the policy of {options.checkpoint} looks at "
            f"{contract.camera.width}x{contract.camera.height}; set the camera's colour profile"
        )
    # The contract counts from the edge of the first pixel, pictures from its centre.
    make_reference(frames, crop_points(contract.image) - 0.5, datetime.now()).save(
        options.reference
    )
    print(f"{options.reference}: stored; compare with `twist-camera-reference check`")
    return 0


def _check(options: argparse.Namespace) -> int:
    output = options.output or options.reference.parent / "reference_check.png"
    check_png_name(output)
    reference = load_reference(options.reference)
    limit = load_limits(options.limits).reference if options.limit is None else options.limit
    result = check_reference(reference, _frames(options), limit)
    output.parent.mkdir(parents=True, exist_ok=True)
    PngFile.fromarray(result.picture).save(output)
    print(result.message, file=sys.stdout if result.good else sys.stderr)
    print(f"both views: {output}")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
