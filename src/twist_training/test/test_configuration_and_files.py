"""Settings, run folders and files: nonsense is refused, nothing is lost."""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from twist_sim.task_card import load_task_card
from twist_training import command_help
from twist_training.atomic_files import DiskError, write_atomically
from twist_training.cli import main
from twist_training.configuration import (
    PRESETS,
    ConfigurationError,
    from_dict,
    parse_arguments,
    split_arguments,
)
from twist_training.run_identity import RunError
from twist_training.runners.pipeline import STAGES, command_of, default_folder
from twist_training.session import Session
from twist_training.storage import images as image_storage
from twist_training.storage.episodes import EpisodeFileError, Episodes, Replay, sample_windows
from twist_training.storage.images import is_rendered, render_training_images


def test_arguments_change_nested_settings_with_their_types() -> None:
    config = parse_arguments(
        ["preset=smoke", "seed=3", "student.norm=false", "teacher.rssm.groups=4"]
    )
    assert (config.seed, config.student.norm, config.teacher.rssm.groups) == (3, False, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preset=huge"], "unknown preset 'huge'"),
        (["tsk=block_push"], "did you mean 'task'"),
        (["distillation.stepz=3"], "did you mean 'steps'"),
        (["seed=one"], "expected a value of type int"),
        (["student.norm=maybe"], "expected true or false"),
        (["seed"], "expected name=value"),
        (["seed=1", "seed=2"], "given twice"),
        (["teacher=3"], "group of settings"),
        (["distillation.length=500"], "longer than the shortest episode"),
        (["teacher.batch=-1"], "must not be negative"),
        (["precision=int8"], "use auto, float32 or bfloat16"),
        (["threads=0"], "use 1 or more"),
        (["teacher.entropy=nan"], "it must be a finite number"),
        (["teacher.model_lr=inf"], "it must be a finite number"),
        (["collection.random_fraction=1"], "leaves none for the teacher"),
        (["distillation.steps=2"], "student_rounds 2 do not fit between 2"),
        *(
            ([f"{name}=0"], f"{name} is 0.*; it must be above 0")
            for name in (
                "teacher.rssm.groups",
                "teacher.observation_std",
                "teacher.environments",
                "teacher.batch",
                "teacher.horizon",
                "teacher.slow_critic_every",
                "teacher.evaluate_every",
                "teacher.evaluation_episodes",
                "collection.episodes",
                "collection.environments",
                "collection.looks",
                "distillation.horizon",
                "distillation.warmup_batch",
                "distillation.evaluate_every",
                "distillation.evaluation_episodes",
                "evaluation.episodes",
                "teacher.model_lr",
                "teacher.actor_lr",
                "teacher.critic_lr",
                "teacher.clip",
                "distillation.lr",
                "distillation.warmup_lr",
                "distillation.clip",
            )
        ),
        *(
            ([f"{name}=1.5"], f"{name} is 1.5; it is a share, use 0 to 1")
            for name in (
                "teacher.discount",
                "teacher.lambda_",
                "teacher.kl_balance",
                "teacher.practice",
                "teacher.final_practice",
                "teacher.refined_practice",
                "teacher.hindsight",
                "teacher.moving",
                "teacher.final_lr",
                "collection.random_fraction",
                "collection.practice",
            )
        ),
    ],
)
def test_nonsense_settings_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_arguments(arguments)


def test_a_target_above_one_never_stops_a_teacher_and_is_no_mistake() -> None:
    assert parse_arguments(["teacher.target_success=1.1"]).teacher.target_success == 1.1


@pytest.mark.parametrize("name", ["student_episodes", "student_rounds"])
def test_the_students_own_episodes_can_be_switched_off(name: str) -> None:
    config = parse_arguments([f"distillation.{name}=0", "distillation.steps=1"]).distillation
    assert config.rounds == 0


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_settings_survive_a_round_trip(preset: str) -> None:
    config = PRESETS[preset]
    assert from_dict(config.to_dict()) == config


