"""A diagnosis finds what was planted, and draws beliefs where they belong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_sim.appearance import AppearanceSampler, CameraJitter, nominal_appearance
from twist_sim.camera_geometry import project
from twist_sim.env import TaskEnv
from twist_sim.rendering import SceneRenderer
from twist_sim.task_card import load_task_card
from twist_training.cli import main
from twist_training.diagnosis.analysis import CAMERA, Diagnosis, diagnose, rank_correlation
from twist_training.diagnosis.episodes import Episode
from twist_training.diagnosis.look_parameters import look_parameters
from twist_training.diagnosis.report import _camera_of, markdown

CARD = load_task_card("block_push")
CONTRACT = CARD.contract(observes_ee_position=True)
OBJECT = CONTRACT.state_slice("object_position")
GOAL = CONTRACT.state_slice("goal_position")
STEPS = 40


def _episode(trial: int, distance: list[float], *, error: float, camera: float) -> Episode:
    """An object that is `distance` from the goal at each step; it is believed `error` off in y."""
    state = np.zeros((len(distance), CONTRACT.state_size))
    state[:, GOAL] = (0.5, 0.0)
    state[:, OBJECT.start] = 0.5 + np.array(distance)
    belief = state.copy()
    belief[:, OBJECT.start + 1] += error
    parameters = dict.fromkeys(CAMERA, 0.0) | {"noise, counts": float(trial % 7)}
    parameters["camera right, cm"] = camera
    final = distance[-1]
    return Episode(
        trial,
        final < CARD.rule_parameters["success_distance"],
        final,
        parameters,
        state,
        belief,
        np.full(len(distance), 1.0),
        np.array([0]),
        np.zeros((1, 8, 8, 3), np.uint8),
    )


def _planted() -> list[Episode]:
    solved = [*np.linspace(0.2, 0.01, STEPS)]
    left = [*np.linspace(0.2, 0.0, STEPS // 2), *np.linspace(0.0, 0.1, STEPS // 2)]
    untouched = [0.2] * STEPS
    rng = np.random.default_rng(0)
    paths = [solved] * 24 + [left] * 4 + [untouched] * 2
    return [
        _episode(n, path, error=0.01 * camera, camera=float(camera))
        for n, (path, camera) in enumerate(zip(paths, rng.uniform(-1, 1, 30), strict=True))
    ]


@pytest.fixture(scope="module")
def planted() -> Diagnosis:
    return diagnose(_planted(), CONTRACT, CARD.task_rules)


def test_failures_are_told_apart_by_what_happened(planted: Diagnosis) -> None:
    found = planted.behaviour
    assert (found.failed_left, found.failed_untouched, found.failed_other) == (4, 2, 0)
    assert found.reached == pytest.approx(28 / 30)
    assert found.left == pytest.approx(4 / 30)
    assert found.success.estimate == pytest.approx(24 / 30)


def test_an_error_that_the_camera_causes_is_blamed_on_the_camera(planted: Diagnosis) -> None:
    by_name = {c.name: c for c in planted.coordinates}
    blamed = by_name["object position y"]
    assert blamed.camera == pytest.approx(1.0)
    assert blamed.bias > 0.3  # cm
    assert blamed.flicker == pytest.approx(0.0, abs=1e-9)
    assert by_name["goal position x"].bias == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(by_name["goal position x"].camera)
    assert "| object position y |" in markdown(planted, "title")


def test_the_rank_correlation_is_spearmans_also_with_ties() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 6, 50).astype(float), rng.normal(size=50)
    expected = stats.spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert rank_correlation(np.ones(5), second[:5]) == 0.0


def test_true_positions_are_drawn_where_a_displaced_camera_sees_them() -> None:
    """The blue pixels of the cube lie around the projected position of its centre."""
    _, info = TaskEnv(CARD).reset(options={"seed": 2, "trial": 1})
    look = dataclasses.replace(
        nominal_appearance(), camera=CameraJitter((0.05, -0.04, 0.03), (0.06, -0.05, 0.04), 1.02)
    )
    with SceneRenderer(CARD, AppearanceSampler(CARD)) as renderer:
        frame = renderer.render_frame(info["sim_state"], look).astype(int)
    rows, columns = np.nonzero(frame[..., 2] - frame[..., :2].max(axis=-1) > 60)
    assert len(rows) > 300
    camera = _camera_of(CONTRACT.camera, look_parameters(look))
    expected = project(camera, info["sim_state"][7:10])
    # The centre of the visible faces lies up to half an edge (about 15 pixels) beside the cube's.
    assert np.linalg.norm(expected - (columns.mean(), rows.mean())) < 8
    undisturbed = project(CONTRACT.camera, info["sim_state"][7:10])
    assert np.linalg.norm(undisturbed - (columns.mean(), rows.mean())) > 20


def test_the_command_leaves_tables_and_pictures_and_continues(tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "checkpoint", tmp_path / "out"
    write_synthetic_checkpoint(checkpoint, CONTRACT, behaviour="forward")
    arguments = ["diagnose", f"checkpoint={checkpoint}", f"out={out}", "workers=1", "worst=2"]
    assert main([*arguments, "episodes=3"]) == 0
    for name in ("diagnosis.png", "worst.png"):
        assert (out / name).stat().st_size > 10_000
    assert "0 of 3 episodes solved" in (out / "diagnosis.md").read_text()
    traces = {path: path.stat().st_mtime_ns for path in (out / "traces").iterdir()}
    assert len(traces) == 3
    (out / "diagnosis.md").unlink()
    assert main([*arguments, "episodes=3"]) == 0  # nothing is run again
    assert {path: path.stat().st_mtime_ns for path in (out / "traces").iterdir()} == traces
    assert (out / "diagnosis.md").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "checkpoint is missing"),
        (["checkpoint=/nowhere"], 1, "no checkpoint folder"),
        (["checkpoint=x", "episodes=2"], 2, "episodes must be 3 or more"),
        (["checkpoint=x", "pixels=none"], 2, "use crop or frame"),
    ],
)
def test_bad_arguments_get_an_answer(
    arguments: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", *arguments]) == code
    assert reason in capsys.readouterr().err
