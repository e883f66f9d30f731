"""The whole pipeline at its smallest: it ends with a checkpoint, resumes, and repeats itself."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from twist_policy.checkpoint import load_checkpoint
from twist_policy.latent_policy import LatentPolicy
from twist_sim.appearance import AppearanceSampler
from twist_sim.env import TaskEnv
from twist_sim.rendering import SceneRenderer
from twist_sim.task_card import load_task_card
from twist_training.algorithms.distillation import Student
from twist_training.cli import main
from twist_training.configuration import TrainingConfig, parse_arguments
from twist_training.learning_curve import read_log
from twist_training.model_card import student_over_teacher
from twist_training.refinement import command as refine_command
from twist_training.run_identity import RunError
from twist_training.runners import teacher as teacher_stage
from twist_training.runners.distil import (
    DistillationTrainer,
    student_rounds,
    warm_up_encoder,
)
from twist_training.runners.pipeline import Pipeline
from twist_training.runners.teacher import train_teacher
from twist_training.session import Session
from twist_training.shared_data import take_data_from, take_encoder_from
from twist_training.storage.episodes import Episodes, judged_again
from twist_training.teacher_policy import Teacher

TINY = [
    "preset=smoke",
    "threads=1",
    "teacher.environment_steps=800",
    "teacher.scripted_episodes=4",
    "teacher.random_episodes=2",
    "teacher.lucky_episodes=2",
    "teacher.pretrain_steps=6",
    "teacher.environments=2",
    "teacher.batch=4",
    "teacher.length=10",
    "teacher.imagination_starts=8",
    "teacher.evaluate_every=60",
    "teacher.evaluation_episodes=2",
    "collection.episodes=4",
    "distillation.length=10",
    "distillation.steps=6",
    "distillation.warmup_steps=6",
    "distillation.student_episodes=2",
    "distillation.evaluate_every=6",
    "distillation.evaluation_episodes=2",
    "evaluation.episodes=2",
    "evaluation.workers=1",
    "collection.workers=1",
]
HERE = ["processes=1"]
"""A refinement without other processes."""


TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["all", *TINY, f"output={folder}"]) == 0
    return folder


@TWO_CORES
@pytest.mark.parametrize("stage", ["export", "evaluate"])
@pytest.mark.timeout(300)
def test_the_last_stages_can_be_repeated_by_two_processes(
    stage: str, run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    command = [sys.executable, "-m", "twist_training", stage, *TINY, f"output={folder}"]
    said = subprocess.run(
        [*command, "processes=2"], check=True, timeout=250, stdout=subprocess.PIPE, text=True
    ).stdout
    assert "2 processes" in said
    assert f"stage {stage}: done" in said


def test_the_pipeline_leaves_a_verified_checkpoint_with_its_numbers(run_folder: Path) -> None:
    checkpoint = load_checkpoint(run_folder / "checkpoint", expected_task="block_push")
    assert checkpoint.measured["student_held_out"]["episodes"] == 2
    assert checkpoint.measured["teacher"]["episodes"] == 2
    assert 0 <= checkpoint.measured["teacher"]["pressed"] <= 2
    assert checkpoint.measured["teacher"]["force_largest"] >= 0.0
    assert set(checkpoint.training["seconds"]) >= {"teacher", "collect", "render", "distil"}
    assert "preset=smoke" in checkpoint.training["command"]
    card = (run_folder / "checkpoint" / "MODEL_CARD.md").read_text()
    assert "held-out" in card
    assert (run_folder / "checkpoint" / "learning_curve.png").stat().st_size > 10_000


def test_every_stage_is_logged_term_by_term(run_folder: Path) -> None:
    log = (run_folder / "student.jsonl").read_text() + (run_folder / "teacher.jsonl").read_text()
    for term in ("eq3/deterministic", "eq3/prior", "eq3/posterior", "eq4/deterministic"):
        assert f'"{term}"' in log
    assert list((run_folder / "tensorboard").rglob("events.*"))


def test_the_exported_modules_agree_with_the_trained_ones(run_folder: Path) -> None:
    """From a 640x480 frame, the checkpoint filters as the student does from its own input."""
    session = Session(parse_arguments(TINY), run_folder)
    student = Student(session.config.student, session.config.teacher, session.contract).eval()
    saved = session.load("student.pt")
    assert saved is not None
    student.load_state_dict(saved["student"])
    checkpoint = load_checkpoint(run_folder / "checkpoint")
    card = load_task_card("block_push")
    sampler = AppearanceSampler(card, split="held_out")
    renderer = SceneRenderer(card, sampler)
    _, info = TaskEnv(card).reset(options={"seed": 3, "trial": 0})
    look = sampler.draw_trial(0)
    frame = renderer.render_camera_image(info["sim_state"], look, np.random.default_rng(0))
    renderer.close()
    image_path = checkpoint.student.image_path
    small = image_path.resize(image_path.crop(torch.from_numpy(frame[None])))
    position = torch.from_numpy(info["ee_position"][None])
    with torch.no_grad():
        h, z = student.rssm.initial(1)
        expected_h, expected_z = student.rssm.observe_step(
            student.embed(small, position), torch.zeros(1, 3), h, z
        )
        h, z, surprise = checkpoint.student(
            torch.from_numpy(frame[None]), position, torch.zeros(1, 3), h, z
        )
    # One operator sequence in two execution modes: float rounding.
    torch.testing.assert_close(h, expected_h, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(z, expected_z)
    assert surprise.item() >= -1e-5
    output = LatentPolicy(checkpoint).step(frame, info["ee_position"])
    assert np.isfinite(output.belief).all()


def test_a_finished_run_is_only_read(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr(teacher_stage.TeacherTrainer, "step", fail)
    assert main(["export", *TINY, f"output={run_folder}"]) == 0


def test_another_student_learns_from_the_same_teacher_and_images(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the teacher was trained again")

    monkeypatch.setattr(teacher_stage.TeacherTrainer, "step", fail)
    paper = ["student.observes_ee_position=false", "distillation.embedding_scale=0"]
    arguments = [*TINY, *paper, f"output={tmp_path / 'paper'}", f"data={run_folder}"]
    assert main(["distil", *arguments]) == 0
    assert main(["export", *arguments]) == 0
    contract = load_checkpoint(tmp_path / "paper" / "checkpoint").contract
    assert not contract.observes_ee_position


def test_data_of_another_teacher_are_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["teacher.discount=0.5", f"output={tmp_path / 'other'}", f"data={run_folder}"]
    assert main(["distil", *TINY, *other]) == 1
    assert "differs in teacher" in capsys.readouterr().err


def test_a_warm_up_that_students_share_changes_none_of_them(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose distillation has other settings than the run that warmed up."""
    variant = [*TINY, "distillation.dynamics_from_teacher=false"]
    own, warm, shared = (tmp_path / name for name in ("own", "warm", "shared"))
    assert main(["distil", *variant, f"output={own}", f"data={run_folder}"]) == 0
    config = parse_arguments(TINY)
    take_data_from(run_folder, config, warm)
    pipeline = Pipeline(config, warm, warm / "checkpoint")
    warm_up_encoder(pipeline.session, pipeline.teacher(), pipeline.data())
    take_encoder_from(warm, parse_arguments(variant), shared)

    def fail(*_: object) -> None:
        raise AssertionError("the encoder was warmed up again")

    monkeypatch.setattr(DistillationTrainer, "warm_up", fail)
    assert main(["distil", *variant, f"output={shared}", f"data={run_folder}"]) == 0
    first, second = (
        torch.load(folder / "student.pt", weights_only=False) for folder in (own, shared)
    )
    assert first["steps"] == second["steps"] == config.distillation.steps
    for name, weights in first["student"].items():
        assert torch.equal(weights, second["student"][name]), name


