"""Draws a sheet of training or held-out images, to look at before training on them.

``python -m twist_sim.contact_sheet block_push --split held_out --out sheet.png``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from twist_sim.appearance import AppearanceError, AppearanceSampler
from twist_sim.gl_backend import RenderError
from twist_sim.layout import draw_layout
from twist_sim.rendering import SceneRenderer
from twist_sim.scene import PandaScene
from twist_sim.task_card import TaskCard, TaskCardError, load_task_card
from twist_sim.textures import TextureError


def contact_sheet(
    card: TaskCard, sampler: AppearanceSampler, *, rows: int, columns: int, zoom: int
) -> NDArray[np.uint8]:
    """Starts of episodes, each in a look of its own, as the student sees them.

    Args:
        card: the task.
        sampler: draws the looks.
        rows: of pictures.
        columns: of pictures.
        zoom: whole factor of enlargement.

    Returns:
        (rows * size * zoom, columns * size * zoom, 3) uint8 RGB, size = ``image.size``.
    """
    scene, rng = PandaScene(card), np.random.default_rng(sampler.seed)
    pictures = []
    with SceneRenderer(card, sampler) as renderer:
        for trial in range(rows * columns):
            scene.reset(draw_layout(card, sampler.seed, trial))
            picture = renderer.render_training_image(
                scene.get_state(), sampler.draw_trial(trial), rng
            )
            pictures.append(picture.repeat(zoom, axis=0).repeat(zoom, axis=1))
    lines = [np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    return np.vstack(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="contact_sheet", description=__doc__.splitlines()[0])
    parser.add_argument("task", help="name or path of a task card")
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--zoom", type=int, default=3)
    parser.add_argument("--textures-folder", type=Path, help="own images for the train split")
    parser.add_argument("--output", type=Path, required=True, help="a .png file")
    options = parser.parse_args(arguments)
    if min(options.rows, options.columns, options.zoom) < 1:
        parser.error("--rows, --columns and --zoom must be at least 1")
    try:
        card = load_task_card(options.task)
        sampler = AppearanceSampler(card, options.split, options.seed, options.textures_folder)
        sheet = contact_sheet(
            card, sampler, rows=options.rows, columns=options.columns, zoom=options.zoom
        )
    except (TaskCardError, AppearanceError, TextureError, RenderError) as error:
        print(f"contact_sheet: {error}", file=sys.stderr)
        return 1
    done, data = cv2.imencode(".png", sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    try:
        options.output.write_bytes(data.tobytes())
    except OSError as error:
        print(f"contact_sheet: cannot write {options.output}: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {options.rows * options.columns} looks of the {options.split} split")
    return 0


if __name__ == "__main__":
    sys.exit(main())
