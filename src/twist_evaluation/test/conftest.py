"""Fixtures: sample bags made without ROS, and a small graph of fakes around the real nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from twist_evaluation.bag_writer import BagWriter
from twist_evaluation.message_definitions import message_definition

START = 1_800_000_000_000_000_000
"""Nanoseconds since the epoch at which sample trials begin."""


def message_store() -> Typestore:
    """Serialises our messages without ROS."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ("PolicyStep", "Belief", "GroundTruth"):
        definition = message_definition(f"twist_msgs/msg/{name}")
        store.register(
            {
                key: value
                for key, value in get_types_from_msg(definition.text, definition.name).items()
                if key not in store.types
            }
        )
    return store


class SampleTrial:
    """Writes bags that look like a trial: a cube pushed along a curve to, or past, its goal."""

    def __init__(self) -> None:
        self.store = message_store()

    def message(self, type_name: str, **fields: Any) -> bytes:
        """Serialises a message; fields not given are zero or empty."""
        return bytes(self.store.serialize_cdr(self._build(type_name, fields), type_name))

    def _build(self, type_name: str, fields: dict[str, Any]) -> Any:
        kind = self.store.types[type_name]
        defaults = {}
        for name, (node, detail) in self.store.get_msgdef(type_name).fields:
            defaults[name] = self._default(int(node), detail)
        unknown = fields.keys() - defaults.keys()
        assert not unknown, f"{type_name} has no {unknown}"
        for name, value in fields.items():
            if isinstance(value, dict):
                detail = dict(self.store.get_msgdef(type_name).fields)[name][1]
                defaults[name] = self._build(detail, value)
            else:
                defaults[name] = value
        return kind(**defaults)

    def _default(self, node: int, detail: Any) -> Any:
        if node == 1:
            return "" if detail[0] == "string" else 0
        if node == 2:
            return self._build(detail, {})
        (inner_node, inner), length = detail
        if int(inner_node) == 1 and inner[0] != "string":
            dtype = {"byte": "uint8", "char": "uint8"}.get(inner[0], inner[0])
            return np.zeros(length or 0, dtype=dtype)
        return []

    def stamp(self, time: int) -> dict[str, Any]:
        """A header's content for a time in nanoseconds."""
        seconds, nanoseconds = divmod(time, 10**9)
        return {"stamp": {"sec": seconds, "nanosec": nanoseconds}, "frame_id": "panda_link0"}

    def write(
        self,
        folder: Path,
        trial: int,
        outcome: str,
        *,
        steps: int = 30,
        reason: str = "",
        image_every: int = 2,
        image: Callable[[int, np.ndarray, np.ndarray], np.ndarray] | None = None,
        custom_data: dict[str, str] | None = None,
        lift: bool = False,
    ) -> Path:
        """Writes one bag and returns its folder.

        With `lift` the cube is raised by 12 cm instead of being pushed to a goal: there is none.
        """
        rng = np.random.default_rng(trial)
        start, goal = rng.uniform([0.40, -0.16], [0.60, 0.16], (2, 2))
        end = goal + rng.normal(0, 0.012, 2) + (0.0 if outcome == "success" else 0.07)
        bend = rng.normal(0, 0.03, 2)
        bag = folder / f"trial_{trial:03d}_block_push_seed0"
        writer = BagWriter(
            bag,
            {
                "task": "block_push",
                "trial": str(trial),
                "seed": "0",
                "checkpoint": "block_push@0123456789ab",
                "episode_steps": "150",
                **(custom_data or {}),
            },
            reserve_bytes=0,
        )
        topics = {
            "/camera/camera/color/image_raw": "sensor_msgs/msg/Image",
            "/twist_policy_node/step": "twist_msgs/msg/PolicyStep",
            "/twist_policy_node/belief": "twist_msgs/msg/Belief",
            "/robot_twin/ground_truth": "twist_msgs/msg/GroundTruth",
        }
        for topic, kind in topics.items():
            writer.add_topic(topic, message_definition(kind))
        image_topic, step_topic, belief_topic, truth_topic = topics

        def put(topic: str, time: int, **fields: Any) -> None:
            writer.write(topic, self.message(topics[topic], **fields), time, time)

        for index in range(steps):
            share = index / max(1, steps - 1)
            ease = share * share * (3 - 2 * share)
            place = start + (end - start) * ease + bend * math.sin(math.pi * ease)
            tool = place - 0.04 * (end - start) / np.linalg.norm(end - start)
            believed = place + rng.normal(0, 0.006, 2)
            time = START + (trial * 20 + index // 10) * 10**9 + (index % 10) * 10**8
            header = self.stamp(time)
            distance = float(np.linalg.norm(place - goal))
            point = {"x": place[0], "y": place[1], "z": 0.02}
            believed_goal = {"x": goal[0] + 0.003, "y": goal[1] - 0.004, "z": 0.0}
            if lift:
                point["z"] = 0.02 + 0.12 * ease
                distance = max(0.0, 0.12 - point["z"])
                believed_goal = dict.fromkeys(("x", "y", "z"), math.nan)
            goal_point = {"x": goal[0], "y": goal[1], "z": 0.0}
            tool_point = {"x": tool[0], "y": tool[1], "z": 0.02}
            put(
                truth_topic,
                time,
                header=header,
                ee_position=tool_point,
                object_pose={"position": point},
                goal_position=goal_point,
                distance=distance,
                success=distance < (0.001 if lift else 0.05),
            )
            if image is not None and index % image_every == 0:
                pixels = image(index, place, goal)
                put(
                    image_topic,
                    time,
                    header=header,
                    height=pixels.shape[0],
                    width=pixels.shape[1],
                    encoding="rgb8",
                    step=pixels.shape[1] * 3,
                    data=pixels.reshape(-1),
                )
            put(
                step_topic,
                time + 10**7,
                header=self.stamp(time + 10**7),
                step=index,
                camera_age=float(rng.gamma(3, 0.004)),
                inference_time=float(rng.gamma(20, 0.0006)),
                latency=float(0.012 + rng.gamma(4, 0.004)),
                raw_action=np.zeros(3, np.float32),
                surprise=float(1 + rng.gamma(2, 0.3) + 3 * math.exp(-index / 4)),
                speed_scale=1.0,
            )
            put(
                belief_topic,
                time + 10**7,
                header=header,
                step=index,
                ee_position=tool_point,
                object_position={"x": believed[0], "y": believed[1], "z": point["z"]},
                goal_position=believed_goal,
            )
        distance = float(np.linalg.norm(end - goal))
        writer.close(
            {
                "outcome": outcome,
                "steps": str(steps),
                "final_distance": f"{distance:.6f}" if outcome != "aborted" else "nan",
                "reason": reason,
                "dropped": "0",
            }
        )
        return bag


@pytest.fixture(scope="session")
def sample_trial() -> SampleTrial:
    """Makes sample bags."""
    return SampleTrial()
