"""Makes the README's animation from a report's video.

python scripts/animate.py bags/RUN/trials.mp4 docs/media/block_push.gif [FIRST_S LAST_S]
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
from PIL import Image

WIDTH = 360
FRAMES_PER_SECOND = 8
SPEED = 2.0


def main(video: Path, animation: Path, first: float = 0.0, last: float = 1e9) -> None:
    """Writes every n-th frame between `first` and `last` seconds, `SPEED` times as fast."""
    frames: list[Image.Image] = []
    following = first
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or not following <= frame.time <= last:
                continue
            following = frame.time + SPEED / FRAMES_PER_SECOND
            picture = frame.to_image()
            size = (WIDTH, round(WIDTH * picture.height / picture.width))
            frames.append(picture.resize(size, Image.Resampling.LANCZOS))
    if not frames:
        raise SystemExit(f"{video} has no frame between {first} and {last} s")
    palette = frames[len(frames) // 2].quantize(128)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    animation.parent.mkdir(parents=True, exist_ok=True)
    indexed[0].save(
        animation,
        save_all=True,
        append_images=indexed[1:],
        duration=round(1000 / FRAMES_PER_SECOND),
        loop=0,
        optimize=True,
    )
    print(f"{animation}: {len(frames)} frames, {animation.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:5]))
