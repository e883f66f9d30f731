from __future__ import annotations

import numpy as np
import pytest

from twist_sim.camera_effects import CameraEffects, apply_camera_effects
from twist_sim.image_resize import downscale

FRAME, CROP, INPUT = 384, 128, 64
PITCH = FRAME / CROP


def _grey(size: int) -> np.ndarray:
    return np.full((size, size, 3), 128, np.uint8)


def test_no_effects_leave_the_picture_as_it_is_and_the_input_is_never_changed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    before = image.copy()
    rng = np.random.default_rng(0)
    assert np.array_equal(apply_camera_effects(image, CameraEffects(), rng), before)
    apply_camera_effects(image, CameraEffects(blur=2, exposure=1.2, noise=9, blotch=2), rng)
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    "effects", [CameraEffects(noise=10.0), CameraEffects(blotch=2.5), CameraEffects(noise=20.0)]
)
def test_noise_on_a_rendered_crop_is_as_strong_as_noise_on_the_full_frame(
    effects: CameraEffects,
) -> None:
    """Standard deviations after the resize to the network's input agree within 10 %.

    With 40 pictures of 64 x 64 x 3 numbers, sampling error is below 1 %; the rest is the
    rounding to 8 bits at different resolutions.
    """
    rng = np.random.default_rng(0)
    direct, full = (
        np.std(
            [
                downscale(apply_camera_effects(_grey(size), effects, rng, pitch), INPUT)
                for _ in range(40)
            ]
        )
        for size, pitch in ((CROP, PITCH), (FRAME, 1.0))
    )
    assert direct == pytest.approx(full, rel=0.1)


def test_correlated_noise_has_the_same_grain_in_a_crop_and_in_the_full_frame() -> None:
    rng = np.random.default_rng(0)
    effects = CameraEffects(blotch=8.0)
    neighbours = []
    for size, pitch in ((CROP, PITCH), (FRAME, 1.0)):
        pictures = np.stack(
            [
                downscale(apply_camera_effects(_grey(size), effects, rng, pitch), INPUT)
                for _ in range(30)
            ]
        )
        values = pictures.astype(float) - pictures.mean()
        neighbours.append((values[:, :, 1:] * values[:, :, :-1]).mean() / (values**2).mean())
    assert neighbours[0] == pytest.approx(neighbours[1], abs=0.1)


def test_blur_on_a_rendered_crop_matches_blur_on_the_full_frame() -> None:
    effects = CameraEffects(blur=2.5)
    pictures = []
    for size, pitch in ((CROP, PITCH), (FRAME, 1.0)):
        edge = np.zeros((size, size, 3), np.uint8)
        edge[:, size // 2 :] = 255
        noisy = apply_camera_effects(edge, effects, np.random.default_rng(0), pitch)
        pictures.append(downscale(noisy, INPUT).astype(float))
    # A step of 255 is the hardest edge there is; 5 counts are 2 % of it.
    assert np.abs(pictures[0] - pictures[1]).max() < 5.0


def test_gain_white_balance_and_gamma_act_in_this_order_and_saturate() -> None:
    image = np.array([[[100, 100, 100], [250, 250, 250]]], np.uint8)
    effects = CameraEffects(exposure=1.2, white_balance=(1.0, 0.9, 0.5), gamma=0.8)
    result = apply_camera_effects(image, effects, np.random.default_rng(0))
    gains = 1.2 * np.array([1.0, 0.9, 0.5])
    expected = 255 * np.minimum(image / 255.0 * gains, 1.0) ** 0.8
    assert np.abs(result - expected).max() <= 0.5 + 1e-3
    assert result[0, 1, 0] == 255


def test_noise_neither_wraps_around_at_black_nor_at_white() -> None:
    rng = np.random.default_rng(0)
    effects = CameraEffects(noise=10.0)
    assert apply_camera_effects(np.zeros((64, 64, 3), np.uint8), effects, rng).max() < 80
    assert apply_camera_effects(np.full((64, 64, 3), 255, np.uint8), effects, rng).min() > 175


def test_same_generator_state_gives_the_same_noise_and_the_next_frame_another() -> None:
    effects = CameraEffects(noise=5.0, blotch=1.0)
    first, again = (
        apply_camera_effects(_grey(64), effects, np.random.default_rng(1)) for _ in range(2)
    )
    assert np.array_equal(first, again)
    rng = np.random.default_rng(1)
    frames = [apply_camera_effects(_grey(64), effects, rng) for _ in range(2)]
    assert not np.array_equal(frames[0], frames[1])
