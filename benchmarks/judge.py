"""How well the camera judge measures block push: pictures of the twin in looks never trained on.

Each trial has a look of its own and ends with the cube somewhere around the limit of success, on
purpose more often near it than policies are. The colours are clicked in the picture of the trial's
start; the picture of its end is judged. Distances are compared with the simulator's.

    python benchmarks/judge.py [--frames 300] [--arm home|end] [--calibration exact|good|none]
        [--colours click|card] [--save FOLDER]

``--arm``: home is where the arm goes before the judge looks; end leaves it beside the cube.
``--calibration``: what the judge believes about the camera. exact: where it is; good: within the
errors that the calibration command promises (3 mm, 0.5 degrees); none: where the task card says,
while each look moves the camera by up to what the card says, too.
``--colours``: clicked per trial, or the task card's, which nobody clicked.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from twist_evaluation.observer.card_colours import card_colours
from twist_evaluation.observer.colours import ColourError, fit_colours
from twist_evaluation.observer.pictures import draw_observation
from twist_evaluation.observer.table_camera import TableCamera
from twist_evaluation.observer.table_observer import (
    CALIBRATED,
    NOT_CALIBRATED,
    Observation,
    ObserverRefusal,
    SceneSizes,
    TableObserver,
)
from twist_evaluation.observer.verdict import is_clear
from twist_policy.contract import CameraModel
from twist_policy.statistics import bootstrap_interval, wilson_interval
from twist_sim.appearance import Appearance, AppearanceSampler, CameraJitter
from twist_sim.camera_geometry import matrix_from_quaternion, quaternion_from_matrix
from twist_sim.layout import Layout, draw_layout
from twist_sim.rendering import SceneRenderer
from twist_sim.scene import PandaScene
from twist_sim.task_card import TaskCard, load_task_card

CLICK_ERROR = 2.0  # pixels, standard deviation of a person's click
SUCCESS_DISTANCE = 0.05


@dataclass(frozen=True)
class Case:
    """One judged picture: metres; NaN where the judge refused."""

    true_distance: float
    distance: float
    deviation: float
    refusal: str


def seen_camera(
    card: TaskCard, jitter: CameraJitter, rng: np.random.Generator, case: str
) -> CameraModel:
    """What the judge believes about the camera that `jitter` has moved."""
    nominal = card.camera.model()
    if case == "none":
        return nominal
    axes = matrix_from_quaternion(nominal.orientation)
    rotation = axes @ cv2.Rodrigues(np.asarray(jitter.rotation, dtype=np.float64))[0]
    position = np.asarray(nominal.position) + axes @ np.asarray(jitter.translation)
    focal = jitter.focal_scale
    if case == "good":
        turn, shift = rng.normal(size=3), rng.normal(size=3)
        turn *= math.radians(0.5) / np.linalg.norm(turn)
        rotation = rotation @ cv2.Rodrigues(turn)[0]
        position = position + 0.003 * shift / np.linalg.norm(shift)
    return CameraModel(
        width=nominal.width,
        height=nominal.height,
        fx=nominal.fx * focal,
        fy=nominal.fy * focal,
        cx=nominal.cx,
        cy=nominal.cy,
        position=tuple(position.tolist()),
        orientation=quaternion_from_matrix(rotation),
    )


def end_layout(card: TaskCard, start: Layout, rng: np.random.Generator) -> Layout:
    """Where a trial may end: two thirds within 2.5 cm of the limit, the others anywhere."""
    goal = np.array(start.goal_position[:2])
    near = rng.random() < 2 / 3
    lower, upper = np.array(card.workspace.lower[:2]), np.array(card.workspace.upper[:2])
    while True:
        distance = rng.uniform(0.025, 0.075) if near else rng.uniform(0.0, 0.16)
        angle = rng.uniform(0, 2 * math.pi)
        place = goal + distance * np.array([math.cos(angle), math.sin(angle)])
        if (place > lower + 0.03).all() and (place < upper - 0.03).all():
            break
    x, y = place.tolist()
    return Layout(
        (x, y, card.object.size / 2), float(rng.uniform(-math.pi, math.pi)), start.goal_position
    )


def clicks(
    card: TaskCard, camera: CameraModel, layout: Layout, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """A person's clicks on the middle of the cube and of the goal."""
    points = TableCamera(camera).project([layout.object_position, layout.goal_position])
    noisy = points + rng.normal(0.0, CLICK_ERROR, points.shape)
    return [(float(column), float(row)) for column, row in noisy]


