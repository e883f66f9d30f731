"""The camera's nodes; the only part of the package that uses ROS."""
