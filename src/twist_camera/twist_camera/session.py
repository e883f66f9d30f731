"""A calibration session's folder: pictures, what the robot said, and the camera's own calibration.

``session.yaml`` is written anew with every view, so that an interrupted session can go on.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from PIL import Image as PngFile

from twist_camera.calibration import Sample
from twist_camera.charuco_board import BoardDetector, BoardError, BoardSpec, Image
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics

FORMAT = 1
FILE = "session.yaml"
Mode = Literal["hand", "table"]


class SessionError(ValueError):
    """A session's folder cannot be read or written; the message says why."""


@dataclass(frozen=True, eq=False)
class StoredView:
    """One view.

    Attributes:
        image: file name of the picture in the folder.
        base_to_ee: pose of the end effector; None for a board on the table.
        placement: of the board on the table.
        touched: (corner number, point in the base frame, metres).
    """

    image: str
    base_to_ee: RigidTransform | None = None
    placement: int = 0
    touched: tuple[tuple[int, tuple[float, float, float]], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        if self.base_to_ee is not None:
            return {
                "image": self.image,
                "position": list(self.base_to_ee.position),
                "orientation": list(self.base_to_ee.quaternion),
            }
        touched = [[number, list(point)] for number, point in self.touched]
        return {"image": self.image, "placement": self.placement, "touched": touched}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StoredView:
        """The inverse of `to_dict`."""
        if "position" in data:
            pose = RigidTransform.from_quaternion(data["position"], data["orientation"])
            return cls(str(data["image"]), pose)
        touched = tuple(
            (int(number), (float(x), float(y), float(z))) for number, (x, y, z) in data["touched"]
        )
        return cls(str(data["image"]), None, int(data["placement"]), touched)


@dataclass(eq=False)
class Session:
    """A folder with views.

    Attributes:
        folder: where.
        mode: board on the gripper (``hand``) or on the table.
        spec: the board.
        base_frame: frame of all poses and points.
        intrinsics: what the camera's driver says about its lens.
        views: taken so far.
    """

    folder: Path
    mode: Mode
    spec: BoardSpec
    base_frame: str
    intrinsics: CameraIntrinsics
    views: list[StoredView] = field(default_factory=list)

    def add(
        self,
        image: Image,
        base_to_ee: RigidTransform | None = None,
        placement: int = 0,
        touched: tuple[tuple[int, tuple[float, float, float]], ...] = (),
    ) -> None:
        """Stores a view.

        Raises:
            SessionError: the folder cannot be written.
        """
        name = f"view_{len(self.views):03d}.png"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            PngFile.fromarray(image).save(self.folder / name)
            self.views.append(StoredView(name, base_to_ee, placement, touched))
            self._write()
        except OSError as error:
            raise SessionError(f"cannot write to {self.folder}: {error}") from error

    def _write(self) -> None:
        camera = dataclasses.asdict(self.intrinsics)
        camera["distortion"] = list(self.intrinsics.distortion)
        data = {
            "format": FORMAT,
            "mode": self.mode,
            "base_frame": self.base_frame,
            "board": self.spec.to_dict(),
            "camera": camera,
            "views": [view.to_dict() for view in self.views],
        }
        # Replaced in one go: a crash leaves the old file whole.
        new = self.folder / f"{FILE}.new"
        new.write_text(
            yaml.safe_dump(data, sort_keys=False, default_flow_style=None), encoding="utf-8"
        )
        os.replace(new, self.folder / FILE)

    def picture(self, view: StoredView) -> Image:
        """A view's picture, RGB.

        Raises:
            SessionError: it cannot be read.
        """
        return read_picture(self.folder / view.image)

    def samples(self) -> list[Sample]:
        """All views with the corners found in them.

        Raises:
            SessionError: a picture cannot be read or has another size than the camera.
        """
        detector = BoardDetector(self.spec)
        found = []
        for view in self.views:
            image = self.picture(view)
            size = (image.shape[1], image.shape[0])
            if size != (self.intrinsics.width, self.intrinsics.height):
                raise SessionError(
                    f"{view.image} has {size[0]}x{size[1]} pixels, the camera "
                    f"{self.intrinsics.width}x{self.intrinsics.height}"
                )
            found.append(
                Sample(
                    view.image,
                    detector.detect(image),
                    view.base_to_ee,
                    view.placement,
                    view.touched,
                )
            )
        return found


def load_session(folder: Path) -> Session:
    """Reads a session.

    Raises:
        SessionError: missing, of another format, or damaged.
    """
    path = folder / FILE
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SessionError(
            f"cannot read {path}: {error}; make it with `twist-calibrate collect`"
        ) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise SessionError(f"{path} is no calibration session of format {FORMAT}")
    try:
        if data["mode"] not in ("hand", "table"):
            raise ValueError(f"mode {data['mode']!r} is neither hand nor table")
        camera = dict(data["camera"])
        camera["distortion"] = tuple(float(value) for value in camera["distortion"])
        return Session(
            folder,
            data["mode"],
            BoardSpec(**data["board"]),
            str(data["base_frame"]),
            CameraIntrinsics(**camera),
            [StoredView.from_dict(view) for view in data["views"]],
        )
    except (KeyError, TypeError, ValueError, BoardError) as error:
        raise SessionError(f"{path} is damaged ({error!r})") from error


def read_picture(path: Path) -> Image:
    """An RGB picture.

    Raises:
        SessionError: it cannot be read.
    """
    try:
        with PngFile.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except OSError as error:
        raise SessionError(f"cannot read the picture {path}: {error}") from error
