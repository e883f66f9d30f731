"""How exactly a moved camera is noticed, on the twin's pictures with known motion.

    python benchmarks/camera_reference.py [--pairs 48]

Each pair is another look (held out), seen before and after: the camera moved by a known amount (not
at all, or up to about 40 pixels), other light, exposure, blur and noise; cube and goal lie
elsewhere, and in every second pair the arm stands elsewhere. Truth: the table's points at the
centre and the corners of the policy's crop, projected through both cameras.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import numpy as np

from twist_camera.camera_file import table_points
from twist_camera.limits import load_limits
from twist_camera.reference_view import mean_frame
from twist_camera.registration import RegistrationError, register
from twist_camera.rigid_transform import RigidTransform, rotation_matrix
from twist_policy.camera_match import CameraIntrinsics, crop_points
from twist_sim.appearance import AppearanceSampler, CameraJitter
from twist_sim.camera_effects import apply_camera_effects
from twist_sim.layout import draw_layout
from twist_sim.rendering import SceneRenderer
from twist_sim.scene import PandaScene
from twist_sim.task_card import load_task_card

SIZES = (0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 40.0)
"""Of the motion at the middle of the table, about, pixels."""
FRAMES = 5


def main() -> int:
    """Prints the errors; the exit code says whether a moved camera was ever let through."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=48)
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error(f"--pairs must be at least 1, found {arguments.pairs}")
    card = load_task_card("block_push")
    contract = card.contract(observes_ee_position=False)
    camera, limit = contract.camera, load_limits().reference
    pose = RigidTransform.from_quaternion(camera.position, camera.orientation)
    lens = CameraIntrinsics.from_model(camera)
    table, points = table_points(camera, contract.image), crop_points(contract.image)
    sampler, scene = AppearanceSampler(card, "held_out", seed=11), PandaScene(card)
    errors, still, unknown, alarms, missed = [], [], 0, 0, 0
    with SceneRenderer(card, sampler) as renderer:
        for pair in range(arguments.pairs):
            rng = np.random.default_rng([pair, 9])
            turn, push = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
            size, share = SIZES[pair % len(SIZES)], rng.uniform()
            rotation = turn * size * (1 - share) / camera.fx
            translation = push * size * share * 0.77 / camera.fx
            first = dataclasses.replace(sampler.draw_trial(pair), camera=CameraJitter())
            other = sampler.draw_trial(pair + 1000)
            second = dataclasses.replace(
                first,
                camera=CameraJitter(tuple(translation), tuple(rotation)),
                lighting=other.lighting,
                effects=other.effects,
            )
            scene.reset(draw_layout(card, 3, pair))
            before = scene.get_state()
            scene.reset(draw_layout(card, 3, pair + 500))
            for _ in range(15 * (pair % 2)):
                step = np.array([0.02, 0.03 * rng.random() - 0.015, -0.005])
                scene.apply_target(scene.tool_position + 0.8 * step)
            after = scene.get_state()
            reference, live = (
                mean_frame(
                    [
                        apply_camera_effects(renderer.render_frame(state, look), look.effects, rng)
                        for _ in range(FRAMES)
                    ]
                )
                for state, look in ((before, first), (after, second))
            )
            moved = RigidTransform(
                pose.rotation @ rotation_matrix(rotation),
                pose.translation + pose.rotation @ translation,
            )
            local = moved.inverse().apply(table)
            truth = lens.project(local[:, :2] / local[:, 2:]) - points
            true_shift = float(np.linalg.norm(truth, axis=1).max())
            try:
                found = register(reference, live).shift(points - 0.5)
            except RegistrationError:
                unknown += 1
                alarms += true_shift < limit - 1
                continue
            errors.append(abs(found - true_shift))
            if size == 0.0:
                still.append(found)
            alarms += found > limit and true_shift < limit - 1
            missed += found <= limit and true_shift > limit + 1
    if not still:
        print("camera_reference: no background was recognised, nothing measured", file=sys.stderr)
        return 1
    print(f"{arguments.pairs} pairs, limit {limit:g} pixels\n")
    print("| | pixels or pairs |\n|---|---|")
    print(f"| error of the shift: median | {np.median(errors):.2f} |")
    print(f"| error of the shift: 90 %, max | {np.quantile(errors, 0.9):.2f}, {max(errors):.2f} |")
    print(f"| found where nothing moved: median, max (n = {len(still)}) "
          f"| {np.median(still):.2f}, {max(still):.2f} |")  # fmt: skip
    print(f"| background not recognised, so refused | {unknown} |")
    print(f"| refused although moved by less than {limit - 1:g} pixels | {alarms} |")
    print(f"| let through although moved by more than {limit + 1:g} pixels | {missed} |")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
