"""The graph described once, launch files over it, and the runner without ros2 launch."""