def test_an_encoder_that_does_not_fit_is_refused(run_folder: Path, tmp_path: Path) -> None:
    other = parse_arguments([*TINY, "student.depth=8", "distillation.warmup_lr=1e-3"])
    with pytest.raises(RunError, match=r"another student, warmup_lr"):
        take_encoder_from(run_folder, other, tmp_path)
    with pytest.raises(RunError, match=r"lacks encoder\.pt.*not been finished"):
        take_encoder_from(run_folder, parse_arguments(TINY), tmp_path)


@pytest.mark.parametrize(
    ("refined_steps", "stopped_at"),
    [
        pytest.param(0, 10, id="before its first evaluation"),
        pytest.param(0, 150, id="before its end"),
        pytest.param(200, 150, id="before the refined rules"),
        pytest.param(200, 250, id="before their first checkpoint"),
        pytest.param(200, 376, id="after it"),
    ],
)
def test_an_interrupted_teacher_ends_like_an_uninterrupted_one(
    refined_steps: int, stopped_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two checkpoints, then continued: the same weights, bit for bit."""
    config = parse_arguments([*TINY, f"teacher.refined_steps={refined_steps}"])
    config = dataclasses.replace(config, precision="float32")
    whole = train_teacher(Session(config, tmp_path / "whole"))

    step = teacher_stage.TeacherTrainer.step
    calls = 0

    def interrupted(self: teacher_stage.TeacherTrainer, *args: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == stopped_at:
            raise KeyboardInterrupt
        return step(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(teacher_stage.TeacherTrainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_teacher(Session(config, tmp_path / "parts"))
    monkeypatch.undo()
    assert not torch.load(tmp_path / "parts" / "teacher.pt", weights_only=False)["finished"]
    resumed = train_teacher(Session(config, tmp_path / "parts"))
    _assert_same(whole, resumed)
    logged = [
        [row["step"] for row in read_log(tmp_path / folder / "teacher.jsonl")]
        for folder in ("whole", "parts")
    ]
    assert logged[0] == sorted(logged[0]) == logged[1]

    card = load_task_card("block_push")
    for folder in ("whole", "parts"):
        steps = torch.load(tmp_path / folder / "teacher.pt", weights_only=False)["steps"]
        assert steps == 206 + refined_steps
        replay = Episodes.load(tmp_path / folder / "teacher_replay.npz")
        rewards = [judged_again(replay, c.task_rules).reward for c in (card, card.refined())]
        np.testing.assert_array_equal(replay.reward, rewards[refined_steps > 0])
        assert not np.array_equal(*rewards)


def _assert_same(first: Teacher, second: Teacher) -> None:
    left, right = first.state_dict(), second.state_dict()
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_lost_where_a_library_turns_it_into_an_error(
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As pybind11 does when an argument is being converted."""
    signals = [number]

    def convert(*_: object) -> None:
        try:
            for found in signals:
                signal.raise_signal(found)
        except KeyboardInterrupt:
            pass
        raise TypeError("incompatible function arguments")

    monkeypatch.setattr(Pipeline, "run", convert)
    before = signal.getsignal(number)
    command = ["teacher", *TINY, f"output={tmp_path}", *HERE]
    assert main(command) == 130
    assert "stopped; the same command continues" in capsys.readouterr().err
    signals.clear()
    with pytest.raises(TypeError, match="incompatible"):  # a bug stays one
        main(command)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = [a for a in TINY if "environment_steps" not in a]
    command = [sys.executable, "-m", "twist_training.cli", "teacher", *settings]
    with subprocess.Popen(
        [*command, f"output={folder}"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        log = folder / "teacher.jsonl"
        deadline = time.monotonic() + 100.0
        while not (log.exists() and log.read_text()):  # until a round has been learned from
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) == 130, said
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert not list(folder.glob("*.partial"))
    assert (folder / "timing.json").exists()


@pytest.mark.parametrize("options", [["belief=teacher", "rounds=0"], ["rounds=0"]])
def test_refining_teaches_reward_actor_and_critic_the_present_rules_and_nothing_else(
    options: list[str], run_folder: Path, tmp_path: Path
) -> None:
    refined = tmp_path / "refined"
    before = (run_folder / "teacher.pt").read_bytes()
    arguments = ["refine", f"run={run_folder}", f"output={refined}", "steps=3", *options]
    assert main([*arguments, *HERE]) == 0

    assert (run_folder / "teacher.pt").read_bytes() == before, "the run stays as it is"
    old = torch.load(run_folder / "teacher.pt", weights_only=False)["best"]
    new = torch.load(refined / "teacher.pt", weights_only=False)["best"]
    changed = {name.rsplit(".", 2)[0] for name in old if not torch.equal(old[name], new[name])}
    learning = ("world_model.reward", "behaviour.actor", "behaviour.critic")
    assert changed
    for name in changed:
        assert name.startswith(learning) or name.startswith("behaviour.slow_critic"), name
    for part in learning:
        assert any(name.startswith(part) for name in changed), part

    checkpoint = load_checkpoint(refined / "checkpoint", expected_task="block_push")
    assert checkpoint.measured["student_held_out"]["episodes"] == 2
    first, second = checkpoint.training["command"].splitlines()
    assert first.startswith("twist-train all task=block_push preset=smoke")
    expected = ["twist-train refine run=runs/block_push_smoke_seed0 steps=3", *options]
    assert second == " ".join(expected)
    assert {"teacher", "refine"} <= set(checkpoint.training["seconds"])
    unrefined = load_checkpoint(run_folder / "checkpoint")
    assert checkpoint.training["frames"] == unrefined.training["frames"]


@pytest.mark.parametrize("turns", [["rounds=1"], ["rounds=0", "last=student"]])
def test_an_interrupted_refinement_in_which_the_student_learns_ends_as_one_that_was_not(
    turns: list[str], run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refine(name: str) -> Path:
        folder = tmp_path / name
        options = ["steps=2", "student_steps=2", *turns]
        main(["refine", f"run={run_folder}", f"output={folder}", *options, *HERE])
        return folder

    whole = refine("whole")
    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "distil", _interrupted)
        assert not (refine("resumed") / "checkpoint").exists()
    resumed = refine("resumed")

    before = len(student_rounds(run_folder))
    for folder in (whole, resumed):
        assert len(student_rounds(folder)) == before + 1
        assert load_checkpoint(folder / "checkpoint").measured
    for file, part in (("teacher.pt", "best"), ("student.pt", "student")):
        old, one, other = (
            torch.load(folder / file, weights_only=False)[part]
            for folder in (run_folder, whole, resumed)
        )
        assert any(not torch.equal(old[name], one[name]) for name in old)
        for name in one:
            assert torch.equal(one[name], other[name]), name


@TWO_CORES
@pytest.mark.timeout(300)
def test_two_processes_refine_as_one_does(run_folder: Path, tmp_path: Path) -> None:
    def refine(processes: int) -> list[dict[str, float]]:
        folder = tmp_path / str(processes)
        options = ["steps=2", "student_steps=2"]
        command = [sys.executable, "-m", "twist_training", "refine", f"run={run_folder}"]
        command += [f"output={folder}", f"processes={processes}", *options]
        # Without AVX-512 it computes in float32, where one process and two can be told from noise.
        environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
        subprocess.run(command, check=True, timeout=250, env=environment)
        assert load_checkpoint(folder / "checkpoint").measured
        assert len(list((folder / "tensorboard" / "refine").iterdir())) == 1, "one writes"
        return [json.loads(line) for line in (folder / "refine.jsonl").open()]

    one, two = refine(1), refine(2)
    assert len(one) == len(two) == 3, "behaviour, student, behaviour"
    for alone, together in zip(one, two, strict=True):
        alone.pop("time"), together.pop("time")
        assert together == pytest.approx(alone, rel=1e-3, abs=1e-4)  # sums in another order


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_refinement_is_not_continued_with_other_settings(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refined = ["refine", f"run={run_folder}", f"output={tmp_path}", "rounds=0"]
    refined += HERE
    assert main([*refined, "steps=1"]) == 0
    assert main([*refined, "steps=2"]) == 1
    assert "was started as 'twist-train refine" in capsys.readouterr().err


def _copied_run(run_folder: Path, source: Path, **changed: object) -> Path:
    """A copy of a run, with other settings in its ``config.json``."""
    shutil.copytree(run_folder, source)
    settings = json.loads((source / "config.json").read_text())
    settings["distillation"]["student_episodes"] = changed.pop("student_episodes", 2)
    (source / "config.json").write_text(json.dumps(settings | changed))
    return source


def test_a_run_of_a_gpu_without_episodes_of_its_student_is_refined_on_a_processor(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _copied_run(run_folder, tmp_path / "run", device="cuda", student_episodes=0)
    refined = ["refine", f"run={source}", f"output={tmp_path / 'refined'}", "steps=1", *HERE]
    assert main([*refined, "device=cpu", "last=student"]) == 2
    assert "has distillation.student_episodes=0" in capsys.readouterr().err
    assert main([*refined, "device=cpu"]) == 0
    assert "refine: rounds=0" in capsys.readouterr().out
    assert len(read_log(tmp_path / "refined" / "refine.jsonl")) == 1, "the behaviour alone"
    assert len(student_rounds(tmp_path / "refined")) == 1


def test_a_refinement_takes_the_runs_own_processes_unless_others_are_given(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _copied_run(run_folder, tmp_path / "run", processes=1, threads=3)
    found = []

    def count(config: TrainingConfig) -> int:
        found.append((config.processes, config.threads))
        raise RunError("enough")

    monkeypatch.setattr(refine_command, "process_count", count)
    for given in ([], ["processes=4", "threads=1"]):
        main(["refine", f"run={source}", f"output={tmp_path / 'refined'}", *given])
    assert found == [(1, 3), (4, 1)]


def test_a_run_that_lost_a_round_of_its_student_is_not_refined_without_it(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _copied_run(run_folder, tmp_path / "run")
    (source / "student_0.npz").unlink()
    (source / "images_student_0.npy").unlink()
    refined = ["refine", f"run={source}", f"output={tmp_path / 'refined'}", "steps=1", *HERE]
    assert main([*refined, "rounds=0"]) == 1
    assert "student_0.npz are missing; the command that trained" in capsys.readouterr().err
    # The advice helps: the stage of the finished run makes it again.
    assert main(["distil", *TINY, f"output={source}"]) == 0
    assert "round 0 is repeated by the student as it is now" in capsys.readouterr().err
    assert main([*refined, "rounds=0"]) == 0


def test_a_refinement_of_a_refinement_names_the_commands_of_both(
    run_folder: Path, tmp_path: Path
) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    for source, folder, steps in ((run_folder, once, 1), (once, twice, 2)):
        arguments = ["refine", f"run={source}", f"output={folder}", f"steps={steps}"]
        assert main([*arguments, "rounds=0", *HERE]) == 0
    assert load_checkpoint(twice / "checkpoint").training["command"].splitlines()[1:] == [
        "twist-train refine run=runs/block_push_smoke_seed0 steps=1 rounds=0",
        "twist-train refine run=runs/block_push_smoke_seed0_refined steps=2 rounds=0",
    ]


def test_a_students_belief_is_not_refined_without_its_pictures(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "run"
    shutil.copytree(run_folder, source)
    (source / "images_student_0.npy").unlink()
    refined = tmp_path / "refined"
    arguments = ["refine", f"run={source}", f"output={refined}", "belief=student"]
    assert main([*arguments, "steps=1", *HERE]) == 1
    assert "belief=student needs the pictures" in capsys.readouterr().err
    assert not (refined / "checkpoint").exists()


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [(48, 50, "0.96 (95 % interval 0."), (0, 0, "not defined")],
)
def test_the_students_share_of_its_teachers_success_is_said_or_why_not(
    student: int, teacher: int, expected: str
) -> None:
    measured = {
        "student_held_out": {"successes": student, "episodes": 50},
        "teacher": {"successes": teacher, "episodes": 50},
    }
    assert student_over_teacher(measured).startswith(expected)
