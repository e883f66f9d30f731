from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np
import pytest

from twist_policy_node.image_decoding import SUPPORTED_ENCODINGS, ImageError, decode_image

WIDTH, HEIGHT = 8, 6


def message(encoding: str = "rgb8", *, padding: int = 0, **changes: object) -> SimpleNamespace:
    """An Image whose RGB content is `truth()`."""
    rgb = truth()
    alpha = np.full((HEIGHT, WIDTH, 1), 7, dtype=np.uint8)
    pixels = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], axis=2),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], axis=2),
    }.get(encoding, rgb)
    rows = pixels.reshape(HEIGHT, -1)
    rows = np.concatenate([rows, np.full((HEIGHT, padding), 255, np.uint8)], axis=1)
    fields = {
        "height": HEIGHT,
        "width": WIDTH,
        "encoding": encoding,
        "step": rows.shape[1],
        "data": array.array("B", rows.tobytes()),
    }
    return SimpleNamespace(**(fields | changes))


def truth() -> np.ndarray:
    return np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)


def decode(image: SimpleNamespace) -> np.ndarray:
    return decode_image(image, width=WIDTH, height=HEIGHT)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", SUPPORTED_ENCODINGS)
def test_every_supported_encoding_gives_the_same_rgb_with_and_without_row_padding(
    encoding: str, padding: int
) -> None:
    pixels = decode(message(encoding, padding=padding))
    np.testing.assert_array_equal(pixels, truth())
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


def test_unpadded_rgb_is_not_copied() -> None:
    image = message()
    pixels = decode(image)
    assert np.shares_memory(pixels, np.frombuffer(image.data, dtype=np.uint8))


def test_the_last_row_may_lack_its_padding() -> None:
    image = message(padding=4)
    image.data = image.data[:-4]
    np.testing.assert_array_equal(decode(image), truth())


def test_byte_order_does_not_matter() -> None:
    np.testing.assert_array_equal(decode(message(is_bigendian=1)), truth())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"encoding": "mono8"}, ["'mono8'", "rgb8", "color_format"]),
        ({"encoding": ""}, ["''", "rgb8"]),
        ({"encoding": "RGB8"}, ["'RGB8'"]),
        ({"encoding": "yuv422_yuy2"}, ["yuv422_yuy2"]),
        ({"width": 4}, ["4x6", "8x6", "color_profile"]),
        ({"height": 600}, ["8x600", "8x6"]),
        ({"step": 23}, ["23", "24", "driver"]),
        ({"step": 0}, ["0 bytes", "24"]),
        ({"data": array.array("B", bytes(143))}, ["143", "144", "truncated"]),
        ({"data": array.array("B")}, ["0 bytes", "truncated"]),
        ({"step": 2**31}, ["truncated"]),
    ],
)
def test_an_unusable_frame_is_refused_and_the_message_says_what_to_do(
    changes: dict[str, object], expected: list[str]
) -> None:
    with pytest.raises(ImageError) as error:
        decode(message(**changes))  # type: ignore[arg-type]
    for part in expected:
        assert part in str(error.value)
