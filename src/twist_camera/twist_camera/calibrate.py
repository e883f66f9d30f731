"""``twist-calibrate``: where the camera stands, from a printed board.

    twist-calibrate board                                 a ChArUco board as PDF, true to scale
    twist-calibrate collect calibration/today             guided: pictures and poses, over ROS
    twist-calibrate solve calibration/today               the camera file that the launch reads
    twist-calibrate check calibration/camera.yaml --checkpoint models/block_push
    twist-calibrate overlay calibration/camera.yaml --image picture.png
    twist-calibrate rehearse /tmp/rehearsal               a session without camera and robot

Exit codes: 0 done; 1 refused, for the reason that is printed; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image as PngFile

from twist_camera.board_pdf import PAPERS, write_board_pdf
from twist_camera.calibration import calibrate
from twist_camera.calibration_checks import CalibrationError, CalibrationRules
from twist_camera.camera_file import (
    CameraFile,
    CameraFileError,
    camera_difference,
    contract_of,
    load_camera_file,
    quality_of,
)
from twist_camera.charuco_board import BoardError, BoardSpec
from twist_camera.collecting import LabError, collect_on_hand, collect_on_table
from twist_camera.limits import LimitsError, load_limits
from twist_camera.overlay import table_overlay
from twist_camera.rehearsal import Rehearsal, real_lens, shifted_camera
from twist_camera.rigid_transform import RigidTransform
from twist_camera.session import (
    Session,
    SessionError,
    check_png_name,
    load_session,
    read_picture,
)
from twist_policy.camera_match import CameraIntrinsics, CameraMatchError

CAMERA_FILE = Path("calibration/camera.yaml")
TRUTH = "truth.yaml"
"""Lies beside the views of a rehearsal."""
_TOPICS = "/camera/camera/color"
_ERRORS = (
    BoardError,
    CalibrationError,
    CameraFileError,
    CameraMatchError,
    LabError,
    LimitsError,
    SessionError,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (*_ERRORS, ValueError) as error:
        print(f"twist-calibrate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("twist-calibrate: interrupted; the views taken so far are kept", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="twist-calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    board = commands.add_parser("board", help="write the board as PDF")
    _add_board(board)
    board.add_argument("--paper", choices=sorted(PAPERS), default="a4")
    board.add_argument("--output", type=Path, help="default: <board's name>.pdf")
    board.set_defaults(run=_board)

    collect = commands.add_parser("collect", help="take pictures and poses, guided, over ROS")
    collect.add_argument(
        "folder", type=Path, help="session folder; an unfinished one is gone on with"
    )
    _add_board(collect)
    _add_mode(collect)
    collect.add_argument("--image-topic", default=f"{_TOPICS}/image_raw")
    collect.add_argument("--info-topic", default=f"{_TOPICS}/camera_info")
    collect.add_argument("--pose-topic", default="/ee_pose", help="PoseStamped of the IK tip")
    collect.add_argument(
        "--tool-offset",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="--mode table: tool tip in the frame of the poses, metres",
    )
    collect.set_defaults(run=_collect)

    rehearse = commands.add_parser("rehearse", help="a session of rendered views")
    rehearse.add_argument("folder", type=Path)
    _add_board(rehearse)
    _add_mode(rehearse)
    rehearse.add_argument("--seed", type=int, default=0)
    rehearse.add_argument("--checkpoint", type=Path, default=Path("models/block_push"))
    rehearse.set_defaults(run=_rehearse)

    solve = commands.add_parser("solve", help="compute the camera's pose")
    solve.add_argument("folder", type=Path, help="of collect")
    solve.add_argument(
        "--intrinsics",
        choices=("driver", "estimate"),
        default="driver",
        help="driver: the lens as the camera's driver knows it; estimate: from the views too",
    )
    solve.add_argument(
        "--square-mm",
        type=float,
        help="edge of a square as measured on the print; default: as told to collect",
    )
    solve.add_argument(
        "--board-height-mm",
        type=float,
        default=0.0,
        help="--mode table: the print's height above the table, which is its plate's thickness",
    )
    solve.add_argument("--output", type=Path, help=f"default: {CAMERA_FILE}")
    solve.add_argument("--robot-mm", type=float, default=0.7, help="1 sigma of the arm's positions")
    solve.add_argument("--robot-deg", type=float, default=0.1, help="1 sigma of its orientations")
    solve.set_defaults(run=_solve)

    check = commands.add_parser("check", help="compare a camera file with a checkpoint's camera")
    check.add_argument("camera", type=Path)
    check.add_argument("--checkpoint", type=Path, required=True)
    check.add_argument("--limits", type=Path, help="default: limits.yaml of this package")
    check.set_defaults(run=_check)

    overlay = commands.add_parser("overlay", help="draw the table's grid over a picture")
    overlay.add_argument("camera", type=Path)
    overlay.add_argument("--image", type=Path, help="default: the next one on --image-topic")
    overlay.add_argument("--image-topic", default=f"{_TOPICS}/image_raw")
    overlay.add_argument("--checkpoint", type=Path, help="adds workspace and crop")
    overlay.add_argument("--output", type=Path, default=Path("calibration/overlay.png"))
    overlay.set_defaults(run=_overlay)
    return parser


def _add_board(parser: argparse.ArgumentParser) -> None:
    usual = BoardSpec()
    parser.add_argument("--columns", type=int, default=usual.columns, help="squares along x")
    parser.add_argument("--rows", type=int, default=usual.rows)
    parser.add_argument(
        "--square-mm",
        type=float,
        default=usual.square * 1000,
        help="edge, as measured on the print",
    )
    parser.add_argument("--marker-mm", type=float, default=usual.marker * 1000)


def _add_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("hand", "table"),
        default="hand",
        help="hand: board on the gripper; table: board on the table, touched by the tool tip",
    )
    parser.add_argument("--views", type=int, help="default: 20, or 4 placements on the table")


def _spec(options: argparse.Namespace) -> BoardSpec:
    return BoardSpec(
        options.columns, options.rows, options.square_mm / 1000, options.marker_mm / 1000
    )


def _views(options: argparse.Namespace) -> int:
    return int(options.views or (20 if options.mode == "hand" else 4))


def _board(options: argparse.Namespace) -> int:
    spec = _spec(options)
    path = options.output or Path(f"{spec.name}_{options.paper}.pdf")
    write_board_pdf(spec, path, options.paper)
    print(
        f"{path}: print at 100 % (actual size) on {options.paper} landscape, check the rulers, "
        "glue onto a flat, stiff plate"
    )
    return 0


def _collect(options: argparse.Namespace) -> int:
    if options.mode == "table" and options.tool_offset is None:
        raise SessionError(
            "--mode table needs --tool-offset X Y Z, the tool tip in the frame of the poses (the "
            "task card's tool.offset)"
        )
    # Imported here: only this needs ROS.
    from twist_camera.ros.terminal_lab import open_lab

    begun = (options.folder / "session.yaml").exists()
    session = load_session(options.folder) if begun else None
    if session is not None and session.count >= _views(options):
        raise SessionError(
            f"{options.folder} has its {session.count} views already, of where the camera stood "
            f"then; give a new folder, or --views {session.count + 4} for more of them"
        )
    with open_lab(options.image_topic, options.info_topic, options.pose_topic) as lab:
        intrinsics, base_frame = lab.describe()
        if session is not None:
            if (session.mode, session.spec, session.intrinsics) != (
                options.mode,
                _spec(options),
                intrinsics,
            ):
                raise SessionError(
                    f"{options.folder} holds a session of another mode, board or camera; give "
                    "another folder"
                )
        else:
            session = Session(options.folder, options.mode, _spec(options), base_frame, intrinsics)
        if options.mode == "hand":
            count = collect_on_hand(lab, session, _views(options), CalibrationRules())
        else:
            count = collect_on_table(lab, session, _views(options), tuple(options.tool_offset))
    print(f"{count} views in {options.folder}; next: twist-calibrate solve {options.folder}")
    return 0


def _rehearse(options: argparse.Namespace) -> int:
    if (options.folder / "session.yaml").exists():
        raise SessionError(f"{options.folder} already holds a session; give another folder")
    model = contract_of(options.checkpoint).camera
    rng = np.random.default_rng(options.seed)
    lens = real_lens(CameraIntrinsics.from_model(model), rng)
    pose = RigidTransform.from_quaternion(model.position, model.orientation)
    truth = shifted_camera(pose, rng, 0.02, 1.0)
    lab = Rehearsal(_spec(options), lens, truth, seed=options.seed)
    session = Session(options.folder, options.mode, lab.spec, "panda_link0", lens)
    count = _views(options)
    views = lab.on_hand(count) if options.mode == "hand" else lab.on_table(count)
    for view in views:
        session.add(view.image, view.base_to_ee, view.placement, view.touched)
    CameraFile("panda_link0", lens, truth, {"method": "rehearsal: the truth"}).save(
        options.folder / TRUTH
    )
    print(
        f"{count} rendered views in {options.folder}, the truth in {options.folder / TRUTH}; "
        f"next: twist-calibrate solve {options.folder}, which writes its camera file there"
    )
    return 0


def _solve(options: argparse.Namespace) -> int:
    session = load_session(options.folder)
    output = options.output or CAMERA_FILE
    if options.output is None and (options.folder / TRUTH).exists():
        output = options.folder / CAMERA_FILE.name  # a rehearsal: no camera stands there
    if options.square_mm is not None:
        session.spec = session.spec.scaled(options.square_mm / 1000)
    rules = CalibrationRules(
        robot_position=options.robot_mm / 1000,
        robot_angle=options.robot_deg,
        board_height=options.board_height_mm / 1000,
    )
    estimate = options.intrinsics == "estimate"
    found = calibrate(
        session.spec, session.samples(), session.intrinsics, rules, estimate_intrinsics=estimate
    )
    lens = found.intrinsics
    for name in found.unused:
        print(f"not used: {name} shows too little of the board")
    for name in found.suspects:
        print(
            f"suspect: {name} misses by {found.view_rms[name]:.2f} pixels; look at it, and take it "
            "out of session.yaml if the board or the arm moved"
        )
    print(
        f"views: {len(found.view_rms)} with {found.corners} corners in {found.coverage:.0%} of the "
        f"picture\nreprojection error: {found.rms:.3f} pixels, root mean square\n"
        f"lens ({options.intrinsics}): fx {lens.fx:.2f}, fy {lens.fy:.2f}, cx {lens.cx:.2f}, "
        f"cy {lens.cy:.2f}, distortion {[round(v, 4) for v in lens.distortion]}\n"
        f"camera at {_numbers(found.base_to_camera.position)} m, orientation "
        f"{_numbers(found.base_to_camera.quaternion)}\n"
        f"uncertainty (1 sigma): {found.position_sigma * 1000:.2f} mm, {found.angle_sigma:.3f} "
        "degrees, with board and lens as told\n"
        f"as the views tell it, the board has {found.board_scale} times the size told"
        + (f", or the lens {found.lens_scale} times its focal length" if found.lens_scale else "")
    )
    if found.lens_scale is not None and 2 * found.lens_scale.sigma > rules.scale:
        print(
            f"not told by these views: a lens that is less than {2 * found.lens_scale.sigma:.1%} "
            "off, which moves the camera by that share of its distance; more placements, or a "
            "session with --mode hand, tell it better"
        )
    method = f"{session.mode}, intrinsics {options.intrinsics}"
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    CameraFile(session.base_frame, lens, found.base_to_camera, quality_of(found, method, now)).save(
        output
    )
    print(f"written: {output}; judge it by eye: twist-calibrate overlay {output}")
    return 0


def _check(options: argparse.Namespace) -> int:
    contract = contract_of(options.checkpoint)
    difference = camera_difference(
        load_camera_file(options.camera), contract.camera, contract.image
    )
    print(f"against the camera of {options.checkpoint}: {difference}")
    problems = difference.problems(load_limits(options.limits))
    for problem in problems:
        print(f"twist-calibrate: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _overlay(options: argparse.Namespace) -> int:
    camera = load_camera_file(options.camera)
    contract = contract_of(options.checkpoint) if options.checkpoint else None
    if options.image is not None:
        image = read_picture(options.image)
    else:
        from twist_camera.ros.frames import take_frames  # only this needs ROS

        image = take_frames(options.image_topic, 1)[0]
    check_png_name(options.output)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    PngFile.fromarray(table_overlay(image, camera, contract)).save(options.output)
    print(f"{options.output}: the grid has to lie on the table, its lines 10 cm apart")
    return 0


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


if __name__ == "__main__":
    sys.exit(main())
