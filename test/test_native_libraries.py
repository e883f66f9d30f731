"""Native libraries that have to live in one process: the renderer's LLVM and PyTorch's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TRAINING_WITH_PICTURES = """
import twist_training
import mujoco
import torch

model = mujoco.MjModel.from_xml_string("<mujoco/>")
with mujoco.Renderer(model, 16, 16) as renderer:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer.update_scene(data)
    renderer.render()
torch.optim.Adam([torch.zeros(1, requires_grad=True)])
"""

RENDERER_ALONE = """
import os
import mujoco

mujoco.GLContext(16, 16).make_current()
os._exit(0)
"""


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_training_can_render_and_then_optimise_in_one_process(backend: str) -> None:
    works = subprocess.run(
        [sys.executable, "-c", RENDERER_ALONE],
        env={**os.environ, "MUJOCO_GL": backend},
        capture_output=True,
        check=False,
    )
    if works.returncode != 0:
        pytest.skip(f"{backend} does not work on this machine")
    done = subprocess.run(
        [sys.executable, "-c", TRAINING_WITH_PICTURES],
        env={**os.environ, "MUJOCO_GL": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