def test_the_recorded_command_repeats_the_settings() -> None:
    config = parse_arguments(["preset=smoke", "student.depth=6", "student.norm=false", "seed=4"])
    assert parse_arguments(command_of(config).split()[2:]) == config


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fly"], 2, "unknown stage 'fly'"),
        (["all", "task=juggle"], 2, "block_push"),
        (["all", "preset=juggle"], 2, "unknown preset"),
        (["distil", "preset=smoke"], 1, "run stage 'teacher' first"),
        (["refine"], 2, "run is missing"),
        (["refine", "run=/nowhere"], 1, "is not a run folder"),
        (["refine", "run=/nowhere", "steps=0"], 2, "steps must be 1 or more"),
        (["refine", "run=/nowhere", "step=3"], 2, "step"),
        (["refine", "run=/nowhere", "belief=mine"], 2, "use teacher or student"),
        (["refine", "run=/nowhere", "last=both"], 2, "use behaviour or student"),
        (["refine", "run=/nowhere", "processes=0"], 2, "processes is 0; use 1 or more"),
        (["refine", "run=/nowhere", "device=tpu"], 2, "use cpu or cuda"),
        (["refine", "run=/nowhere", "rounds=-1"], 2, "rounds must not be negative"),
        (["refine", "run=/nowhere", "student_lr=0"], 2, "student_lr must be finite and above 0"),
        (["refine", "run=/nowhere", "actor_lr=nan"], 2, "actor_lr must be finite and above 0"),
        (["refine", "run=/nowhere", "critic_lr=inf"], 2, "critic_lr must be finite and above 0"),
        (["all", "outptu=x"], 2, "did you mean 'output'?"),
        (["all", "dta=x"], 2, "did you mean 'data'?"),
        (["all", "x=1"], 2, "'checkpoint', 'collection', 'cuda_graph', 'data'"),
        (["refine", "procesess=1"], 2, "did you mean 'processes'?"),
        (["refine", "x=1"], 2, "'collection.workers', 'critic_lr', 'cuda_graph'"),
    ],
)
def test_the_command_explains_what_is_wrong(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*arguments, f"output={tmp_path / 'run'}"]) == code
    assert message in capsys.readouterr().err


