"""Room for whole images in the middleware's shared memory."""

from __future__ import annotations

import os
from pathlib import Path


def enlarge_shared_memory() -> None:
    """Makes room for whole images in Fast DDS's shared memory, unless the user has a profile.

    To be called before rclpy is initialised, by every process that publishes images: those larger
    than the segment get lost on their way to other processes.
    """
    variables = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if not any(os.environ.get(name) for name in variables):
        for name in variables:  # Fast DDS 3 reads the first, Fast DDS 2 (Jazzy) the second
            os.environ[name] = str(Path(__file__).with_name("fastdds_large_images.xml"))
