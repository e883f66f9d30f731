"""The lab's arm: one robot state for both Franka drivers, error recovery, motions."""
