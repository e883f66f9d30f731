"""Disturbed worlds: each is what it says, and a measurement of them can be killed and continued."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from twist_policy.statistics import wilson_interval
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_sim.appearance import Appearance, nominal_appearance
from twist_sim.colours import limit_saturation
from twist_sim.env import TaskEnv
from twist_sim.scene import PandaScene
from twist_sim.task_card import load_task_card
from twist_training.cli import main
from twist_training.robustness import command, runner
from twist_training.robustness.disturbance import Disturbance
from twist_training.robustness.factors import NOMINAL, Factor, Level, factors
from twist_training.robustness.report import markdown
from twist_training.robustness.runner import KEY, measure
from twist_training.robustness.summary import summarise
from twist_training.robustness.trial import Trace, TrialWorld
from twist_training.storage.result_table import ResultTable, Row

CARD = load_task_card("block_push")
SEED = 7


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that moves half a step along x whatever it sees."""
    folder = tmp_path_factory.mktemp("checkpoint") / "forward"
    write_synthetic_checkpoint(
        folder, CARD.contract(observes_ee_position=True), behaviour="forward"
    )
    return folder


def test_levels_of_a_trial_differ_in_the_level_alone() -> None:
    sampler = Disturbance().sampler(CARD, SEED)
    plain = sampler.draw_trial(3)
    near, far = (
        Disturbance(camera_translation=d, camera_rotation=d).look(plain, SEED, 3)
        for d in (0.02, 0.06)
    )
    assert np.linalg.norm(far.camera.translation) == pytest.approx(0.06)
    assert np.linalg.norm(far.camera.rotation) == pytest.approx(0.06)
    np.testing.assert_allclose(np.multiply(near.camera.translation, 3), far.camera.translation)
    np.testing.assert_allclose(np.multiply(near.camera.rotation, 3), far.camera.rotation)
    assert dataclasses.replace(near, camera=plain.camera) == plain
    bright = Disturbance(brightness=2.0).look(plain, SEED, 3)
    assert bright.effects.exposure == pytest.approx(2.0 * plain.effects.exposure)
    assert bright.camera == plain.camera
    assert Disturbance().look(plain, SEED, 3) == plain


@pytest.mark.parametrize("textures", ["train", "new", "vivid"])
def test_other_paint_is_all_that_differs_in_a_trial(textures: str) -> None:
    def unpainted(look: Appearance) -> Appearance:
        plain = {
            name: dataclasses.replace(getattr(look, name), texture=None)
            for name in ("table", "floor", "robot")
            if getattr(look, name).texture is not None
        }
        return dataclasses.replace(look, **plain)

    usual = Disturbance().sampler(CARD, SEED)
    other = Disturbance(textures=textures).sampler(CARD, SEED)  # type: ignore[arg-type]
    assert other.textures is not usual.textures
    for trial in range(20):
        assert unpainted(other.draw_trial(trial)) == unpainted(usual.draw_trial(trial))


def test_up_to_draws_within_its_ends() -> None:
    sampler = Disturbance().sampler(CARD, SEED)
    most = Disturbance(0.03, 0.05, up_to=True, brightness=1.5, brightness_low=0.6)
    moved, gains = [], []
    for trial in range(60):
        plain = sampler.draw_trial(trial)
        look = most.look(plain, SEED, trial)
        moved.append(np.linalg.norm(look.camera.translation))
        gains.append(look.effects.exposure / plain.effects.exposure)
    assert 0.0 < min(moved) < 0.01 < 0.02 < max(moved) <= 0.03
    assert 0.6 <= min(gains) < 0.75 < 1.25 < max(gains) <= 1.5


