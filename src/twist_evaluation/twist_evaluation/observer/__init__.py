"""Measures where cube and goal are in one picture of a calibrated camera. No ROS in here."""
