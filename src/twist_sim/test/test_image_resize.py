from __future__ import annotations

import numpy as np
import pytest

from twist_sim.image_resize import downscale

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_it_is_the_resize_that_the_student_applies_to_camera_frames(factor: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64 * factor, 64 * factor, 3), np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    theirs = torch.nn.functional.interpolate(
        planes, size=(64, 64), mode="bilinear", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    difference = np.abs(downscale(image, 64).astype(int) - theirs.numpy().astype(int))
    # White noise is the worst case. torch rounds to 8 bits once more, between rows and columns.
    assert difference[1:-1, 1:-1].max() <= 1
    assert difference.mean() < 0.6


def test_a_picture_of_the_final_size_is_returned_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(downscale(image, 64), image)


@pytest.mark.parametrize("shape", [(128, 64, 3), (100, 100, 3)])
def test_sizes_it_cannot_do_exactly_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected a square image of n x 64"):
        downscale(np.zeros(shape, np.uint8), 64)
