"""A calibration session's folder: pictures, what the robot said, and the camera's own calibration.

``session.yaml`` is written anew with every view, so that an interrupted session can go on.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
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
_PICTURE = re.compile(r"view_(\d+)\.png")


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
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"view_{self._next_number():03d}.png"
            with (self.folder / name).open("xb") as file:  # never over a picture that is there
                PngFile.fromarray(image).save(file, "PNG")
            self.views.append(StoredView(name, base_to_ee, placement, touched))
            self._write()
        except OSError as error:
            raise SessionError(f"cannot write to {self.folder}: {error}") from error

    def _next_number(self) -> int:
        """One more than any picture has, be it in the list or only in the folder."""
        names = [view.image for view in self.views]
        names += [path.name for path in self.folder.glob("view_*.png")]
        found = [int(match[1]) for name in names if (match := _PICTURE.fullmatch(name))]
        return max(found, default=-1) + 1

    @property
    def count(self) -> int:
        """Views of a board on the gripper, or placements of one on the table."""
        if self.mode == "hand":
            return len(self.views)
        return len({view.placement for view in self.views})

    @property
    def next_placement(self) -> int:
        """One more than any placement of the board on the table has."""
        return max((view.placement for view in self.views), default=-1) + 1

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
        SessionError: missing, of another format, damaged, or with views that contradict each other.
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
        session = Session(
            folder,
            data["mode"],
            BoardSpec(**data["board"]),
            str(data["base_frame"]),
            CameraIntrinsics(**camera),
            [StoredView.from_dict(view) for view in data["views"]],
        )
    except (KeyError, TypeError, ValueError, BoardError) as error:
        raise SessionError(f"{path} is damaged ({error!r})") from error
    counts = Counter(view.image for view in session.views)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise SessionError(
            f"{path} has more than one view of the picture {', '.join(twice)}; only one can be "
            "right: take the others out"
        )
    placements: dict[int, StoredView] = {}
    for view in session.views:
        if view.touched != placements.setdefault(view.placement, view).touched:
            raise SessionError(
                f"{path}: {placements[view.placement].image} and {view.image} have other touched "
                f"points but the same placement, {view.placement}; give one of them another number"
            )
    return session


def check_png_name(path: Path) -> None:
    """Refuses a name that no PNG file has, before there is anything to lose.

    Raises:
        SessionError: the name does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise SessionError(f"the picture {path} needs a name that ends in .png")


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
