from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from twist_policy import torchscript
from twist_policy.contract import ImageSpec, PolicyContract
from twist_policy.image_path import ImagePath

RNG = np.random.default_rng(3)


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def path(contract: PolicyContract) -> ImagePath:
    return ImagePath.from_contract(contract)


def test_script_and_python_agree_bit_for_bit(path: ImagePath) -> None:
    frames = noise(3, 480, 640, 3)
    scripted = torchscript.load_bytes(torchscript.save_bytes(torchscript.script(path)))
    assert torch.equal(scripted(frames), path(frames))
    assert torch.equal(scripted.scale(frames), path.scale(frames))
    assert torch.equal(scripted.resize(frames[:, :300, :300]), path.resize(frames[:, :300, :300]))


def test_output_is_float_planes_in_plus_minus_one_half(path: ImagePath) -> None:
    frames = noise(2, 480, 640, 3)
    frames[0], frames[1] = 0, 255
    image = path(frames)
    assert image.shape == (2, 3, 64, 64)
    assert image.dtype == torch.float32
    assert bool((image[0] == -0.5).all())
    assert bool((image[1] == 0.5).all())


def test_stored_training_images_equal_what_the_student_sees(path: ImagePath) -> None:
    frame = noise(480, 640, 3).numpy()
    stored = path.crop_and_resize(frame)
    assert stored.shape == (64, 64, 3)
    assert stored.dtype == np.uint8
    seen = path(torch.from_numpy(frame)[None])
    assert torch.equal(path.scale(torch.from_numpy(stored)[None]), seen)


def test_a_frame_is_seen_the_same_alone_and_in_a_batch(path: ImagePath) -> None:
    frames = noise(4, 480, 640, 3)
    assert torch.equal(path(frames)[2:3], path(frames[2:3]))


def test_only_the_crop_is_seen(path: ImagePath) -> None:
    frame = noise(1, 480, 640, 3)
    other = noise(1, 480, 640, 3)
    other[:, 100:400, 150:450] = frame[:, 100:400, 150:450]
    assert torch.equal(path(frame), path(other))


def test_the_resize_is_area_correct(path: ImagePath) -> None:
    # One bright source column must not vanish between sampling points, whichever it is.
    for column in range(120, 135):
        crop = torch.zeros(1, 300, 300, 3, dtype=torch.uint8)
        crop[:, :, column] = 255
        share = path.resize(crop).float().mean() / 255
        # 1/300 of the light, up to rounding of the few lit columns to whole levels.
        assert float(share) == pytest.approx(1 / 300, rel=0.05)


def test_the_byte_resize_is_the_float_resize_within_one_level(path: ImagePath) -> None:
    crop = noise(1, 300, 300, 3)
    exact = F.interpolate(
        crop.permute(0, 3, 1, 2).float(), size=[64, 64], mode="bilinear", antialias=True
    )
    assert float((path.resize(crop).permute(0, 3, 1, 2) - exact).abs().max()) <= 1.0


def test_an_image_of_the_network_size_is_unchanged(path: ImagePath) -> None:
    image = noise(64, 64, 3).numpy()
    np.testing.assert_array_equal(path.resize_crop(image), image)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(1, 240, 320, 3, dtype=torch.uint8),
        torch.zeros(1, 640, 480, 3, dtype=torch.uint8),
        torch.zeros(1, 480, 640, 4, dtype=torch.uint8),
        torch.zeros(480, 640, 3, dtype=torch.uint8),
        torch.zeros(1, 480, 640, 3),
    ],
)
def test_a_frame_of_another_camera_is_refused_by_python_and_script(
    path: ImagePath, frames: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 rgb frames.*480.*640"):
        path(frames)
    with pytest.raises(torch.jit.Error, match=r"expected uint8 rgb frames.*480.*640"):
        torchscript.script(path)(frames)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((128, 64, 3), np.uint8),
        np.zeros((128, 128, 3), np.float32),
        np.zeros((128, 128, 4), np.uint8),
    ],
)
def test_a_view_that_cannot_be_the_crop_is_refused(path: ImagePath, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="square uint8 rgb image"):
        path.resize_crop(image)


def test_a_crop_outside_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the 320x240 frame"):
        ImagePath(ImageSpec(100, 0, 240, 64), width=320, height=240)


def test_read_only_and_strided_views_are_taken(path: ImagePath) -> None:
    view = noise(256, 256, 3).numpy()[::2, ::2]
    view.flags.writeable = False
    np.testing.assert_array_equal(path.resize_crop(view), path.resize_crop(view.copy()))
