"""A contract without a task, for tests, benchmarks and dry runs."""

from __future__ import annotations

from typing import Any

from twist_policy.contract import CameraModel, ImageSpec, PolicyContract, StateField, Workspace


def synthetic_contract(**changes: Any) -> PolicyContract:
    """A contract like block push's.

    Args:
        changes: replace its fields.

    Raises:
        ContractError: the changed fields do not go together.
    """
    fields: dict[str, Any] = {
        "task": "block_push",
        "base_frame": "panda_link0",
        "control_period": 0.1,
        "action_size": 3,
        "action_bound": 0.02,
        "leash": 0.03,
        "workspace": Workspace((0.3, -0.3, 0.01), (0.7, 0.3, 0.3)),
        "home": (0.4, 0.0, 0.05),
        "tool_orientation": (0.0, 1.0, 0.0, 0.0),
        "tool_offset": (0.0, 0.0, 0.2),
        "episode_steps": 150,
        "camera": CameraModel(
            640, 480, 615.0, 615.0, 320.0, 240.0, (1.2, 0.0, 0.6), (1.0, 0.0, 0.0, 0.0)
        ),
        "image": ImageSpec(150, 100, 300, 64),
        "observes_ee_position": True,
        "state": (
            StateField("ee_position", "m", 3, (0.5, 0.0, 0.05), 10.0),
            StateField("object_position", "m", 3, (0.5, 0.0, 0.02), 10.0),
            StateField("goal_position", "m", 3, (0.5, 0.0, 0.0), 10.0),
        ),
    }
    return PolicyContract(**(fields | changes))
