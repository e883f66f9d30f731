"""The reference view: what the camera saw when all was well, to notice that it was knocked since.

A PNG and, beside it under the same name, a YAML file with where in the picture the shift counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image as PngFile

from twist_camera.charuco_board import Array, Image
from twist_camera.registration import Registration, RegistrationError, register
from twist_camera.session import SessionError, check_png_name

FORMAT = 1
REFERENCE = Path("calibration/reference.png")


class ReferenceViewError(ValueError):
    """A reference view cannot be read or written; the message says what to do."""


@dataclass(frozen=True, eq=False)
class ReferenceView:
    """What the camera saw.

    Attributes:
        image: RGB, (H, W, 3), mean of several frames.
        points: where the shift counts, pixels with centres at whole numbers, (N, 2): centre and
            corners of the policy's crop.
        date: when it was saved, ISO 8601.
    """

    image: Image
    points: Array
    date: str

    def save(self, path: Path) -> None:
        """Writes PNG and YAML.

        Raises:
            ReferenceViewError: the folder cannot be written, the name does not end in .png, or a
                YAML file of that name is something else.
        """
        check_reference_name(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            PngFile.fromarray(self.image).save(path, "PNG")
            data = {"format": FORMAT, "date": self.date, "points": self.points.tolist()}
            path.with_suffix(".yaml").write_text(
                yaml.safe_dump(data, sort_keys=False), encoding="utf-8"
            )
        except OSError as error:
            raise ReferenceViewError(f"cannot write the reference view {path}: {error}") from error


def check_reference_name(path: Path) -> None:
    """Refuses a name under which a reference view would be saved over something else.

    Raises:
        ReferenceViewError: it does not end in .png, or the YAML file beside it is no reference's.
    """
    try:
        check_png_name(path)
    except SessionError as error:
        raise ReferenceViewError(str(error)) from error
    companion = path.with_suffix(".yaml")
    if not companion.exists():
        return
    try:
        data = yaml.safe_load(companion.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        data = None
    if not isinstance(data, dict) or set(data) != {"format", "date", "points"}:
        raise ReferenceViewError(
            f"{companion} is there and belongs to no reference view; saving {path} would write "
            "over it. Give another name (--reference), or move that file away"
        )


def load_reference(path: Path) -> ReferenceView:
    """Reads a reference view.

    Raises:
        ReferenceViewError: PNG or YAML are missing or damaged.
    """
    cure = "save one with `twist-camera-reference save`"
    try:
        with PngFile.open(path) as file:
            image = np.asarray(file.convert("RGB"))
        data = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReferenceViewError(
            f"cannot read the reference view {path}: {error}; {cure}"
        ) from error
    try:
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}, expected {FORMAT}")
        points = np.array(data["points"], dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError(f"points of shape {points.shape}")
        return ReferenceView(image, points, str(data["date"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ReferenceViewError(
            f"{path.with_suffix('.yaml')} is damaged ({error!r}); {cure}"
        ) from error


def make_reference(frames: Sequence[Image], points: Array, now: datetime) -> ReferenceView:
    """A reference view from frames of a camera that stands still.

    Raises:
        RegistrationError: the frames have too little texture to tell later whether they moved.
    """
    view = ReferenceView(mean_frame(frames), points, now.astimezone().isoformat(timespec="seconds"))
    try:
        register(view.image, frames[-1])
    except RegistrationError as error:
        raise RegistrationError(
            "this view has too little background to tell by whether the camera moves: put "
            f"something with structure that stays (tape, a printed page) into the picture ({error})"
        ) from error
    return view


def mean_frame(frames: Sequence[Image]) -> Image:
    """Frames averaged: less noise.

    Raises:
        RegistrationError: they have different sizes.
    """
    if len({frame.shape for frame in frames}) != 1:
        raise RegistrationError("the camera's frames have different sizes; is its profile fixed?")
    mean = np.mean(np.stack(frames), axis=0, dtype=np.float64)
    return np.rint(mean).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class ReferenceCheck:
    """The live view against the reference.

    Attributes:
        shift: largest shift at the reference's points, pixels; infinite when nothing is recognised.
        limit: pixels.
        motion: what was found; None when nothing is recognised.
        message: for a person.
        picture: both views side by side, and both in one: the reference red, the live one cyan.
    """

    shift: float
    limit: float
    motion: Registration | None
    message: str
    picture: Image

    @property
    def good(self) -> bool:
        """Whether the camera still stands where it stood."""
        return self.shift <= self.limit


def check_reference(
    reference: ReferenceView, frames: Sequence[Image], limit: float
) -> ReferenceCheck:
    """Compares.

    Args:
        reference: stored.
        frames: live ones, as many as there are.
        limit: largest shift at the reference's points, pixels.
    """
    live = frames[-1]
    motion: Registration | None = None
    shift, vector = float("inf"), np.zeros(2)
    try:
        live = mean_frame(frames)
        motion = register(reference.image, live)
    except RegistrationError as error:
        message = str(error)
    else:
        shift = motion.shift(reference.points)
        vector = motion.displacement(reference.points)[0]
        where = f"{vector[0]:+.1f} right, {vector[1]:+.1f} down at the centre of the policy's crop"
        message = (
            f"the background lies {shift:.1f} pixels (limit {limit:g}) from where it was on "
            f"{reference.date} ({where}; {motion.points} points in {motion.fields} fields)"
        )
        if shift > limit:
            message += (
                ": the camera was moved. Bring it back (the picture shows by how much), or "
                "calibrate it anew and save a new reference"
            )
    title = f"shift {shift:.1f} px, limit {limit:g}: " + ("good" if shift <= limit else "REFUSED")
    return ReferenceCheck(shift, limit, motion, message, _picture(reference, live, title))


def _picture(reference: ReferenceView, live: Image, title: str) -> Image:
    if live.shape != reference.image.shape:
        height, width = reference.image.shape[:2]
        live = cv2.resize(live, (width, height), interpolation=cv2.INTER_AREA)
    grey_a, grey_b = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (reference.image, live))
    both = np.stack([grey_a, grey_b, grey_b], axis=-1)
    panels = []
    texts = (f"reference {reference.date}", "live", title)
    for panel, text in zip((reference.image, live, both), texts, strict=True):
        framed = cv2.copyMakeBorder(panel, 24, 0, 2, 2, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        cv2.putText(
            framed, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
        )
        for column, row in reference.points:
            place = (round(column) + 2, round(row) + 24)
            cv2.drawMarker(framed, place, (255, 255, 0), cv2.MARKER_CROSS, 12, 1)
        panels.append(framed)
    return np.concatenate(panels, axis=1)