def test_a_higher_rate_of_dropped_frames_drops_these_and_more() -> None:
    some, more = (Disturbance(dropped=p).drops(SEED, 0, 1000) for p in (0.1, 0.4))
    assert more[some].all()
    assert 60 < some.sum() < 140 < 340 < more.sum() < 460
    assert not more[0]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"dropped": 1.0}, {"latency": -0.1}, {"brightness": 0.0}, {"object_scale": -1.0}),
        *({"speed": 0.0}, {"speed": 1.1}),
    ],
)
def test_impossible_disturbances_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Disturbance(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("latency", [0.0, 0.035, 0.1, 0.15])
def test_a_late_frame_shows_the_world_as_it_was_then(forward: Path, latency: float) -> None:
    """The actions do not depend on the picture, so an undelayed replay knows what was when."""
    environment = TaskEnv(CARD)
    environment.reset(options={"seed": SEED, "trial": 0})
    past = [environment.scene.get_state()]
    environment.scene.on_substep = lambda: past.append(environment.scene.get_state())
    for _ in range(6):
        environment.step(np.array([0.5, 0.0, 0.0], np.float32))
    world = _SixSteps(forward, Disturbance(latency=latency), seed=SEED)
    trace = Trace()
    seen = world.run_six(trace)
    for step, state in enumerate(seen):
        instant = max(0, step * CARD.substeps - round(latency / CARD.physics.timestep))
        np.testing.assert_allclose(state, past[instant], atol=1e-12, err_msg=f"step {step}")
    # The privileged state of a frame is of the same instant as its picture.
    assert len({float(s[0]) for s in trace.state}) > 1
    np.testing.assert_array_equal(trace.state[1][3:5], seen[1][7:9])


class _SixSteps(TrialWorld):
    """Short episodes that keep what they were shown."""

    def run_six(self, trace: Trace) -> list[np.ndarray]:
        self.card = dataclasses.replace(self.card, episode_steps=6)
        self.shown: list[np.ndarray] = []
        self.run(0, trace)
        return self.shown

    def _picture(self, sim_state, look, noise):  # type: ignore[no-untyped-def]
        self.shown.append(sim_state)
        return super()._picture(sim_state, look, noise)


def test_the_arm_holds_still_while_frames_are_missing(forward: Path) -> None:
    """Nothing is decided in such a period, and the trial still lasts as long."""
    contract = CARD.contract(observes_ee_position=True)
    disturbance = Disturbance(dropped=0.4)
    lost = int(disturbance.drops(SEED, 1, contract.episode_steps).sum())
    trace = Trace()
    result = TrialWorld(forward, disturbance, seed=SEED).run(1, trace)
    assert result.steps == contract.episode_steps - lost == len(trace.surprise)
    # A centimetre a decision, whatever was lost between two of them; before the workspace ends.
    free = Trace()
    TrialWorld(forward, Disturbance(), seed=SEED).run(1, free)
    lost_so_far = int(disturbance.drops(SEED, 1, 25).sum())
    assert lost_so_far > 5
    for index in range(16):
        # What is left is how far the arm lags behind its target.
        assert abs(trace.state[index][0] - free.state[index][0]) < 0.015


def test_slow_steps_are_as_long_and_their_forces_are_all_felt(
    forward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the node's `speed`: one decision, then as many control periods as it takes."""
    world = _SixSteps(forward, Disturbance(speed=0.25), seed=SEED)
    told: list[float] = []
    monkeypatch.setattr(world._policy, "commit", lambda delta: told.append(float(delta[0])))
    felt: list[float] = []
    force = PandaScene.contact_force.fget
    assert force is not None

    def feel(scene: PandaScene) -> np.ndarray:
        felt.append(scene.data.time)
        return np.array([7.0 if len(felt) == 14 else 1.0, 0.0, 0.0])

    monkeypatch.setattr(PandaScene, "contact_force", property(feel))
    world.run_six(Trace())
    np.testing.assert_allclose(told, [0.5 * 0.02] * 6, atol=1e-6)
    assert world._force == 7.0
    assert np.diff(felt) == pytest.approx([CARD.control_period] * 23)
    moved = world._environment.scene.tool_position[0] - CARD.home.tool_position[0]
    assert moved == pytest.approx(sum(told), abs=0.003)


def test_worlds_that_share_an_environment_do_not_disturb_each_other(
    forward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PandaScene, "contact_force", property(lambda scene: np.full(3, 5.0)))
    late = Disturbance(latency=0.035)
    alone = _SixSteps(forward, late, seed=SEED).run_six(Trace())
    world = _SixSteps(forward, late, seed=SEED)
    other = _SixSteps(forward, Disturbance(), seed=SEED)
    assert other._environment is world._environment
    np.testing.assert_array_equal(world.run_six(Trace()), alone)
    assert world._force == pytest.approx(5.0 * math.sqrt(3))


def test_the_crop_shows_the_network_what_the_full_frame_does(forward: Path) -> None:
    worlds = [TrialWorld(forward, Disturbance(), seed=SEED, pixels=p) for p in ("crop", "frame")]
    _, info = TaskEnv(CARD).reset(options={"seed": SEED, "trial": 2})
    look = dataclasses.replace(nominal_appearance(), camera=worlds[0].look(2).camera)
    pictures = []
    for world in worlds:
        picture = world._picture(info["sim_state"], look, np.random.default_rng(0))
        pictures.append(world._policy._student.image_path(_batch(picture)).numpy())
    difference = 255 * np.abs(pictures[0] - pictures[1])
    # 3 x 3 and 6 x 6 samples of the same scene under one pixel: edges differ, areas do not.
    assert difference.mean() < 0.6
    assert np.quantile(difference, 0.99) < 12


def _batch(picture):  # type: ignore[no-untyped-def]
    import torch

    return torch.from_numpy(picture[None])


def test_object_size_and_friction_are_those_of_the_world(forward: Path) -> None:
    world = TrialWorld(forward, Disturbance(object_scale=1.2, friction=0.1), seed=SEED)
    world._environment.reset(options={"seed": SEED, "trial": 0})
    scene = world._environment.scene
    assert scene.dynamics.friction == 0.1
    assert scene.model.geom("cube").size == pytest.approx([0.024] * 3)
    assert scene.object_position[2] == pytest.approx(0.024, abs=1e-4)


def test_new_and_vivid_paint_is_in_neither_split() -> None:
    banks = {kind: Disturbance(textures=kind).sampler(CARD, 0) for kind in ("new", "vivid")}
    known = {n for split in ("train", "held_out") for n in _families(split)}
    for sampler in banks.values():
        assert not set(sampler.textures.families) & known
    # Red and blue tables exist in the vivid bank alone.
    assert _beyond_the_cap(banks["new"].textures.pixels) < 1e-4
    assert _beyond_the_cap(banks["vivid"].textures.pixels) > 0.3


def _families(split: str) -> list[str]:
    from twist_sim.texture_families import FAMILIES

    return list(FAMILIES[split])  # type: ignore[index]


def _beyond_the_cap(pixels: np.ndarray) -> float:
    """Share of the pixels that are more saturated than any trained surface."""
    limited = limit_saturation(pixels.reshape(-1, pixels.shape[2], 3))
    changed = np.abs(limited.astype(int) - pixels.reshape(limited.shape)).max(axis=-1)
    return float((changed > 3).mean())  # 3: rounding there and back


def test_what_counts_as_trained_follows_the_card() -> None:
    by_name = {f.name: f for f in factors(CARD)}
    assert [v.label for v in by_name["camera_position"].levels if v.trained] == ["0", "1.5"]
    assert [v.label for v in by_name["friction"].levels if v.trained] == ["0.3", "0.55", "0.8"]
    wider = dataclasses.replace(CARD, randomisation={"camera_translation": 0.03})
    found = {f.name: f for f in factors(wider)}["camera_position"]
    assert [v.label for v in found.levels if v.trained] == ["0", "1.5", "3"]


@pytest.mark.parametrize("exposure", [[0.8, 1.2], [0.3, 2.0], [1.0, 1.0]])
def test_a_brightness_counts_as_trained_only_where_every_look_stays_inside_the_card(
    exposure: list[float],
) -> None:
    card = dataclasses.replace(CARD, randomisation={"exposure": exposure})
    found = {f.name: f for f in factors(card)}["brightness"]
    assert [v.label for v in found.levels if v.trained] == ["1"]
    sampler = Disturbance().sampler(card, SEED)
    for level in found.levels:
        looks = [level.disturbance.look(sampler.draw_trial(n), SEED, n) for n in range(40)]
        inside = all(exposure[0] <= look.effects.exposure <= exposure[1] for look in looks)
        assert inside == level.trained, level.label


FEW = (
    NOMINAL,
    Factor(
        "friction",
        "friction",
        (
            Level(0.5, "0.5", Disturbance(), True),
            Level(1.0, "1", Disturbance(friction=1.0), False),
        ),
    ),
)


def test_a_killed_measurement_continues_and_ends_like_an_uninterrupted_one(
    forward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[float | None, int]] = []

    def run(self: TrialWorld, trial: int, trace: Trace | None = None) -> object:
        ran.append((self.disturbance.friction, trial))
        return _result(success=trial % 2 == 0, surprise=float(trial))

    monkeypatch.setattr(TrialWorld, "run", run)
    monkeypatch.setattr(runner, "_TRIALS_PER_JOB", 2)

    def measured(folder: str, kill_after: int | None = None) -> list[Row]:
        with ResultTable(tmp_path / folder / "t.jsonl", about={}, key=KEY) as table:
            add, rows = table.add, []

            def adding(row: Row) -> None:
                rows.append(row)
                if kill_after is not None and len(rows) > kill_after:
                    raise KeyboardInterrupt
                add(row)

            monkeypatch.setattr(table, "add", adding)
            measure(table, forward, FEW, episodes=4, seed=1, workers=1, pixels="crop")
            return [{k: v for k, v in row.items() if k != "seconds"} for row in table.rows]

    whole = measured("whole")
    # Nominal and the friction in the middle of the range are one world, run once.
    assert len(whole) == 12
    assert len(ran) == 8
    with pytest.raises(KeyboardInterrupt):
        measured("parts", kill_after=7)
    ran.clear()
    assert sorted(map(str, measured("parts"))) == sorted(map(str, whole))
    assert len(ran) == 4  # the jobs of the last block; those before are not run again


def _result(*, success: bool, surprise: float) -> object:
    from twist_training.robustness.trial import TrialResult

    return TrialResult(success, 0.01, 150, False, surprise, 2 * surprise, 9.0, 0.01, 0.01, 9.0)


def _rows(factor: str, level: str, successes: int, surprise: float, count: int = 20) -> list[Row]:
    return [
        {
            "factor": factor,
            "level": level,
            "value": 0.0,
            "seed": 1,
            "trial": trial,
            "seconds": 1.0,
            **dataclasses.asdict(
                _result(success=trial < successes, surprise=surprise + 0.01 * trial)  # type: ignore[call-overload]
            ),
        }
        for trial in range(count)
    ]


def _shift(levels: list[tuple[int, float]]) -> tuple[list[Row], Factor]:
    """A factor with one level per (successes, surprise), the first of them trained."""
    rows = _rows(NOMINAL.name, "nominal", 19, 1.0)
    for number, (successes, surprise) in enumerate(levels):
        rows += _rows("shift", str(number), successes, surprise)
    made = tuple(
        Level(float(n), str(n), Disturbance(latency=0.01 * n), n == 0) for n in range(len(levels))
    )
    return rows, Factor("shift", "shift", made)


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ([(19, 1.0), (19, 2.0), (10, 3.0)], "surprise first"),
        ([(19, 1.0), (10, 1.0), (5, 3.0)], "success first"),
        ([(19, 1.0), (10, 3.0)], "same level"),
        ([(19, 1.0), (10, 1.0)], "success alone"),
        ([(19, 1.0), (19, 2.0)], "surprise alone"),
        ([(19, 1.0), (18, 1.0)], "neither shown"),
    ],
)
def test_a_summary_says_whether_surprise_warns(
    levels: list[tuple[int, float]], verdict: str
) -> None:
    rows, factor = _shift(levels)
    summary = summarise(rows, (NOMINAL, factor))
    assert [item.verdict for item in summary.lead_times] == [verdict]
    last = summary.curves[0].points[-1]
    assert last.success == wilson_interval(levels[-1][0], 20)
    assert last.lost.estimate == pytest.approx((19 - levels[-1][0]) / 20)
    expected = 1.0 if levels[-1][1] > 1.5 else 0.5
    assert last.detection.estimate == pytest.approx(expected)


