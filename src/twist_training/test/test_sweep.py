"""Sweeps: what is trained, what is shared, and that nothing is done twice."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from twist_sim.task_card import load_task_card
from twist_training.cli import main
from twist_training.configuration import (
    ConfigurationError,
    DistillationConfig,
    parse_arguments,
)
from twist_training.run_identity import RunError
from twist_training.session import Session
from twist_training.sweep import command
from twist_training.sweep.executors import executor_named, run_locally, run_on_ray
from twist_training.sweep.job import RESULT, result_of, run_job
from twist_training.sweep.plan import SHIPPED, Sweep, plan, read_sweep, to_plain, warm_ups
from twist_training.sweep.report import markdown, results_of

TINY = [
    "threads=1",
    "teacher.environment_steps=300",
    "teacher.scripted_episodes=4",
    "teacher.random_episodes=2",
    "teacher.lucky_episodes=2",
    "teacher.pretrain_steps=4",
    "teacher.environments=2",
    "teacher.batch=4",
    "teacher.length=10",
    "teacher.imagination_starts=8",
    "teacher.evaluate_every=400",
    "teacher.evaluation_episodes=2",
    "collection.episodes=4",
    "collection.workers=1",
    "distillation.length=10",
    "distillation.steps=3",
    "distillation.warmup_steps=3",
    "distillation.student_rounds=0",
    "distillation.evaluate_every=100",
    "distillation.evaluation_episodes=1",
    "evaluation.episodes=1",
    "evaluation.workers=1",
]


def _sweep(variants: dict[str, tuple[str, ...]], **more: Any) -> Sweep:
    return Sweep(
        tasks=more.get("tasks", ("block_push",)),
        seeds=more.get("seeds", (0,)),
        preset=more.get("preset", "smoke"),
        settings=more.get("settings", ()),
        variants=variants,
    )


def test_the_shipped_sweep_has_the_papers_ablations_with_copied_and_with_learned_dynamics() -> None:
    sweep = read_sweep(SHIPPED)
    assert len(sweep.seeds) == 3
    makers, students = plan(sweep, Path("out"), "")
    assert len(makers) == 3
    assert len(students) == 3 * 6
    found = {
        (d.dynamics_from_teacher, d.imagination_noise, d.imagination_scale)
        for d in (run.config.distillation for run in students)
    }
    usual = DistillationConfig()
    noise, scale = usual.imagination_noise, usual.imagination_scale
    methods = [(noise, scale), (0.0, scale), (noise, 0.0)]
    assert found == {(copied, *method) for copied in (True, False) for method in methods}


def test_the_small_ablations_are_the_same_with_smaller_students() -> None:
    small, whole = read_sweep(SHIPPED.with_name("ablations_small.yaml")), read_sweep(SHIPPED)
    assert (small.variants, small.seeds, small.tasks) == (whole.variants, whole.seeds, whole.tasks)
    _, students = plan(small, Path("out"), "")
    assert {run.config.distillation.steps for run in students} == {300}
    # Warm-up does not depend on the dynamics: one for each teacher.
    assert len(warm_ups(students)) == 3


def test_variants_that_come_to_the_same_settings_are_trained_once() -> None:
    # The preset copies the dynamics already.
    copied = ("distillation.dynamics_from_teacher=true",)
    anew = ("distillation.dynamics_from_teacher=false",)
    _, students = plan(
        _sweep({"full": (), "copied": copied, "anew": anew}, seeds=(0, 1, 2)), Path("out"), ""
    )
    assert len(students) == 3 * 2
    shared = [run.variants for run in students if len(run.variants) > 1]
    assert shared == [("full", "copied")] * 3


def test_students_of_a_seed_share_its_teacher_and_have_folders_of_their_own() -> None:
    sweep = _sweep(
        {"a": (), "b": ("distillation.steps=5",)}, seeds=(0, 1), tasks=("block_push", "block_lift")
    )
    makers, students = plan(sweep, Path("out"), "")
    assert len(makers) == 4
    assert len({run.folder for run in students}) == len(students) == 8
    assert {run.data for run in students} == {maker.folder for maker in makers}
    for run in students:
        maker = next(m for m in makers if m.folder == run.data)
        assert (maker.config.task, maker.config.seed) == (run.task, run.seed)


@pytest.mark.parametrize("setting", ["teacher.discount=0.5", "evaluation.episodes=9", "seed=3"])
def test_a_variant_may_not_change_what_is_shared(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="all variants of a seed share"):
        plan(_sweep({"other": (setting,)}), Path("out"), "")


@pytest.mark.parametrize("setting", ["distillation.length=500", "distillation.evaluate_every=0"])
def test_a_variant_that_could_only_fail_later_is_named(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"variant 'other': {setting.split('=')[0]}"):
        plan(_sweep({"full": (), "other": (setting,)}), Path("out"), "")


def test_settings_that_do_not_fit_the_runs_they_are_for_are_named(tmp_path: Path) -> None:
    Session(parse_arguments(["preset=smoke"]), tmp_path)
    sweep = _sweep({"full": ()}, settings=("distillation.length=500",))
    with pytest.raises(ConfigurationError, match=r"settings: distillation\.length"):
        plan(sweep, Path("out"), str(tmp_path))


def test_a_job_can_be_run_in_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    makers, students = plan(_sweep({"full": ()}), Path("out"), "")
    jobs = [to_plain(run) for run in (*makers, *students, *warm_ups(students))]
    places = [job[name] for job in jobs for name in ("folder", "data", "warm_up") if name in job]
    assert len(places) == 1 + 3 + 2
    assert all(place.startswith(f"{tmp_path}/out/") for place in places)


def _card(path: Path, **sections: dict[str, Any]) -> Path:
    """Block push's card with these values, at `path`, whose name it has."""
    data = yaml.safe_load(load_task_card("block_push").source.read_text()) | {"task": path.stem}
    for name, values in sections.items():
        data[name] = data[name] | values
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize(
    "section", [{"rule_parameters": {"reach": 0.3}}, {"randomisation": {"exposure": [0.5, 1.5]}}]
)
def test_runs_of_a_card_that_was_edited_are_others(
    section: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    sweep = _sweep({"full": ()}, tasks=(str(_card(tmp_path / "push.yaml")),))

    def folders() -> set[Path]:
        makers, students = plan(sweep, tmp_path, "")
        return {run.folder for run in (*makers, *students, *warm_ups(students))}

    before = folders()
    assert len(before) == 3
    assert folders() == before
    _card(tmp_path / "push.yaml", **section)
    assert not folders() & before


def test_results_of_other_settings_of_the_teacher_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `data=`, the shared settings are those of the run that is named."""
    path = tmp_path / "sweep.yaml"
    entries = {"tasks": ["block_push"], "seeds": [0], "preset": "cpu", "settings": []}
    path.write_text(yaml.safe_dump(entries | {"variants": {"full": []}}))

    def execute(jobs: Sequence[dict[str, Any]], workers: int, report: Any) -> None:
        for number, job in enumerate(jobs):
            done.append(job["kind"])
            report(number, {"successes": 1, "episodes": 1, "object_error": 0.01}, "")

    monkeypatch.setattr(command, "executor_named", lambda _: execute)

    def swept(*settings: str) -> int:
        run = {"config": parse_arguments(["preset=smoke", *settings]).to_dict()}
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "config.json").write_text(json.dumps(run["config"]))
        done.clear()
        out = f"out={tmp_path / 'out'}"
        assert main(["sweep", f"file={path}", out, f"data={tmp_path / 'data'}"]) == 0
        return done.count("student")

    done: list[str] = []
    assert swept() == 1
    assert swept("processes=2", "collection.workers=1") == 0  # the machine's
    assert swept("teacher.kl_scale=0.5") == 1
    assert swept("collection.action_noise=0.1") == 1
    assert swept("evaluation.seed=5") == 1
    assert swept() == 0
    report = (tmp_path / "out" / "sweep.md").read_text()
    assert report.startswith("# block_push, preset smoke\n"), "not the file's, which is not used"
    assert "| - (one run) |" in report


def test_a_task_given_by_its_path_keeps_its_runs_inside_the_sweeps_folder(tmp_path: Path) -> None:
    card, out = _card(tmp_path / "cards" / "push.yaml"), tmp_path / "out"
    makers, students = plan(_sweep({"full": ()}, tasks=(str(card),)), out, "")
    runs = (*makers, *students, *warm_ups(students))
    assert {run.folder.parent.parent for run in runs} == {out}
    assert all(run.folder.name.startswith("push_seed0_") for run in runs)
    assert students[0].task == "push"
    run = tmp_path / "push_seed0"
    Session(makers[0].config, run)
    _, students = plan(
        _sweep({"full": ()}, tasks=(str(card),)), out, f"{tmp_path}/{{task}}_seed{{seed}}"
    )
    assert students[0].data == run


def test_two_cards_of_one_name_are_refused(tmp_path: Path) -> None:
    card = _card(tmp_path / "block_push.yaml", object={"size": 0.05})
    with pytest.raises(ConfigurationError, match="give each card its own"):
        plan(_sweep({"full": ()}, tasks=("block_push", str(card))), tmp_path, "")


def test_a_variant_that_does_not_fit_the_card_is_named(tmp_path: Path) -> None:
    card = _card(tmp_path / "push.yaml")
    card.write_text(card.read_text().replace("episode_steps: 150", "episode_steps: 30"))
    longer = ("distillation.length=31",)
    with pytest.raises(ConfigurationError, match=r"variant 'longer': .*the 30 steps"):
        plan(_sweep({"full": (), "longer": longer}, tasks=(str(card),)), tmp_path, "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": ["one"]}, "seeds"),
        ({"variants": {}}, "variants"),
        ({"variants": {"full": "none"}}, "variants"),
        ({"settings": "a=b"}, "settings"),
        ({"extra": 1}, "exactly the keys"),
        (None, "not valid YAML"),
    ],
)
def test_a_wrong_file_is_named(
    change: dict[str, Any] | None,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "sweep.yaml"
    data = yaml.safe_load(SHIPPED.read_text())
    path.write_text("a: [" if change is None else yaml.safe_dump(data | change))
    assert main(["sweep", f"file={path}", f"out={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert str(path) in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["executor=slurm"], "use auto, local or ray"),
        (["workers=0"], "workers is 0"),
        (["data=/nowhere/{{seed}}"], "is not a run folder"),
        (["data=/nowhere/{{trial}}"], "only {{task}} and {{seed}}"),
        (["file=/nowhere.yaml"], "cannot read the sweep file"),
    ],
)
def test_bad_arguments_get_an_answer(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", f"out={tmp_path}", *(a.format() for a in arguments)]) == 2
    assert reason.format() in capsys.readouterr().err


def _in_this_process(
    done: list[str], fails: str = ""
) -> Callable[[str], Callable[[Sequence[dict[str, Any]], int, Any], None]]:
    """An executor without processes, which notes the folders it worked in."""

    def execute(jobs: Sequence[dict[str, Any]], workers: int, report: Any) -> None:
        for number, job in enumerate(jobs):
            done.append(Path(job["folder"]).name)
            if fails and fails in job["folder"]:
                report(number, None, "exit code 1\nno space left")
            else:
                report(number, run_job(job), "")

    return lambda _: execute


@pytest.mark.timeout(400)
def test_a_tiny_sweep_from_teacher_to_report_and_its_continuation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data: dict[str, Any] = {
        "tasks": ["block_push"],
        "seeds": [0],
        "preset": "smoke",
        "settings": TINY,
        "variants": {"full": [], "same": ["distillation.shared_noise=true"]},
    }
    path, out = tmp_path / "sweep.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(data))
    done: list[str] = []
    monkeypatch.setattr(command, "executor_named", _in_this_process(done))
    assert main(["sweep", f"file={path}", f"out={out}"]) == 0
    # One teacher with its data, one encoder warm-up, one student under two names.
    assert len(done) == 3
    table = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [row["variant"] for row in table[1:]] == ["full", "same"]
    assert table[1]["episodes"] == 1
    report = (out / "sweep.md").read_text()
    assert "| full |" in report
    assert (out / "sweep.png").stat().st_size > 5_000

    # A further variant trains one student and nothing else; when its run fails, the command says
    # so, keeps what is there, and repeats it the next time.
    data["variants"]["no Eq. 4"] = ["distillation.imagination_scale=0"]
    path.write_text(yaml.safe_dump(data))
    done.clear()
    monkeypatch.setattr(command, "executor_named", _in_this_process(done, fails="students"))
    assert main(["sweep", f"file={path}", f"out={out}"]) == 1
    assert "no space left" in capsys.readouterr().err
    assert len(done) == 1
    done.clear()
    monkeypatch.setattr(command, "executor_named", _in_this_process(done))
    assert main(["sweep", f"file={path}", f"out={out}"]) == 0
    assert len(done) == 1
    assert "| no Eq. 4 |" in (out / "sweep.md").read_text()
    done.clear()
    assert main(["sweep", f"file={path}", f"out={out}"]) == 0
    assert not done


def _student_job(config: dict[str, Any], folder: Path, data: Path) -> dict[str, Any]:
    return {
        "kind": "student", "config": config, "folder": str(folder), "data": str(data), "warm_up": ""
    }  # fmt: skip


def test_processes_report_results_and_failures_without_stopping_each_other(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    (whole / RESULT).write_text('{"successes": 3}')  # a job that is done says so
    config = plan(_sweep({"full": ()}), tmp_path, "")[1][0].config.to_dict()
    jobs = [
        _student_job(config, broken, data=tmp_path / "nowhere"),
        _student_job(config, whole, data=tmp_path / "nowhere"),
    ]
    found: dict[int, tuple[dict[str, Any] | None, str]] = {}

    def report(number: int, result: dict[str, Any] | None, said: str) -> None:
        found[number] = (result, said)

    unwritable = tmp_path / "file"
    unwritable.touch()
    jobs.append(_student_job(config, unwritable / "run", data=tmp_path / "nowhere"))
    run_locally(jobs, 2, report)
    assert found[2][0] is None
    assert "Not a directory" in found[2][1]
    assert found[1] == ({"successes": 3}, "")
    assert found[0][0] is None
    assert "is not a run folder" in found[0][1]


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"successes": 3'])
def test_a_result_that_cannot_be_read_is_made_again(tmp_path: Path, content: bytes) -> None:
    assert result_of(tmp_path) is None
    (tmp_path / RESULT).write_bytes(content)
    assert result_of(tmp_path) is None
    (tmp_path / RESULT).write_bytes(b'{"successes": 3}')
    assert result_of(tmp_path) == {"successes": 3}


@pytest.mark.timeout(300)
def test_ray_reports_results_and_failures_alike(tmp_path: Path) -> None:
    import ray

    assert executor_named("auto") is run_on_ray
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / RESULT).write_text('{"successes": 3}')
    config = plan(_sweep({"full": ()}), tmp_path, "")[1][0].config.to_dict()
    jobs = [
        _student_job(config, tmp_path / "no", data=tmp_path / "nowhere"),
        _student_job(config, whole, data=tmp_path / "nowhere"),
    ]
    found: dict[int, tuple[dict[str, Any] | None, str]] = {}
    try:
        executor_named("ray")(jobs, 1, lambda n, result, said: found.update({n: (result, said)}))
    finally:
        ray.shutdown()
    assert found[1] == ({"successes": 3}, "")
    assert found[0][0] is None
    assert "is not a run folder" in found[0][1]


def test_a_cluster_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise TimeoutError("no answer from 10.0.0.1")

    fake = types.SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", fake)
    with pytest.raises(RunError, match=r"no answer.*executor=local"):
        run_on_ray([], 1, lambda *_: None)


def test_without_ray_local_processes_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert executor_named("auto") is run_locally
    with pytest.raises(ConfigurationError, match="Ray is not installed"):
        executor_named("ray")


def test_a_table_of_runs_becomes_interquartile_means() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "task": task,
            "variant": "full",
            "seed": seed,
            "episodes": 100,
            "successes": successes,
            "object_error": 0.01 * (1 + seed),
        }
        for task in ("a", "b")
        for seed, successes in enumerate(rng.integers(60, 100, 3).tolist())
    ]
    (result,) = results_of(rows, ["full", "missing"])
    middle = np.sort(result.runs)[1:-1]
    assert result.iqm.estimate == pytest.approx(middle.mean())
    assert min(result.runs) <= result.iqm.low <= result.iqm.estimate <= result.iqm.high
    assert len(result.scores) == 2
    assert "| 100 | 1.0 to 3.0 |" in markdown([result], "title")
    assert "- (one run)" in markdown(results_of(rows[:1], ["full"]), "title")