def judge_trials(arguments: argparse.Namespace) -> list[Case]:
    """Renders and judges; saves the pictures that went wrong where asked."""
    card = load_task_card("block_push")
    scene = PandaScene(card)
    sampler = AppearanceSampler(card, "held_out", arguments.seed)
    sizes = SceneSizes(
        card.object.size,
        SUCCESS_DISTANCE,
        (card.workspace.lower[0], card.workspace.lower[1]),
        (card.workspace.upper[0], card.workspace.upper[1]),
    )
    scale_error = NOT_CALIBRATED if arguments.calibration == "none" else CALIBRATED
    cases = []
    with SceneRenderer(card, sampler) as renderer:
        for trial in range(arguments.frames):
            rng = np.random.default_rng([arguments.seed, trial, 77])
            look: Appearance = sampler.draw_trial(trial)
            start = draw_layout(card, arguments.seed, trial)
            exact = seen_camera(card, look.camera, rng, "exact")
            camera = TableCamera(seen_camera(card, look.camera, rng, arguments.calibration))
            scene.reset(start)
            before = renderer.render_camera_image(scene.get_state(), look, rng)
            end = end_layout(card, start, rng)
            scene.reset(end)
            if arguments.arm == "end":
                angle = rng.uniform(0, 2 * math.pi)
                offset = rng.uniform(0.035, 0.06) * np.array([math.cos(angle), math.sin(angle)])
                tip = np.array([*(np.array(end.object_position[:2]) + offset), 0.02])
                scene.place_tool(np.clip(tip, card.workspace.lower, card.workspace.upper))
            frame = renderer.render_camera_image(scene.get_state(), look, rng)
            true = math.dist(end.object_position[:2], end.goal_position[:2])
            seen: Observation | None = None
            refusal = ""
            try:
                colours = card_colours(card)
                if arguments.colours == "click":
                    colours = fit_colours(before, *clicks(card, exact, start, rng))
                seen = TableObserver(camera, sizes, colours, scale_error).observe(frame)
            except (ObserverRefusal, ColourError) as error:
                refusal = str(error)
            distance = seen.distance if seen else math.nan
            deviation = seen.deviation if seen else math.nan
            cases.append(Case(true, distance, deviation, refusal))
            wrong = seen is not None and abs(distance - true) > 0.004
            if arguments.save and (wrong or refusal or trial < 12):
                picture = draw_observation(frame, camera, seen)
                name = f"{trial:03d}_{'refused' if refusal else 'wrong' if wrong else 'ok'}.png"
                cv2.imwrite(str(arguments.save / name), picture[..., ::-1])
                if refusal or wrong:
                    print(f"  {name}: true {true * 100:.2f} cm, {distance * 100:.2f}; {refusal}")
    return cases


def main() -> int:
    """Prints the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--arm", choices=("home", "end"), default="home")
    parser.add_argument("--calibration", choices=("exact", "good", "none"), default="good")
    parser.add_argument("--colours", choices=("click", "card"), default="click")
    parser.add_argument("--save", type=Path, help="folder for pictures of what went wrong")
    arguments = parser.parse_args()
    if arguments.frames < 1:
        parser.error("--frames must be at least 1")
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
    print(
        f"arm {arguments.arm}, calibration {arguments.calibration}, colours "
        f"{arguments.colours}, seed {arguments.seed}, looks held out"
    )
    began = time.process_time()
    cases = judge_trials(arguments)
    report(cases, (time.process_time() - began) / len(cases))
    return 0


def report(cases: list[Case], seconds: float) -> None:
    """Prints the table."""
    measured = [case for case in cases if not case.refusal]
    clear = [c for c in measured if is_clear(c.distance, c.deviation, SUCCESS_DISTANCE)]
    errors = np.array([abs(case.distance - case.true_distance) for case in measured]) * 1000
    successes = sum(case.true_distance < SUCCESS_DISTANCE for case in cases)
    near = sum(abs(case.true_distance - SUCCESS_DISTANCE) < 0.01 for case in cases)
    honest = sum(abs(c.distance - c.true_distance) < 2 * c.deviation for c in measured)
    print(f"{len(cases)} pictures, {successes} true successes, {near} within 1 cm of the limit")
    rows = (
        ("refused: not measurable", len(cases) - len(measured), len(cases)),
        ("too close to the limit to call", len(measured) - len(clear), len(cases)),
        ("right, of those called", sum(map(is_right, clear)), len(clear)),
        ("right, of all measured", sum(map(is_right, measured)), len(measured)),
        ("error below two stated deviations", honest, len(measured)),
    )
    for name, part, whole in rows:
        rate = wilson_interval(part, whole)
        interval = f"95 % interval {rate.low:.1%} to {rate.high:.1%}"
        print(f"{name:<36}{part:>4}/{whole} = {rate.estimate:.1%} ({interval})")
    median = bootstrap_interval(errors, lambda row: float(np.median(row)))
    print(
        f"distance error: median {median.estimate:.2f} mm (95 % interval {median.low:.2f} to "
        f"{median.high:.2f}), 95th percentile {np.percentile(errors, 95):.2f} mm, largest "
        f"{errors.max():.2f} mm"
    )
    print(f"{seconds * 1000:.0f} ms of one core per trial, two rendered pictures included")


def is_right(case: Case) -> bool:
    """Whether the measured distance is on the same side of the limit as the true one."""
    return (case.distance < SUCCESS_DISTANCE) == (case.true_distance < SUCCESS_DISTANCE)


if __name__ == "__main__":
    sys.exit(main())
