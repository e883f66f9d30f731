"""Block lift: ``ros2 launch twist_bringup block_lift.launch.py robot:=sim trials:=5``.

``--show-args`` lists the arguments. The graph itself is described in ``twist_bringup.stack``.
"""

from launch import LaunchDescription

from twist_bringup.launch_stack import launch_description


def generate_launch_description() -> LaunchDescription:
    return launch_description("block_lift")