def _names(settings: object) -> list[str]:
    """Of all settings, as they are written on the command line."""
    return [name for name, _ in command_help._values(settings)]


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("stage", ["all", *STAGES])
def test_help_on_a_stage_says_what_it_does_and_lists_every_setting(
    stage: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([stage, "preset=smoke", option]) == 0
    said = capsys.readouterr().out
    assert command_help.STAGES[stage] in said
    for name in (*command_help.PLACES, *_names(PRESETS["cpu"])):
        assert f"\n  {name} " in said
    assert "  textures (none): folder of your own images" in said
    assert "  distillation.warmup_steps (12000)" in said


@pytest.mark.parametrize("tool", sorted(command_help.TOOLS))
def test_help_on_a_tool_says_what_it_does_and_explains_every_setting(
    tool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    about = command_help.TOOLS[tool]
    assert main([tool, "--help"]) == 0
    said = capsys.readouterr().out
    assert about.purpose in said
    settings = getattr(importlib.import_module(about.module), about.settings)()
    for name, value in command_help._values(settings):
        assert f"\n  {name} ({value}): " in said
    assert all(name in said for name in about.also)


def test_help_on_the_command_names_every_stage_and_tool(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert set(command_help.STAGES) == {"all", *STAGES}
    assert all(f"\n  {name} " in said for name in (*command_help.STAGES, *command_help.TOOLS))
    assert main(["fly", "--help"]) == 2


def test_a_run_of_a_card_given_by_its_path_has_the_cards_name(tmp_path: Path) -> None:
    card = tmp_path / "block_push.yaml"
    card.write_text(load_task_card("block_push").source.read_text())
    config = parse_arguments([f"task={card}", "preset=smoke"])
    assert default_folder(config) == Path("runs/block_push_smoke_seed0")


def test_a_scripts_own_arguments_are_told_from_the_settings() -> None:
    arguments = ["steps=5", "student.depth=4", "preset=smoke"]
    own, others = split_arguments(arguments, {"steps": "1000", "run": ""})
    assert own == {"steps": "5", "run": ""}
    assert others == ["student.depth=4", "preset=smoke"]


def test_a_run_is_not_continued_with_other_settings(tmp_path: Path) -> None:
    Session(parse_arguments(["preset=smoke"]), tmp_path)
    Session(parse_arguments(["preset=smoke"]), tmp_path)
    with pytest.raises(RunError, match="seed was 0, now 1"):
        Session(parse_arguments(["preset=smoke", "seed=1"]), tmp_path)


def test_a_run_of_an_earlier_version_goes_on_as_it_was_and_not_with_newer_settings(
    tmp_path: Path,
) -> None:
    as_before = ["preset=smoke", "teacher.hindsight=0", "teacher.moving=0"]
    as_before.append("teacher.lucky_episodes=0")
    Session(parse_arguments(as_before), tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    for name in ("hindsight", "moving", "lucky_episodes"):
        del settings["teacher"][name]
    del settings["processes"]
    path.write_text(json.dumps(settings))
    Session(parse_arguments(as_before), tmp_path)
    with pytest.raises(RunError, match=r"teacher\.hindsight was 0\.0, now 1\.0"):
        Session(parse_arguments([*as_before[:1], *as_before[2:]]), tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    session = Session(parse_arguments(["preset=smoke"]), tmp_path)
    assert session.load("teacher.pt") is None
    session.save("teacher.pt", {"steps": 3})
    path = tmp_path / "teacher.pt"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match="is damaged"):
        session.load("teacher.pt")


def _saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize("content", [_saved([1]), b"cno_such_module\nName\n."])
def test_a_file_of_something_else_gives_way_to_the_checkpoint_before(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(parse_arguments(["preset=smoke"]), tmp_path)
    session.save("teacher.pt", {"steps": 3})
    session.save("teacher.pt", {"steps": 4})
    (tmp_path / "teacher.pt.sha256").write_bytes(b"\xff")  # of no use
    (tmp_path / "teacher.pt").write_bytes(content)
    assert session.load("teacher.pt") == {"steps": 3}
    assert "continuing from" in capsys.readouterr().err


def test_a_standard_output_that_nobody_reads_is_told_from_a_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "twist_training", "teacher", "preset=smoke"]
    with subprocess.Popen(
        [*command, f"output={tmp_path / 'run'}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        run.stdout.close()  # as `| head -1` does
        run.stdout = None
        _, said = run.communicate(timeout=120)
    assert run.returncode == 1
    assert b"twist-train: standard output was closed" in said
    assert b"Traceback" not in said


def test_a_full_disk_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_until_full() -> None:
        with write_atomically(path) as file:
            file.write(b"new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskError, match="previous file"):
        write_until_full()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def _episodes(count: int, steps: int) -> Episodes:
    grid = np.arange(count * (steps + 1), dtype=np.float32).reshape(count, steps + 1)
    return Episodes(
        state=np.repeat(grid[..., None], 2, -1),
        previous_action=np.repeat(grid[..., None], 3, -1),
        requested_action=np.repeat(grid[..., None], 3, -1) + 0.5,
        reward=grid,
        sim_state=np.repeat(grid[..., None], 4, -1),
        success=np.zeros(count, bool),
    )


def test_windows_are_contiguous_and_cover_the_ends() -> None:
    replay = Replay()
    replay.add(_episodes(2, 9))
    replay.add(_episodes(3, 9))
    assert len(replay) == 5
    state, action, reward = replay.sample(200, 4, np.random.default_rng(0))
    assert state.shape == (200, 4, 2)
    assert action.shape == (200, 4, 3)
    np.testing.assert_array_equal(np.diff(reward, axis=1), 1.0)
    assert reward[:, 0].min() == 0.0
    difference = action - reward[..., None]
    np.testing.assert_array_equal(difference, np.broadcast_to(difference[:, :1, :1], action.shape))
    # 200 fair coins: 0.5 +- 4 standard deviations.
    assert 0.36 < (difference[:, 0, 0] == 0.5).mean() < 0.64
    assert reward[:, -1].max() == replay.episodes.reward.max()


def test_windows_longer_than_an_episode_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        sample_windows(2, 10, 4, 11, np.random.default_rng(0))


def test_episode_files_round_trip_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "episodes.npz"
    episodes = _episodes(3, 4)
    episodes.save(path)
    np.testing.assert_array_equal(Episodes.load(path).state, episodes.state)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(EpisodeFileError, match=r"cannot read the episodes in .*episodes\.npz"):
        Episodes.load(path)
    path.unlink()
    with pytest.raises(EpisodeFileError, match="are missing"):
        Episodes.load(path)


def _rendered(episodes: Episodes, path: Path) -> np.ndarray:
    settings = {"task": "block_push", "looks": 1, "image_size": 4, "workers": 1, "seed": 0}
    return render_training_images(episodes, path, textures="", **settings)


def _all_ones(job: image_storage._RenderJob) -> tuple[int, int]:
    np.lib.format.open_memmap(job.path, "r+")[job.first : job.first + len(job.states)] = 1
    return job.first, len(job.states)


def test_damaged_images_are_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_storage, "_render", _all_ones)
    path = tmp_path / "images.npy"
    _rendered(_episodes(20, 3), path)
    assert is_rendered(path)
    os.truncate(path, 500)
    assert not is_rendered(path)
    assert _rendered(_episodes(20, 3), path).min() == 1
    assert "it is rendered again" in capsys.readouterr().err


def test_images_of_other_episodes_are_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def first_number(job: image_storage._RenderJob) -> tuple[int, int]:
        np.lib.format.open_memmap(job.path, "r+")[:] = int(job.states.flat[0])
        return job.first, len(job.states)

    monkeypatch.setattr(image_storage, "_render", first_number)
    path, before, after = tmp_path / "images.npy", _episodes(2, 3), _episodes(2, 3)
    before.sim_state[:], after.sim_state[:] = 7.0, 9.0
    assert _rendered(before, path).max() == 7
    assert _rendered(after, path).min() == 9
    assert "shows other episodes" in capsys.readouterr().err


def test_images_that_another_run_shares_are_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_storage, "_render", _all_ones)
    theirs, mine = tmp_path / "theirs.npy", tmp_path / "mine.npy"
    _rendered(_episodes(2, 3), theirs)
    os.link(theirs, mine)  # killed before the file that says what is rendered came, too
    monkeypatch.setattr(image_storage, "_render", lambda job: (job.first, 2))
    assert _rendered(_episodes(2, 3), mine).max() == 0
    assert np.load(theirs).min() == 1


def test_images_that_do_not_fit_on_the_disk_are_refused_before_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskError, match=r"they need 0\.\d GB; free space"):
        render_training_images(
            _episodes(2, 3),
            tmp_path / "images.npy",
            task="block_push",
            looks=1,
            image_size=64,
            workers=1,
            seed=0,
            textures="",
        )