def test_a_summary_counts_trials_that_press_where_that_was_measured() -> None:
    rows, factor = _shift([(19, 1.0), (10, 1.0)])
    for row in rows[-7:]:
        row["contact_force"] = 26.0
    summary = summarise(rows, (NOMINAL, factor))
    assert [point.pressed for point in summary.curves[0].points] == [0, 7]
    assert "| 7 |" in markdown(summary, "")
    del rows[-1]["contact_force"]  # a table of an older version
    assert summarise(rows, (NOMINAL, factor)).curves[0].points[1].pressed is None


def test_nothing_to_compare_with_is_an_error() -> None:
    rows, factor = _shift([(19, 1.0)])
    with pytest.raises(ValueError, match="nominal"):
        summarise([row for row in rows if row["factor"] == "shift"], (NOMINAL, factor))


def test_the_command_leaves_table_picture_and_report(
    forward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "factors", lambda _: FEW)
    arguments = ["robustness", f"checkpoint={forward}", f"out={tmp_path}", "workers=1"]
    assert main([*arguments, "episodes=1"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert rows[0]["about"]["task"] == "block_push"
    assert len(rows) == 4
    assert not any(row["success"] for row in rows[1:])  # it only ever moves forward
    assert all(math.isfinite(row["surprise_mean"]) for row in rows[1:])
    report = (tmp_path / "robustness.md").read_text()
    assert "| 1 * | 0/1 |" in report
    assert (tmp_path / "robustness.png").stat().st_size > 5_000
    assert "</svg>" in (tmp_path / "robustness.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "checkpoint is missing"),
        (["checkpoint=/nowhere"], 1, "no checkpoint folder"),
        (["checkpoint={forward}", "factors=gravity"], 2, "unknown factors ['gravity']"),
        (["checkpoint={forward}", "pixels=all"], 2, "use crop or frame"),
        (["checkpoint={forward}", "episodes=0"], 2, "episodes is 0"),
        (["checkpoint={forward}", "episode=5"], 2, "did you mean 'episodes'"),
        (["checkpoint={forward}", "task=block_lift"], 1, "trained for task 'block_push'"),
        (["checkpoint={forward}", "out={other}"], 1, "results of other work"),
    ],
)
def test_bad_arguments_get_an_answer(
    arguments: list[str],
    code: int,
    reason: str,
    forward: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ResultTable(
        tmp_path / "trials.jsonl", about={"checkpoint": "block_push@another"}, key=KEY
    ).close()
    filled = [a.format(forward=forward, other=tmp_path) for a in arguments]
    assert main(["robustness", *filled]) == code
    assert reason in capsys.readouterr().err
