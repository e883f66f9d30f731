"""One MP4 of all trials: the camera's view, what the policy believes, and how each trial ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from twist_evaluation.results import Outcome
from twist_evaluation.trial_record import Track, TrialRecord, frames

SPEED = 2.0
"""The video runs this much faster than the robot did."""

_HOLD = 1.2  # seconds of video that the last frame of a trial stays
_BANNERS = {
    Outcome.SUCCESS: ("success", (22, 163, 74)),
    Outcome.FAILURE: ("failure", (220, 38, 38)),
    Outcome.ABORTED: ("aborted", (217, 119, 6)),
    Outcome.NOT_JUDGED: ("not judged", (124, 58, 237)),
}
_BELIEF_COLOUR = (56, 189, 248)
_GOAL_COLOUR = (250, 204, 21)


class VideoError(RuntimeError):
    """No video can be made; the message names cause and cure."""


@dataclass(frozen=True)
class _Camera:
    """Pinhole camera: where base-frame points fall in the image."""

    intrinsics: np.ndarray  # (3, 3)
    rotation: np.ndarray  # (3, 3), optical frame -> base
    position: np.ndarray  # (3,)

    def project(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Pixels of (N, 3) points in metres; those behind the camera are left out."""
        seen = (points - self.position) @ self.rotation
        seen = seen[seen[:, 2] > 1e-6]
        pixels = (seen / seen[:, 2:]) @ self.intrinsics.T
        return [(float(u), float(v)) for u, v, _ in pixels]


def write_video(records: Sequence[TrialRecord], path: Path) -> int:
    """Writes H.264 (yuv420p, playable in browsers) and returns the number of frames.

    Args:
        records: trials in the order they are shown; those without images are left out.
        path: of the file; replaced when it exists, complete or not at all.

    Raises:
        VideoError: no trial has images.
        OSError: the file cannot be written.
    """
    shown = [record for record in records if record.first_frame is not None]
    if not shown:
        raise VideoError("no bag holds camera images that can be shown")
    first = shown[0].first_frame
    assert first is not None
    # Chroma is subsampled: both edges have to be even.
    size = (first.shape[1] // 2 * 2, first.shape[0] // 2 * 2)
    rate = _frame_rate(shown[0])
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    count = 0
    try:
        with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.options = {"crf": "25", "preset": "veryfast", "threads": "1"}
            for record in shown:
                label = f"trial {record.trial + 1}"
                hold = max(1, round(_HOLD * float(rate)))
                for image in _annotated(record, label, size, hold):
                    frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
                    container.mux(stream.encode(frame))
                    count += 1
            container.mux(stream.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _frame_rate(record: TrialRecord) -> Fraction:
    interval = record.frame_interval if record.frame_interval > 1e-3 else 0.2
    return Fraction(round(min(60.0, max(2.0, SPEED / interval))))


def _annotated(
    record: TrialRecord, label: str, size: tuple[int, int], hold: int
) -> Iterator[Image.Image]:
    camera = _camera(record)
    picture: Image.Image | None = None
    stamp = 0.0
    for stamp, pixels in frames(record):
        picture = Image.fromarray(pixels)
        if picture.size != size:
            picture = picture.resize(size)
        yield _draw(picture.copy(), record, label, camera, stamp, None)
    if picture is not None:
        end = _draw(picture, record, label, camera, stamp, record.outcome)
        yield from (end for _ in range(hold))


def _draw(
    picture: Image.Image,
    record: TrialRecord,
    label: str,
    camera: _Camera | None,
    stamp: float,
    outcome: Outcome | None,
) -> Image.Image:
    draw = ImageDraw.Draw(picture, "RGBA")
    width, height = picture.size
    if camera is not None:
        _draw_belief(draw, record, camera, stamp, height)
    text, small = _font(height // 26), _font(height // 34)
    bar = height // 13
    draw.rectangle((0, height - bar, width, height), fill=(15, 23, 42, 190))
    middle = height - bar // 2
    distance = _at(record.truth, stamp, record.truth.distance)
    facts = f"{max(0.0, stamp):4.1f} s"
    if distance is not None:
        facts += f"     to success {distance * 100:4.1f} cm"
    draw.text((12, middle), label, fill="white", font=text, anchor="lm")
    draw.text((width // 2, middle), facts, fill=(203, 213, 225), font=small, anchor="mm")
    if outcome is not None:
        word, colour = _BANNERS[outcome]
        pad = height // 60
        length = draw.textlength(word, font=text)
        box = (width - 12 - length - 4 * pad, height - bar + pad, width - 12, height - pad)
        draw.rounded_rectangle(box, radius=(bar - 2 * pad) // 2, fill=colour)
        draw.text(
            ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
            word,
            fill="white",
            font=text,
            anchor="mm",
        )
    return picture


def _draw_belief(
    draw: ImageDraw.ImageDraw, record: TrialRecord, camera: _Camera, stamp: float, height: int
) -> None:
    cube = _at(record.belief, stamp, record.belief.object)
    goal = _at(record.belief, stamp, record.belief.goal)
    scene = record.scene
    if goal is not None and not (scene.goal_radius > 0 and np.isfinite(goal).all()):
        goal = None  # the task has none
    if goal is not None:
        angles = np.linspace(0, 2 * np.pi, 41)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * scene.goal_radius + goal
        draw.line(camera.project(np.column_stack([ring, np.zeros(41)])), _GOAL_COLOUR, 2)
    if cube is not None:
        half = scene.object_size / 2
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * half + cube
        # A belief about the table plane alone has no height: the cube lies there.
        centre = max(float(_at(record.belief, stamp, record.belief.height)), half)
        top = camera.project(np.column_stack([corners, np.full(5, centre + half)]))
        draw.line(top, _BELIEF_COLOUR, 2)
        base = camera.project(np.column_stack([corners, np.full(5, centre - half)]))
        if len(top) == len(base) == 5:
            for upper, lower in zip(top[:4], base[:4], strict=True):
                draw.line([upper, lower], _BELIEF_COLOUR, 1)
    font, line = _font(height // 34), height // 24
    entries = [
        (name, colour)
        for name, colour, value in (
            ("believed cube", _BELIEF_COLOUR, cube),
            ("believed goal", _GOAL_COLOUR, goal),
        )
        if value is not None
    ]
    if entries:
        width = max(draw.textlength(name, font=font) for name, _ in entries) + 20
        box = (8, 8, 8 + width, 16 + line * len(entries))
        draw.rounded_rectangle(box, radius=6, fill=(15, 23, 42, 170))
    for row, (name, colour) in enumerate(entries):
        draw.text((18, 12 + line * (row + 0.5)), name, fill=colour, font=font, anchor="lm")


def _at(track: Track, stamp: float, values: np.ndarray) -> Any:
    """The last row of `values` that is not newer than `stamp`; None before the first."""
    index = int(np.searchsorted(track.time, stamp + 1e-3)) - 1
    return values[index] if index >= 0 else None


def _camera(record: TrialRecord) -> _Camera | None:
    try:
        data = json.loads(record.custom_data["camera"])
        w, x, y, z = (float(v) for v in data["orientation"])
        fx, fy, cx, cy = (float(data[name]) for name in ("fx", "fy", "cx", "cy"))
        position = np.array([float(v) for v in data["position"]])
    except (KeyError, ValueError, TypeError):
        return None
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return _Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), rotation, position)


def _font(size: int) -> Any:
    return ImageFont.load_default(size=max(9, size))
