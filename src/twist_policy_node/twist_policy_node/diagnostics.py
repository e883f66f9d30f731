"""What /diagnostics says: one status each for policy, camera, robot and Servo."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from twist_policy_node.watchdogs import Fault

_WINDOW = 300
"""Policy steps over which percentiles are taken."""


class StepStatistics:
    """Latencies and inference times of the last policy steps."""

    def __init__(self) -> None:
        self._latency: deque[float] = deque(maxlen=_WINDOW)
        self._inference: deque[float] = deque(maxlen=_WINDOW)

    def add(self, latency: float, inference_time: float) -> None:
        """Notes one step, seconds."""
        self._latency.append(latency)
        self._inference.append(inference_time)

    def values(self) -> dict[str, str]:
        """Percentiles as diagnostic values; empty before the first step."""
        if not self._latency:
            return {}
        return {
            "latency p50 [ms]": f"{np.percentile(self._latency, 50) * 1e3:.1f}",
            "latency p99 [ms]": f"{np.percentile(self._latency, 99) * 1e3:.1f}",
            "inference p50 [ms]": f"{np.percentile(self._inference, 50) * 1e3:.1f}",
            "inference p99 [ms]": f"{np.percentile(self._inference, 99) * 1e3:.1f}",
        }


@dataclass(frozen=True)
class Health:
    """One diagnostic status.

    Attributes:
        part: ``policy``, ``camera``, ``robot``, ``arm``, ``servo`` or ``gripper``.
        message: one line.
        level: a level of diagnostic_msgs/msg/DiagnosticStatus.
        values: details.
    """

    part: str
    message: str
    level: bytes = DiagnosticStatus.OK
    values: Mapping[str, str] = field(default_factory=dict)


def policy_health(state: str, fault: Fault | None, values: Mapping[str, str]) -> Health:
    """The policy's status: what it does, or why the arm was stopped.

    Args:
        state: what the node does now, in words.
        fault: the latched fault, or None.
        values: details.
    """
    if fault is None:
        return Health("policy", state, DiagnosticStatus.OK, values)
    reasons = {"code": fault.code, "cause": fault.cause, "cure": fault.cure}
    return Health(
        "policy", f"stopped: {fault.cause}", DiagnosticStatus.ERROR, {**reasons, **values}
    )


def input_health(part: str, trouble: str | None, *, needed: bool, age: float | None) -> Health:
    """Status of an input.

    Args:
        part: ``camera``, ``robot``, ``arm``, ``servo`` or ``gripper``.
        trouble: what is wrong with it, or None.
        needed: whether the arm is moving, so that trouble is an error; else it is a warning.
        age: seconds since it was last heard of, or None.
    """
    values = {} if age is None else {"last heard [s]": f"{age:.3f}"}
    if trouble is None:
        return Health(part, "ok", DiagnosticStatus.OK, values)
    level = DiagnosticStatus.ERROR if needed else DiagnosticStatus.WARN
    return Health(part, trouble, level, values)


def diagnostic_message(node_name: str, hardware_id: str, health: list[Health]) -> DiagnosticArray:
    """The message without its stamp.

    Args:
        node_name: prefix of every status name.
        hardware_id: identity of the checkpoint.
        health: the statuses.
    """
    message = DiagnosticArray()
    message.status = [
        DiagnosticStatus(
            level=item.level,
            name=f"{node_name}: {item.part}",
            message=item.message,
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in item.values.items()],
        )
        for item in health
    ]
    return message
