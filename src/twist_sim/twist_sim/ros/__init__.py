"""ROS side of the simulated robot: the twin (robot and camera) and the Servo stand-in."""
