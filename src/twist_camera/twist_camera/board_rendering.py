"""Pictures of a board with known truth, for testing a calibration without a camera.

Each pixel is traced through the lens onto the board's plane, several times per pixel; then comes
what a camera adds: blur, uneven light and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_camera.charuco_board import BoardSpec, Image
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics

_TEXTURE_PITCH = 0.00025
"""Of the board's texture, metres per texel."""
_MARGIN = 0.01
"""White paper around the board, metres."""


@dataclass(frozen=True)
class PictureFaults:
    """What a camera adds to a picture.

    Attributes:
        blur: standard deviation, pixels.
        noise: standard deviation per pixel, 8-bit counts.
        shading: how much darker the darkest side is, share.
    """

    blur: float = 0.7
    noise: float = 3.0
    shading: float = 0.3


class BoardRenderer:
    """Draws one board through one lens.

    Args:
        spec: the board.
        camera: the lens; pixel centres at whole numbers.
        oversampling: rays per pixel along each axis.
    """

    def __init__(self, spec: BoardSpec, camera: CameraIntrinsics, oversampling: int = 3) -> None:
        self._camera = camera
        self._oversampling = oversampling
        self._texture = _texture(spec)
        step = 1.0 / oversampling
        columns = (np.arange(camera.width * oversampling) + 0.5) * step - 0.5
        rows = (np.arange(camera.height * oversampling) + 0.5) * step - 0.5
        grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        matrix = np.array(
            [[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], dtype=np.float64
        )
        rays = cv2.undistortPoints(
            grid.reshape(-1, 1, 2),
            matrix,
            np.array(camera.distortion or (0.0,) * 5, dtype=np.float64),
        ).reshape(-1, 2)
        self._rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)

    def render(
        self,
        camera_to_board: RigidTransform,
        rng: np.random.Generator,
        faults: PictureFaults | None = None,
    ) -> Image:
        """One picture.

        Args:
            camera_to_board: pose of the board in the optical frame.
            rng: of light and noise.
            faults: None takes the usual ones.

        Returns:
            RGB, (H, W, 3), uint8.
        """
        faults = faults or PictureFaults()
        height, width = self._camera.height, self._camera.width
        normal, origin = camera_to_board.rotation[:, 2], camera_to_board.translation
        slope = self._rays @ normal
        depth = (normal @ origin) / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
        local = (self._rays * depth[:, None] - origin) @ camera_to_board.rotation
        texel = (local[:, :2] + _MARGIN) / _TEXTURE_PITCH - 0.5
        texel[depth <= 0] = -1e4
        shape = (height * self._oversampling, width * self._oversampling)
        grey = cv2.remap(
            self._texture,
            texel[:, 0].reshape(shape).astype(np.float32),
            texel[:, 1].reshape(shape).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float(rng.uniform(60, 140)),
        )
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        if faults.blur > 0:
            grey = cv2.GaussianBlur(grey, (0, 0), faults.blur)
        y, x = np.mgrid[0:height, 0:width]
        angle = rng.uniform(0, 2 * np.pi)
        ramp = (np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)) + 0.5
        grey = grey * (1 - faults.shading * ramp)
        picture = grey[..., None] + rng.normal(0, faults.noise, (height, width, 3))
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _texture(spec: BoardSpec) -> NDArray[np.uint8]:
    # Areas are drawn four times finer and averaged, so that edges lie where they should.
    fine = 4
    pitch = _TEXTURE_PITCH / fine
    width, height = (round((edge + 2 * _MARGIN) / pitch) for edge in spec.size)
    texture = np.full((height, width), 235, np.uint8)
    for x, y, w, h in spec.black_rectangles():
        left, top = round((x + _MARGIN) / pitch), round((y + _MARGIN) / pitch)
        right, bottom = round((x + w + _MARGIN) / pitch), round((y + h + _MARGIN) / pitch)
        texture[top:bottom, left:right] = 20
    return cv2.resize(texture, None, fx=1 / fine, fy=1 / fine, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]
