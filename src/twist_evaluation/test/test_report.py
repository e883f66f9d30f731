"""The report: what it shows, and what it does with bags that cannot be read."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from twist_evaluation.charts import Marker, Series, histogram, line_chart, nice_ticks
from twist_evaluation.image_frames import FrameError, rgb_frame
from twist_evaluation.report import main
from twist_evaluation.results import EvaluationIdentity, Outcome, ResultsFolder, TrialReport
from twist_evaluation.trial_record import read_trial


def _picture(index: int, place: np.ndarray, goal: np.ndarray) -> np.ndarray:
    pixels = np.full((120, 160, 3), 90, np.uint8)
    pixels[:, :, 0] = index
    return pixels


@pytest.fixture
def evaluation(tmp_path: Path, sample_trial: Any) -> Path:
    for trial, outcome in enumerate(["success", "failure", "success", "aborted"]):
        reason = "policy stopped: <camera> froze" if outcome == "aborted" else ""
        sample_trial.write(tmp_path, trial, outcome, reason=reason, image=_picture)
    return tmp_path


class _Page(HTMLParser):
    """Collects addresses, images and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images = 0
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action", "poster"):
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def _page(folder: Path) -> _Page:
    return _Page((folder / "report.html").read_text(encoding="utf-8"))


def test_page_shows_success_with_its_interval_and_every_trial(
    evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(evaluation)]) == 0

    page = _page(evaluation)
    assert "50 %" in page.words
    assert "2 of 4 trials succeeded" in page.words
    assert "Wilson 95 % interval 15 % to 85 %" in page.words
    assert page.images == 8  # first and last frame of each
    assert "policy stopped: <camera> froze" in page.words
    assert str(evaluation / "report.html") in capsys.readouterr().out


def test_page_asks_nothing_of_any_network(evaluation: Path) -> None:
    main([str(evaluation)])

    page = _page(evaluation)
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    text = (evaluation / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"data:[^\"']*", "", text))
    assert "@import" not in text


def test_video_is_h264_that_browsers_play_and_holds_all_trials(evaluation: Path) -> None:
    main([str(evaluation)])

    with av.open(str(evaluation / "trials.mp4")) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (160, 120)
    # Four trials with 15 images each, and the last one of each held.
    assert frames >= 4 * 15 + 4


def test_record_holds_what_the_bag_says(tmp_path: Path, sample_trial: Any) -> None:
    bag = sample_trial.write(tmp_path, 3, "success", image=_picture)

    record = read_trial(bag)

    assert record.trial == 3
    assert record.outcome == "success"
    assert record.steps.time.size == record.truth.time.size == record.belief.time.size == 30
    assert record.steps.time[0] == 0.0
    assert record.steps.time[-1] == pytest.approx(2.9, abs=1e-3)
    assert record.first_frame is not None
    assert record.last_frame is not None
    assert record.first_frame[0, 0, 0] == 0
    assert record.last_frame[0, 0, 0] == 28
    assert np.linalg.norm(record.truth.object[-1] - record.truth.goal[-1]) == pytest.approx(
        record.final_distance, abs=1e-6
    )
    assert record.truth.distance[-1] == pytest.approx(record.final_distance, abs=1e-6)
    assert set(record.truth.height) == {0.02}
    assert np.isnan(record.belief.distance).all()


