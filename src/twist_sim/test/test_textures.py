from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from twist_sim.colours import limit_saturation, saturation_cap
from twist_sim.texture_families import FAMILIES, Split
from twist_sim.textures import (
    TextureError,
    build_texture_bank,
    check_texture_folder,
    load_texture_folder,
    object_texture_bank,
)


def test_training_and_held_out_families_have_nothing_in_common() -> None:
    assert not set(FAMILIES["train"]) & set(FAMILIES["held_out"])
    generators = [set(FAMILIES[split].values()) for split in ("train", "held_out")]
    assert not generators[0] & generators[1]


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_same_seed_gives_the_same_textures_and_another_seed_gives_others(split: Split) -> None:
    first, again, other = (
        build_texture_bank(split, count=22, size=32, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.pixels, again.pixels)
    assert all(not np.array_equal(a, b) for a, b in zip(first.pixels, other.pixels, strict=True))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_family_gets_its_share_and_no_texture_repeats(split: Split) -> None:
    bank = build_texture_bank(split, count=44, size=32, seed=0)
    counts = [bank.families.count(name) for name in FAMILIES[split]]
    assert max(counts) - min(counts) <= 1
    assert len({pixels.tobytes() for pixels in bank.pixels}) == len(bank)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_no_texture_holds_the_colours_of_cube_and_goal(split: Split) -> None:
    bank = build_texture_bank(split, count=88, size=64, seed=0)
    for pixels in bank.pixels:
        hsv = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        # Eight bits cannot hold the saturation of a dark colour exactly: only pixels that are
        # bright enough to look coloured count, and a rounding step is allowed.
        bright = hsv[..., 2] > 0.2
        excess = hsv[..., 1] - saturation_cap(hsv[..., 0])
        assert excess[bright].max(initial=0.0) < 0.05


def test_limiting_saturation_pales_red_and_blue_and_keeps_green_and_grey() -> None:
    colours = np.array([[[220, 10, 10], [10, 40, 230], [90, 180, 90], [128, 128, 128]]], np.uint8)
    limited = limit_saturation(colours).astype(int)[0]
    spread = limited.max(axis=-1) - limited.min(axis=-1)
    assert spread[0] < 60
    assert spread[1] < 60
    assert np.abs(limited[2:] - colours[0, 2:]).max() <= 1


def test_the_training_bank_is_made_within_four_seconds() -> None:
    start = time.process_time()
    build_texture_bank("train", count=440, size=128, seed=0)
    assert time.process_time() - start < 4.0


def test_object_textures_are_grey_so_that_they_keep_the_hue_of_what_they_are_printed_on() -> None:
    pixels = object_texture_bank(count=8, size=32, seed=0).pixels
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_images_of_a_folder_are_appended_and_unreadable_ones_skipped(tmp_path: Path) -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = (90, 160, 90)  # the central square
    (tmp_path / "sub").mkdir()
    assert cv2.imwrite(str(tmp_path / "sub" / "a.png"), wide)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not an image")
    bank = build_texture_bank("train", count=11, size=32, seed=0, folder=tmp_path)
    assert bank.families[11:] == ("folder",)
    assert np.abs(bank.pixels[-1].astype(int) - (90, 160, 90)).max() <= 1


def test_a_folder_without_readable_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(TextureError, match=r"holds no readable image: 1 \.png or \.jpg"):
        load_texture_folder(tmp_path, 32)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextureError, match="is not a folder"):
        load_texture_folder(tmp_path / "nowhere", 32)


def test_a_folder_is_checked_without_reading_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(TextureError, match=f"{folder} (is not a folder|holds no readable)"):
            check_texture_folder(folder)
    for name in "abc":
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    decode, read = cv2.imdecode, []
    monkeypatch.setattr(cv2, "imdecode", lambda *a: read.append(a) or decode(*a))
    check_texture_folder(tmp_path)
    assert len(read) == 1
