"""MoveIt Servo's message types: MoveIt's own where installed, else the copies in twist_msgs."""

from __future__ import annotations

try:
    from moveit_msgs.msg import ServoStatus
    from moveit_msgs.srv import ServoCommandType
except ImportError:
    from twist_msgs.msg import ServoStatus
    from twist_msgs.srv import ServoCommandType

__all__ = ["ServoCommandType", "ServoStatus"]