def test_unreadable_bags_are_named_and_the_others_are_shown(
    evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = evaluation / "trial_001_block_push_seed0"
    file = next(torn.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    cut_off = evaluation / "trial_002_block_push_seed0"
    (cut_off / "metadata.yaml").unlink()

    assert main([str(evaluation), "--no-video"]) == 1

    page = _page(evaluation)
    assert "2 bags could not be read" in page.words
    assert torn.name in page.words
    assert f"twist-recover {cut_off}" in page.words
    assert "1 of 2 trials succeeded" in page.words
    assert torn.name in capsys.readouterr().err


def test_results_say_how_trials_ended_whatever_the_bags_say(evaluation: Path) -> None:
    identity = EvaluationIdentity("block_push", 0, 6, 150, "block_push@abc")
    results = ResultsFolder(evaluation, identity, resume=False)
    bag = str(evaluation / "trial_{:03d}_block_push_seed0")
    # A disk that was full after the last step; a bag without a result; a trial without a bag.
    results.add(TrialReport(0, Outcome.ABORTED, "disk full while recording", bag=bag.format(0)))
    results.add(TrialReport(1, Outcome.FAILURE, bag=bag.format(1)))
    results.add(TrialReport(2, Outcome.SUCCESS, bag=bag.format(2)))
    results.add(TrialReport(4, Outcome.ABORTED, "reset refused: enable the arm"))

    main([str(evaluation), "--no-video"])

    page = _page(evaluation)
    assert "1 of 4 trials succeeded" in page.words
    assert "2 aborted" in page.words
    assert "disk full while recording" in page.words
    assert "Trials without a recording" in page.words
    assert "reset refused: enable the arm" in page.words
    assert "ended before this trial had a result" in page.words


def test_an_evaluation_without_a_single_bag_is_reported_by_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = EvaluationIdentity("block_push", 7, 3, 150, "block_push@abc")
    results = ResultsFolder(tmp_path, identity, resume=False)
    results.add(TrialReport(0, Outcome.SUCCESS, final_distance=0.02))
    results.add(TrialReport(1, Outcome.ABORTED, "reset refused: enable the arm"))

    assert main([str(tmp_path)]) == 0

    words = _page(tmp_path).words
    for part in ("block push", "block_push@abc", "seed 7", "1 of 2 trials", "enable the arm"):
        assert part in words


def test_flipped_byte_in_a_chunk_does_not_stop_the_report(evaluation: Path) -> None:
    file = next((evaluation / "trial_000_block_push_seed0").glob("*.mcap"))
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)

    assert main([str(evaluation), "--no-video"]) in (0, 1)
    assert "Block" in _page(evaluation).words or "block push" in _page(evaluation).words


@pytest.mark.parametrize("make", [False, True])
def test_missing_or_empty_folder_is_a_clear_error_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: bool
) -> None:
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()

    assert main([str(folder)]) == 2

    message = capsys.readouterr().err
    assert str(folder) in message
    assert "give the output folder" in message
    assert not (folder / "report.html").exists()


