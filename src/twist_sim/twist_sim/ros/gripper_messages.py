"""The Franka gripper's actions: Franka's own where installed, else the copies in twist_msgs."""

from __future__ import annotations

try:
    from franka_msgs.action import Grasp, Homing, Move
except ImportError:
    from twist_msgs.action import Grasp, Homing, Move

__all__ = ["Grasp", "Homing", "Move"]
