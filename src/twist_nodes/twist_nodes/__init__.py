"""What the rclpy nodes of this workspace have in common."""
