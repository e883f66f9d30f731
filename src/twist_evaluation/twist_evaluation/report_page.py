"""The report page: numbers, pictures and charts of an evaluation put into the template."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from twist_evaluation import charts
from twist_evaluation.comparison import lines
from twist_evaluation.report_evidence import Evidence
from twist_evaluation.results import Outcome
from twist_evaluation.trial_record import TrialRecord, UnreadableBag
from twist_policy.statistics import bootstrap_interval, percentile, wilson_interval

_COLOURS = {
    Outcome.SUCCESS: "#16a34a",
    Outcome.FAILURE: "#dc2626",
    Outcome.ABORTED: "#d97706",
    Outcome.NOT_JUDGED: "#7c3aed",
    None: "#64748b",
}
_LATENCY_TARGET = 60.0  # ms, stamp to command at p99
_EMBED_VIDEO_BYTES = 12 * 2**20


@dataclass(frozen=True)
class Tile:
    """One number on the page."""

    label: str
    value: str
    detail: str = ""


def render_page(
    folder: Path,
    records: Sequence[TrialRecord],
    unreadable: Sequence[UnreadableBag],
    video: Path | None,
    video_note: str,
    evidence: Evidence | None = None,
) -> str:
    """Renders the page: one HTML text that needs nothing from anywhere.

    A video of up to 12 MiB is embedded; a larger one is linked by its name, to lie beside the page.

    Args:
        folder: what is reported on.
        records: readable trials.
        unreadable: bags that could not be read.
        video: MP4 of the trials, or None.
        video_note: why there is no video; empty when there is one.
        evidence: what the evaluation's other files tell.
    """
    evidence = Evidence() if evidence is None else evidence
    environment = Environment(
        loader=PackageLoader("twist_evaluation"), autoescape=True, undefined=StrictUndefined
    )
    bare = evidence.without_bag(records)
    outcomes = [record.outcome for record in records] + [report.outcome for report in bare]
    known = [outcome for outcome in outcomes if outcome is not None]
    rate = wilson_interval(known.count(Outcome.SUCCESS), len(known))
    first = records[0].custom_data if records else {}
    task = first.get("task") or next((one.task for one in evidence.identities), "evaluation")
    seeds = _distinct(records, "seed") or [str(one.seed) for one in evidence.identities]
    return environment.get_template("report.html.j2").render(
        title=task.replace("_", " "),
        folder=folder,
        seeds=", ".join(seeds) or "unknown",
        checkpoints=_checkpoints(records, evidence),
        recorded=_moment(min((r.start for r in records), default=math.nan)),
        successes=known.count(Outcome.SUCCESS),
        failures=known.count(Outcome.FAILURE),
        aborted=known.count(Outcome.ABORTED),
        not_judged=known.count(Outcome.NOT_JUDGED),
        evidence=evidence,
        comparison=lines(evidence.comparison) if evidence.comparison is not None else [],
        trials=len(known),
        rate=rate,
        interval_bar=Markup(charts.interval_bar(rate.estimate, rate.low, rate.high)),
        tiles=_tiles(records),
        cards=[_card(record, evidence) for record in records],
        bare=bare,
        unreadable=unreadable,
        video=_video_source(video),
        video_name=video.name if video else "",
        video_note=video_note,
        charts=_charts(records),
        environment=_environment(first, records),
    )


def _tiles(records: Sequence[TrialRecord]) -> list[Tile]:
    distances = _finite([record.final_distance for record in records]) * 100
    median = bootstrap_interval(distances, lambda row: float(np.median(row)))
    latency = _joined(records, "latency") * 1000
    inference = _joined(records, "inference") * 1000
    age = _joined(records, "camera_age") * 1000
    surprise = _joined(records, "surprise")
    errors = [_belief_error(record) * 100 for record in records]
    interval = f"95 % interval {median.low:.1f} to {median.high:.1f}" if distances.size else ""
    mean = float(surprise.mean()) if surprise.size else math.nan
    return [
        Tile("Median final distance", _number(median.estimate, "cm"), interval),
        Tile(
            "Image to command, p99",
            _number(percentile(latency, 99), "ms", 0),
            f"median {_number(percentile(latency, 50), 'ms', 0)}",
        ),
        Tile(
            "Inference, p99",
            _number(percentile(inference, 99), "ms"),
            f"median {_number(percentile(inference, 50), 'ms')}",
        ),
        Tile(
            "Camera age, p99",
            _number(percentile(age, 99), "ms", 0),
            f"median {_number(percentile(age, 50), 'ms', 0)}",
        ),
        Tile(
            "Mean surprise",
            _number(mean, "nats", 2),
            f"p99 {_number(percentile(surprise, 99), 'nats', 1)}",
        ),
        Tile(
            "Belief error, median",
            _number(percentile(errors, 50), "cm"),
            "believed to true cube",
        ),
    ]


def _checkpoints(records: Sequence[TrialRecord], evidence: Evidence) -> str:
    if evidence.comparison is not None:
        return " and ".join(name.partition(" ")[0] for name in evidence.comparison.names)
    names = _distinct(records, "checkpoint") or [one.checkpoint for one in evidence.identities]
    told = [name.partition("/")[0] for name in names if name]
    return ", ".join(dict.fromkeys(told)) or "not told"


def _policy(record: TrialRecord, evidence: Evidence) -> str:
    """``A`` or ``B`` of a comparison that was opened; empty otherwise."""
    if evidence.comparison is None:
        return ""
    try:
        return evidence.comparison.letter(int(record.custom_data["seed"]), record.trial)
    except (KeyError, ValueError):
        return ""


def _card(record: TrialRecord, evidence: Evidence) -> dict[str, Any]:
    steps = record.steps
    dropped = record.custom_data.get("dropped", "")
    return {
        "number": f"{record.trial + 1} {_policy(record, evidence)}".strip(),
        "name": record.folder.name,
        "outcome": str(record.outcome) if record.outcome else "unknown",
        "reason": record.reason,
        "distance": _number(record.final_distance * 100, "cm"),
        "steps": len(steps.time),
        "duration": _number(float(steps.time[-1]) if steps.time.size else math.nan, "s"),
        "surprise": _number(float(steps.surprise.mean()) if steps.time.size else math.nan, "", 2),
        "latency": _number(percentile(steps.latency * 1000, 99), "ms", 0),
        "age": _number(percentile(steps.camera_age * 1000, 99), "ms", 0),
        "belief_error": _number(_belief_error(record) * 100, "cm"),
        "size": f"{record.size / 2**20:.1f} MiB",
        "messages": record.messages,
        "dropped": dropped if dropped not in ("", "0") else "",
        "first": _jpeg(record.first_frame),
        "last": _jpeg(record.last_frame),
        "judged": _jpeg(_judged_picture(record), 640),
        "judge": record.custom_data.get("judge", ""),
        "map": Markup(charts.table_map(record.truth, record.belief, record.scene)),
        "spark": Markup(charts.sparkline(steps.surprise)),
    }


def _judged_picture(record: TrialRecord) -> np.ndarray | None:
    """What the judge measured, saved beside the bag; None where no picture was."""
    name = Path(record.custom_data.get("picture", "")).name
    if not name:
        return None
    try:
        with Image.open(record.folder.parent / name) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError:
        return None


def _charts(records: Sequence[TrialRecord]) -> dict[str, Markup]:
    latency = _joined(records, "latency") * 1000
    inference = _joined(records, "inference") * 1000
    paths = [(r.truth, _COLOURS[r.outcome], _name(r)) for r in records]
    scene = records[0].scene if records else None
    drawn = {
        "latency": charts.histogram(
            latency,
            x_label="camera stamp to command, ms",
            markers=[
                charts.Marker(_LATENCY_TARGET, f"target {_LATENCY_TARGET:.0f} ms", "#94a3b8"),
                *_p99_marker(latency),
            ],
        ),
        "inference": charts.histogram(
            inference,
            x_label="inference, ms",
            colour="#0ea5e9",
            markers=_p99_marker(inference),
        ),
        "surprise": charts.line_chart(
            [*(_series(r, r.steps.surprise) for r in records), _median(records, "surprise")],
            x_label="time since activation, s",
            y_label="surprise, nats",
        ),
        "camera_age": charts.line_chart(
            [
                *(_series(r, r.steps.camera_age * 1000) for r in records),
                _median(records, "camera_age", 1000),
            ],
            x_label="time since activation, s",
            y_label="camera age, ms",
        ),
        "distance": charts.line_chart(
            [
                _distance_series(r)
                for r in records
                # What was recorded before the policy's first step is not the trial.
                if (r.truth.time >= 0).any()
            ],
            x_label="time since activation, s",
            y_label="distance to success, cm",
            height=400,
            markers=[charts.Marker(scene.goal_radius * 100, "success", "#16a34a")]
            if scene and scene.goal_radius > 0
            else [],
        ),
    }
    if scene is not None and scene.goal_radius > 0:
        drawn["paths"] = charts.paths_relative_to_goal(paths, scene)
    return {name: Markup(text) for name, text in drawn.items()}


def _p99_marker(values: np.ndarray) -> list[charts.Marker]:
    value = percentile(values, 99)
    return [charts.Marker(value, f"p99 {value:.3g} ms")] if math.isfinite(value) else []


def _series(record: TrialRecord, values: np.ndarray) -> charts.Series:
    return charts.Series(record.steps.time, values, _COLOURS[record.outcome], _name(record), 1, 0.3)


def _distance_series(record: TrialRecord) -> charts.Series:
    truth = record.truth
    running = truth.time >= 0
    distance = truth.distance[running] * 100
    return charts.Series(
        truth.time[running], distance, _COLOURS[record.outcome], _name(record), opacity=0.7
    )


def _median(records: Sequence[TrialRecord], name: str, factor: float = 1.0) -> charts.Series:
    """Median over the trials, step by step."""
    length = max((r.steps.time.size for r in records), default=0)
    table = np.full((2, len(records), length), np.nan)
    for row, record in enumerate(records):
        table[0, row, : record.steps.time.size] = record.steps.time
        table[1, row, : record.steps.time.size] = getattr(record.steps, name) * factor
    # A step that no trial reached does not exist: `length` is the longest trial's.
    time, value = np.nanmedian(table, axis=1) if length else np.zeros((2, 0))
    return charts.Series(time, value, "#0f172a", "median of the trials", 1.8)


def _name(record: TrialRecord) -> str:
    return f"trial {record.trial + 1}: {record.outcome or 'unknown'}"


def _belief_error(record: TrialRecord) -> float:
    """Median distance between believed and true object, metres; NaN without both."""
    truth, belief = record.truth, record.belief
    if not truth.time.size or not belief.time.size:
        return math.nan
    places = np.clip(np.searchsorted(truth.time, belief.time), 0, len(truth.time) - 1)
    errors = np.linalg.norm(truth.object[places] - belief.object, axis=1)
    return percentile(errors, 50)


def _environment(custom: dict[str, str], records: Sequence[TrialRecord]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    with contextlib.suppress(KeyError, ValueError, AttributeError):
        told = json.loads(custom["environment"])
        rows += [(f"recorded with {name}", str(value)) for name, value in told.items()]
    if records:
        total = sum(record.size for record in records)
        rows.append(("bags", f"{len(records)}, {total / 2**20:.0f} MiB"))
        rows.append(("images recorded", f"at most {custom.get('image_rate', '?')} per second"))
    rows.append(("report made", _moment(datetime.now(tz=UTC).timestamp())))
    rows.append(("report made on", f"{platform.system()}, Python {platform.python_version()}"))
    rows.append(("twist_evaluation", _version("twist_evaluation")))
    return rows


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"


def _video_source(video: Path | None) -> str:
    if video is None:
        return ""
    if video.stat().st_size > _EMBED_VIDEO_BYTES:
        return video.name
    return "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()


def _jpeg(frame: np.ndarray | None, width: int = 400) -> str:
    if frame is None:
        return ""
    picture = Image.fromarray(frame)
    picture.thumbnail((width, width))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _joined(records: Sequence[TrialRecord], name: str) -> np.ndarray:
    parts = [getattr(record.steps, name) for record in records]
    return _finite(np.concatenate(parts)) if parts else np.zeros(0)


def _finite(values: Any) -> np.ndarray:
    data = np.asarray(values, dtype=np.float64)
    return data[np.isfinite(data)]


def _distinct(records: Sequence[TrialRecord], key: str) -> list[str]:
    return list(dict.fromkeys(r.custom_data[key] for r in records if r.custom_data.get(key)))


def _number(value: float, unit: str, digits: int = 1) -> str:
    return f"{value:.{digits}f} {unit}".strip() if math.isfinite(value) else "–"


def _moment(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown"
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
