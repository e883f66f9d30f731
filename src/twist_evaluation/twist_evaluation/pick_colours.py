"""``twist-colours``: fits the colours of cube and goal from one click on each.

    twist-colours view.png --out colours.json
    twist-colours view.png --cube 410,245 --goal 440,275 --out colours.json

Takes a picture of the camera, or a recorded bag, whose first picture is used. Without ``--cube``
and ``--goal`` a window opens to click in. Needs no ROS.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from twist_evaluation.bag_writer import BagError
from twist_evaluation.observer.colours import (
    ColourError,
    ColourModel,
    Image,
    adapt,
    chroma,
    fit_colours,
    masks,
    save_colours,
)
from twist_evaluation.trial_record import read_trial

Pixel = tuple[float, float]


def first_picture(source: Path) -> Image:
    """The picture in a file, or the first one of a bag, (H, W, 3) uint8 RGB.

    Raises:
        ColourError: there is none.
    """
    if source.is_dir():
        try:
            frame = read_trial(source).first_frame
        except BagError as error:
            raise ColourError(f"{source} cannot be read: {error}") from None
        if frame is None:
            raise ColourError(f"{source} holds no picture that can be shown")
        return np.asarray(frame, dtype=np.uint8)
    picture = cv2.imread(str(source), cv2.IMREAD_COLOR)
    if picture is None:
        raise ColourError(f"{source} is no picture that can be read; give a PNG or JPEG, or a bag")
    return np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8)


def click(frame: Image, names: Sequence[str]) -> list[Pixel]:
    """Asks for a click on each of `names` in a window.

    Raises:
        ColourError: this OpenCV has no windows, or the window was closed.
    """
    clicks: list[Pixel] = []

    def on_mouse(event: int, x: int, y: int, flags: int, data: object) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            clicks.append((float(x), float(y)))

    title = "click on the cube, then on the goal; Esc gives up"
    try:
        cv2.imshow(title, np.ascontiguousarray(frame[..., ::-1]))
        cv2.setMouseCallback(title, on_mouse)
        while len(clicks) < len(names):
            if cv2.waitKey(50) == 27:
                break
        cv2.destroyAllWindows()
    except cv2.error:
        raise ColourError(
            "this OpenCV has no windows: read the pixels off in an image viewer and give them with "
            "--cube COLUMN,ROW --goal COLUMN,ROW"
        ) from None
    if len(clicks) < len(names):
        raise ColourError("nothing was chosen")
    return clicks


def shown_masks(frame: Image, model: ColourModel) -> Image:
    """The picture, grey but for what has the cube's and the goal's colour."""
    picture = chroma(frame)
    cube, goal = masks(picture, adapt(picture, model))
    grey = frame.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8)
    return np.where((cube | goal)[..., None], frame, grey // 2 + 64).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``twist-colours``; 0 when the file was written, else 2."""
    parser = argparse.ArgumentParser(
        prog="twist-colours",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="picture file, or folder of a bag")
    parser.add_argument("--cube", type=_pixel, help="COLUMN,ROW of a pixel on the cube")
    parser.add_argument("--goal", type=_pixel, help="COLUMN,ROW of a pixel on the goal")
    parser.add_argument("--output", type=Path, default=Path("colours.json"))
    parser.add_argument("--check", type=Path, help="picture to write, to see what was recognised")
    options = parser.parse_args(arguments)
    if (options.cube is None) != (options.goal is None):
        parser.error("give both --cube and --goal, or neither")
    try:
        frame = first_picture(options.source)
        cube, goal = options.cube, options.goal
        if cube is None:
            cube, goal = click(frame, ("cube", "goal"))
        model = fit_colours(frame, cube, goal)
        save_colours(model, options.output)
        if options.check is not None:
            picture = shown_masks(frame, model)
            cv2.imwrite(str(options.check), np.ascontiguousarray(picture[..., ::-1]))
    except (ColourError, OSError, cv2.error) as error:
        print(f"twist-colours: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: cube {_told(model.cube)}, goal {_told(model.goal)}")
    return 0


def _pixel(text: str) -> Pixel:
    try:
        column, row = (float(part) for part in text.split(","))
        if not (math.isfinite(column) and math.isfinite(row)):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN,ROW") from None
    return column, row


def _told(colour: tuple[float, float]) -> str:
    return f"({colour[0]:+.2f}, {colour[1]:+.2f})"


if __name__ == "__main__":
    sys.exit(main())
