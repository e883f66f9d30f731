"""The lifecycle node around a TWIST policy: camera in, Servo out, robot state, watchdogs."""