def test_trials_without_images_are_reported_without_video(
    tmp_path: Path, sample_trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_trial.write(tmp_path, 0, "success")

    assert main([str(tmp_path)]) == 0

    assert "no bag holds camera images" in capsys.readouterr().out
    assert "no image" in _page(tmp_path).words


def test_a_task_without_a_goal_is_reported_by_what_is_left_to_success(
    tmp_path: Path, sample_trial: Any
) -> None:
    sizes = {"workspace_lower": [0.34, -0.24], "workspace_upper": [0.68, 0.24]}
    scene = json.dumps({"goal_radius": 0.0, "object_size": 0.04} | sizes)
    bag = sample_trial.write(
        *(tmp_path, 0, "success"), image=_picture, custom_data={"scene": scene}, lift=True
    )
    record = read_trial(bag)
    assert (record.truth.distance[0], record.truth.distance[-1]) == pytest.approx((0.1, 0.0))
    assert record.truth.height[-1] == pytest.approx(0.14)

    assert main([str(tmp_path)]) == 0

    page = _page(tmp_path)
    assert "Distance to success" in page.words
    assert "goals laid on top of one another" not in page.words
    assert "nan" not in (tmp_path / "report.html").read_text()
    assert (tmp_path / "trials.mp4").stat().st_size > 1000


def test_bag_without_a_single_step_is_shown(tmp_path: Path, sample_trial: Any) -> None:
    sample_trial.write(tmp_path, 0, "aborted", steps=0, reason="reset refused")

    assert main([str(tmp_path)]) == 0
    assert "reset refused" in _page(tmp_path).words


def test_page_goes_where_it_is_asked_to(evaluation: Path, tmp_path: Path) -> None:
    assert main([str(evaluation), "--out", str(tmp_path / "there"), "--no-video"]) == 0
    assert (tmp_path / "there" / "report.html").exists()


def _svg(text: str) -> ET.Element:
    return ET.fromstring(text)


def test_histogram_counts_every_value_even_extremes() -> None:
    values = np.concatenate([np.full(300, 20.0), [900.0]])
    titles = [
        element.text or ""
        for element in _svg(histogram(values, x_label="ms", markers=[Marker(60, "a<b")])).iter()
        if element.tag.endswith("title")
    ]
    assert sum(int(title.rpartition(": ")[2]) for title in titles) == 301


@pytest.mark.parametrize("values", [[-1.0, -2.0], [-1.0, -2.0, 3.0, 4.0]])
def test_charts_show_what_is_below_zero(values: list[float]) -> None:
    """A camera whose clock is ahead has negative ages."""
    drawn = _svg(histogram(np.array(values), x_label="ms"))
    titles = [e.text or "" for e in drawn.iter() if e.tag.endswith("title")]
    assert sum(int(title.rpartition(": ")[2]) for title in titles) == len(values)
    times = np.arange(float(len(values)))
    line = _svg(line_chart([Series(times, np.array(values), "#000")], x_label="s", y_label="ms"))
    points = next(e for e in line.iter() if e.tag.endswith("polyline")).attrib["points"]
    heights = [float(point.partition(",")[2]) for point in points.split()]
    assert max(heights) <= 230


def test_attempts_that_were_run_again_are_shown_without_bags(tmp_path: Path) -> None:
    results = ResultsFolder(
        tmp_path, EvaluationIdentity("block_push", 1, 1, 150, "x"), resume=False
    )
    results.add(TrialReport(0, Outcome.ABORTED, "the camera froze"))
    results.add(TrialReport(0, Outcome.SUCCESS))
    assert main([str(tmp_path), "--no-video"]) == 0
    assert "the camera froze" in (tmp_path / "report.html").read_text()


def test_results_that_cannot_be_read_are_told_though_there_are_no_bags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text('{"x":')
    assert main([str(tmp_path)]) != 0
    assert "results.json" in capsys.readouterr().err


def test_charts_of_nothing_say_so() -> None:
    nothing = np.array([np.nan])
    assert "nothing was recorded" in histogram(nothing, x_label="ms")
    assert "nothing was recorded" in line_chart(
        [Series(nothing, nothing, "#000")], x_label="s", y_label="nats"
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.013), (-3.0, 17.0), (0.0, 86400.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 12
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


class _Image:
    def __init__(self, encoding: str, pixels: np.ndarray, padding: int = 0) -> None:
        self.encoding = encoding
        self.height, self.width = pixels.shape[:2]
        rows = pixels.reshape(self.height, -1)
        self.step = rows.shape[1] + padding
        self.data = np.pad(rows, ((0, 0), (0, padding)), constant_values=7).tobytes()


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixel"),
    [
        ("rgb8", (1, 2, 3)),
        ("bgr8", (3, 2, 1)),
        ("rgba8", (1, 2, 3, 9)),
        ("bgra8", (3, 2, 1, 9)),
    ],
)
def test_encodings_and_row_padding_are_understood(
    encoding: str, pixel: tuple[int, ...], padding: int
) -> None:
    pixels = np.tile(np.array(pixel, np.uint8), (4, 6, 1))
    assert (rgb_frame(_Image(encoding, pixels, padding)) == (1, 2, 3)).all()


def test_unknown_encoding_and_short_data_are_refused() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(FrameError, match="yuv422"):
        rgb_frame(_Image("yuv422", pixels))
    short = _Image("rgb8", pixels)
    short.data = short.data[:-1]
    with pytest.raises(FrameError, match="holds only"):
        rgb_frame(short)
