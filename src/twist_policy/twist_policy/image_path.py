"""The one image path: from a camera frame to what the student looks at.

The same module crops and resizes simulated training images, the twin's frames and the robot's
frames; it is embedded in ``student.ts``. The order is fixed: crop, resize in ``uint8`` (so that a
training image may be stored as bytes without losing anything that the robot would see), then
scale to [-0.5, 0.5].
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from twist_policy.contract import CameraModel, ImageSpec, PolicyContract


class ImagePath(nn.Module):
    """Crop, area-correct resize and scaling of camera frames; scriptable.

    The resize is PyTorch's antialiased bilinear one on ``uint8``: its triangle filter covers
    every source pixel, and its result is rounded to whole levels (it differs by at most one
    level from the float resize). It runs on the CPU; PyTorch has no ``uint8`` kernel on a GPU.

    Args:
        spec: crop and network input size.
        width: width of the full frame, pixels.
        height: height of the full frame, pixels.
    """

    def __init__(self, spec: ImageSpec, width: int = 640, height: int = 480) -> None:
        super().__init__()
        if spec.crop_x + spec.crop_size > width or spec.crop_y + spec.crop_size > height:
            raise ValueError(f"the crop ({spec}) leaves the {width}x{height} frame")
        self.width, self.height = width, height
        self.crop_x, self.crop_y, self.crop_size = spec.crop_x, spec.crop_y, spec.crop_size
        self.size = spec.size

    @classmethod
    def from_camera(cls, spec: ImageSpec, camera: CameraModel) -> ImagePath:
        """The image path for frames of `camera`."""
        return cls(spec, camera.width, camera.height)

    @classmethod
    def from_contract(cls, contract: PolicyContract) -> ImagePath:
        """The image path that a checkpoint's contract asks for."""
        return cls.from_camera(contract.image, contract.camera)

    def forward(self, frame: Tensor) -> Tensor:
        """Full frames -> network input.

        Args:
            frame: rgb camera frames, uint8, (B, height, width, 3).

        Returns:
            float32 in [-0.5, 0.5], (B, 3, size, size).

        Raises:
            ValueError: another shape (from TorchScript: ``torch.jit.Error`` with the same text).
        """
        shape = frame.shape
        if (
            len(shape) != 4
            or shape[1] != self.height
            or shape[2] != self.width
            or shape[3] != 3
            or frame.dtype != torch.uint8
        ):
            raise ValueError(
                f"expected uint8 rgb frames of shape (B, {self.height}, {self.width}, 3), found "
                f"{frame.dtype} {shape}; set the camera to {self.width}x{self.height} or use a "
                "checkpoint trained for this camera"
            )
        return self.scale(self.resize(self.crop(frame)))

    @torch.jit.export
    def crop(self, frame: Tensor) -> Tensor:
        """The square crop, (B, crop_size, crop_size, 3), as a view of (B, height, width, 3)."""
        return frame[
            :,
            self.crop_y : self.crop_y + self.crop_size,
            self.crop_x : self.crop_x + self.crop_size,
        ]

    @torch.jit.export
    def resize(self, crop: Tensor) -> Tensor:
        """Square views of any edge, uint8 (B, E, E, 3) -> uint8 (B, size, size, 3)."""
        planes = F.interpolate(
            crop.permute(0, 3, 1, 2),
            size=[self.size, self.size],
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        return planes.permute(0, 2, 3, 1)

    @torch.jit.export
    def scale(self, image: Tensor) -> Tensor:
        """Cropped and resized images, uint8 (B, H, W, 3) -> float32 in [-.5, .5], (B, 3, H, W)."""
        return image.permute(0, 3, 1, 2).to(torch.float32) / 255.0 - 0.5

    @torch.jit.ignore
    def resize_crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the simulator stores of a rendered view of the crop.

        Args:
            image: the crop's view at any resolution not below ``size``, uint8 (E, E, 3) or
                (B, E, E, 3).

        Returns:
            uint8 (size, size, 3) or (B, size, size, 3), contiguous; ready for `scale`.

        Raises:
            ValueError: not a square uint8 rgb image, or one smaller than ``size``.
        """
        batch = image if image.ndim == 4 else image[None]
        if (
            batch.ndim != 4
            or batch.dtype != np.uint8
            or batch.shape[1] != batch.shape[2]
            or batch.shape[1] < self.size
            or batch.shape[3] != 3
        ):
            raise ValueError(
                f"expected a square uint8 rgb image of at least {self.size} pixels, found "
                f"{image.dtype} {image.shape}"
            )
        with torch.no_grad():
            resized = self.resize(torch.from_numpy(np.require(batch, requirements=["C", "W"])))
        result: NDArray[np.uint8] = np.ascontiguousarray(resized.numpy())
        return result if image.ndim == 4 else result[0]

    @torch.jit.ignore
    def crop_and_resize(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Full rgb frame(s), uint8 (height, width, 3) or (B, ...) -> as `resize_crop`."""
        y, x, edge = self.crop_y, self.crop_x, self.crop_size
        return self.resize_crop(frame[..., y : y + edge, x : x + edge, :])
