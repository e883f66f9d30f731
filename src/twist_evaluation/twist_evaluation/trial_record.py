"""What a trial's bag tells, read without ROS: the definitions in the bag are enough."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from twist_evaluation.bag_writer import METADATA_FILE, BagError, read_metadata
from twist_evaluation.image_frames import FrameError, rgb_frame
from twist_evaluation.results import Outcome

_IMAGE = "sensor_msgs/msg/Image"
_STEP = "twist_msgs/msg/PolicyStep"
_BELIEF = "twist_msgs/msg/Belief"
_TRUTH = "twist_msgs/msg/GroundTruth"


@dataclass(frozen=True)
class Scene:
    """Sizes for drawing; metres, base frame.

    Attributes:
        goal_radius: the cube's centre within it is a success; 0 where there is no goal.
        object_size: edge of the cube.
        lower: smallest x, y of the workspace.
        upper: largest x, y of the workspace.
    """

    goal_radius: float = 0.05
    object_size: float = 0.04
    lower: tuple[float, float] = (0.32, -0.24)
    upper: tuple[float, float] = (0.68, 0.24)


@dataclass(frozen=True)
class Track:
    """Positions over time, from above.

    Attributes:
        time: (N,) seconds since the first step of the policy.
        object: (N, 2) x, y of the object, metres, base frame.
        tool: (N, 2) x, y of the tool tip, metres.
        goal: (N, 2) x, y of the goal, metres; NaN where there is none.
        height: (N,) of the object's centre above the table, metres.
        distance: (N,) metres to success as the task's rule counts it; NaN where unknown.
    """

    time: np.ndarray
    object: np.ndarray
    tool: np.ndarray
    goal: np.ndarray
    height: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class StepTrace:
    """One row per policy step; all (N,).

    Attributes:
        time: seconds since the first step.
        surprise: nats.
        latency: seconds from image stamp to command.
        inference: seconds in the networks.
        camera_age: seconds from image stamp to decision.
    """

    time: np.ndarray
    surprise: np.ndarray
    latency: np.ndarray
    inference: np.ndarray
    camera_age: np.ndarray


@dataclass(frozen=True)
class TrialRecord:
    """A trial as its bag shows it.

    Attributes:
        folder: of the bag.
        trial: 0-based number; the bag's place in the folder where it was not told.
        outcome: None when the bag does not tell.
        custom_data: of the bag.
        final_distance: metres; NaN when not judged.
        steps: every step of the policy.
        truth: the true state.
        belief: what the policy believed.
        first_frame: (H, W, 3) uint8 RGB, or None without images.
        last_frame: likewise.
        frame_interval: median seconds between two images; NaN with fewer than two.
        start: when the policy made its first step, seconds since the epoch.
        duration: seconds that the bag spans.
        messages: how many.
        size: bytes on the disk.
        scene: sizes for drawing.
    """

    folder: Path
    trial: int
    outcome: Outcome | None
    custom_data: dict[str, str]
    final_distance: float
    steps: StepTrace
    truth: Track
    belief: Track
    first_frame: np.ndarray | None
    last_frame: np.ndarray | None
    frame_interval: float
    start: float
    duration: float
    messages: int
    size: int
    scene: Scene

    @property
    def reason(self) -> str:
        """Why it was aborted; empty otherwise."""
        return self.custom_data.get("reason", "")


@dataclass(frozen=True)
class UnreadableBag:
    """A bag that cannot be shown, and why."""

    folder: Path
    reason: str


def bag_folders(folder: Path) -> list[Path]:
    """Every bag in `folder` and in its seeds' folders, or `folder` itself when it is one.

    Raises:
        BagError: the folder is missing, or holds no bag.
    """
    if not folder.is_dir():
        raise BagError(f"{folder} is not a folder; give the output folder of an evaluation")
    inside = sorted(folder.iterdir())
    seeds = [path for place in folder.glob("seed*") if place.is_dir() for path in place.iterdir()]
    found = [path for path in (folder, *inside, *sorted(seeds)) if _is_bag(path)]
    if not found:
        raise BagError(
            f"{folder} holds no bag (a folder with {METADATA_FILE} or an .mcap file); give the "
            "output folder of an evaluation that was recorded"
        )
    return found


def _is_bag(path: Path) -> bool:
    return path.is_dir() and ((path / METADATA_FILE).exists() or any(path.glob("*.mcap")))


def read_trials(folder: Path) -> tuple[list[TrialRecord], list[UnreadableBag]]:
    """Reads every bag of a folder; those that cannot be read do not stop the others.

    Raises:
        BagError: the folder is missing, or holds no bag.
    """
    records, unreadable = [], []
    for index, bag in enumerate(bag_folders(folder)):
        try:
            records.append(read_trial(bag, index))
        except BagError as error:
            unreadable.append(UnreadableBag(bag, str(error)))
    return records, unreadable


def read_trial(folder: Path, index: int = 0) -> TrialRecord:
    """Reads one bag.

    Args:
        folder: of the bag.
        index: its number, in case it does not tell.

    Raises:
        BagError: it cannot be read; the message names cause and cure.
    """
    information = read_metadata(folder)
    try:
        custom = {str(k): str(v) for k, v in (information.get("custom_data") or {}).items()}
        with AnyReader([folder]) as reader:
            return _read(reader, folder, custom, index)
    # A damaged file makes the parsers raise nearly anything.
    except Exception as error:
        raise BagError(
            f"damaged: {type(error).__name__}: {error}. Move {METADATA_FILE} away and run "
            f"`twist-recover {folder}` to save what can be read."
        ) from error


def frames(record: TrialRecord) -> Iterator[tuple[float, np.ndarray]]:
    """Every camera frame of a trial: (image stamp, (H, W, 3) uint8 RGB).

    The stamp is in seconds since the first step of the policy, as in the record's tracks. Frames
    of an unknown encoding are left out.
    """
    with AnyReader([record.folder]) as reader:
        images = [c for c in reader.connections if c.msgtype == _IMAGE][:1]
        for connection, _, data in reader.messages(images) if images else ():
            message: Any = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            with contextlib.suppress(FrameError):
                yield stamp - record.start, rgb_frame(message)


def _read(reader: AnyReader, folder: Path, custom: dict[str, str], index: int) -> TrialRecord:
    steps: list[tuple[float, ...]] = []
    truths: list[tuple[float, ...]] = []
    beliefs: list[tuple[float, ...]] = []
    images: list[Any] = []
    image_times: list[int] = []
    connections = [c for c in reader.connections if c.msgtype in (_IMAGE, _STEP, _BELIEF, _TRUTH)]
    for connection, time, data in reader.messages(connections):
        kind = connection.msgtype
        if kind == _IMAGE:
            images[1:] = [data]
            image_times.append(time)
            continue
        message: Any = reader.deserialize(data, kind)
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        if kind == _STEP:
            steps.append(
                (
                    stamp,
                    message.surprise,
                    message.latency,
                    message.inference_time,
                    message.camera_age,
                )
            )
        else:
            position = message.object_pose.position if kind == _TRUTH else message.object_position
            points = (position, message.ee_position, message.goal_position)
            distance = message.distance if kind == _TRUTH else math.nan
            flat = (value for p in points for value in (p.x, p.y))
            row = (stamp, *flat, position.z, distance)
            (truths if kind == _TRUTH else beliefs).append(row)
    step_rows = np.array(steps, dtype=np.float64).reshape(-1, 5)
    origin = float(step_rows[0, 0]) if len(step_rows) else reader.start_time * 1e-9
    step_rows[:, 0] -= origin
    shown = [_frame(reader, data) for data in images]
    return TrialRecord(
        folder=folder,
        trial=int(custom.get("trial", index)),
        outcome=_outcome(custom.get("outcome", "")),
        custom_data=custom,
        final_distance=float(custom.get("final_distance", "nan") or "nan"),
        steps=StepTrace(*step_rows.T),
        truth=_track(truths, origin),
        belief=_track(beliefs, origin),
        first_frame=shown[0] if shown else None,
        last_frame=shown[-1] if shown else None,
        frame_interval=float(np.median(np.diff(image_times))) * 1e-9
        if len(image_times) > 1
        else math.nan,
        start=origin,
        duration=max(0, reader.duration) * 1e-9 if reader.message_count else 0.0,
        messages=reader.message_count,
        size=sum(path.stat().st_size for path in folder.glob("*.mcap")),
        scene=_scene(custom.get("scene", "")),
    )


def _frame(reader: AnyReader, data: bytes) -> np.ndarray | None:
    try:
        return rgb_frame(reader.deserialize(data, _IMAGE))
    except FrameError:
        return None


def _track(rows: list[tuple[float, ...]], origin: float) -> Track:
    table = np.array(rows, dtype=np.float64).reshape(-1, 9)
    return Track(
        table[:, 0] - origin,
        *(table[:, 1:3], table[:, 3:5], table[:, 5:7]),
        *(table[:, 7], table[:, 8]),
    )


def _outcome(text: str) -> Outcome | None:
    try:
        return Outcome(text)
    except ValueError:
        return None


def _scene(text: str) -> Scene:
    try:
        data = json.loads(text)
        scene = Scene(
            float(data["goal_radius"]),
            float(data["object_size"]),
            (float(data["workspace_lower"][0]), float(data["workspace_lower"][1])),
            (float(data["workspace_upper"][0]), float(data["workspace_upper"][1])),
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return Scene()
    return scene if math.isfinite(scene.goal_radius) else Scene()
