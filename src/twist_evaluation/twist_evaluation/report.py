"""``twist-report BAG_FOLDER``: one self-contained page and one video of an evaluation's bags.

Needs no ROS. Bags that cannot be read are named on the page; the others are shown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twist_evaluation.bag_writer import BagError
from twist_evaluation.report_evidence import read_evidence
from twist_evaluation.report_page import render_page
from twist_evaluation.results import TrialReport
from twist_evaluation.trial_record import TrialRecord, UnreadableBag, read_trials
from twist_evaluation.video import VideoError, write_video

PAGE_NAME = "report.html"
VIDEO_NAME = "trials.mp4"


@dataclass(frozen=True)
class Report:
    """What was made.

    Attributes:
        page: the HTML file.
        video: the MP4, or None.
        video_note: why there is no video; empty when there is one.
        records: trials shown.
        without_bag: trials counted that have no readable bag.
        unreadable: bags named, but not shown.
    """

    page: Path
    video: Path | None
    video_note: str
    records: tuple[TrialRecord, ...]
    without_bag: tuple[TrialReport, ...]
    unreadable: tuple[UnreadableBag, ...]


def make_report(folder: Path, output: Path, *, video: bool = True) -> Report:
    """Makes page and video.

    Args:
        folder: of an evaluation, or one bag.
        output: folder for page and video; created when it is not there.
        video: whether to make one.

    Raises:
        BagError: the folder is missing, or holds neither bags nor results.
        OSError: `output` cannot be written.
    """
    evidence = read_evidence(folder)
    try:
        found, unreadable = read_trials(folder)
    except BagError as error:
        if evidence.unreadable:
            raise BagError("; ".join(evidence.unreadable)) from error
        if not evidence.results:
            raise
        found, unreadable = [], []  # not recorded, or each trial ended before it had a bag
    records = [evidence.judged(one) for one in found if not evidence.is_superseded(one.folder)]
    records.sort(key=lambda record: (record.folder.parent.name, record.trial))
    output.mkdir(parents=True, exist_ok=True)
    movie, note = None, "not asked for"
    if video:
        try:
            write_video(records, output / VIDEO_NAME)
            movie, note = output / VIDEO_NAME, ""
        except VideoError as error:
            note = str(error)
    page = output / PAGE_NAME
    temporary = output / f".{PAGE_NAME}.tmp"
    try:
        temporary.write_text(
            render_page(folder, records, unreadable, movie, note, evidence), encoding="utf-8"
        )
        os.replace(temporary, page)
    finally:
        temporary.unlink(missing_ok=True)
    bare = tuple(evidence.without_bag(records))
    return Report(page, movie, note, tuple(records), bare, tuple(unreadable))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``twist-report``.

    Returns:
        0 when every bag is shown, 1 when some could not be read, 2 when there is nothing to show.
    """
    parser = argparse.ArgumentParser(
        prog="twist-report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="output folder of an evaluation, or one bag")
    parser.add_argument("--output", type=Path, help="folder for page and video (default: FOLDER)")
    parser.add_argument("--no-video", action="store_true", help="make the page only")
    options = parser.parse_args(arguments)
    try:
        report = make_report(
            options.folder, options.output or options.folder, video=not options.no_video
        )
    except (BagError, OSError) as error:
        print(f"twist-report: {error}", file=sys.stderr)
        return 2
    for bag in report.unreadable:
        print(f"not shown: {bag.folder}: {bag.reason}", file=sys.stderr)
    print(f"page   {report.page}")
    print(f"video  {report.video or report.video_note}")
    if not report.records and not report.without_bag:
        return 2
    return 1 if report.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
