"""Gradient passes that are recorded once and repeated compute what their functions say.

On a GPU they are recorded as CUDA graphs. Elsewhere PyTorch's tracer stands in: it writes down the
operations that a pass calls, which is what a CUDA graph repeats, too, and whatever else Python does
or decides meanwhile is lost in both.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from random_data import normal, random_batch, random_episodes
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from twist_training.algorithms.distillation import Student
from twist_training.configuration import ConfigurationError, TrainingConfig, parse_arguments
from twist_training.gradient_pass import (
    WARM_UP,
    CudaGraphRecorder,
    Function,
    GradientPass,
    Outputs,
)
from twist_training.refinement.settings import RefinementSettings
from twist_training.refinement.trainer import RefinementTrainer
from twist_training.runners.distil import DistillationTrainer
from twist_training.runners.teacher_trainer import TeacherTrainer
from twist_training.session import Session
from twist_training.teacher_policy import Teacher

STEPS = WARM_UP + 3
SHORT = [
    *("teacher.length=6", "teacher.horizon=3", "teacher.batch=4", "teacher.imagination_starts=8"),
    *("distillation.length=6", "distillation.horizon=3", "distillation.batch=4"),
    *("distillation.imagination_starts=8", "distillation.warmup_batch=8"),
]


class Tracer:
    """Records by PyTorch's tracer; repeats what it wrote down, operation by operation."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self.repeated = 0

    def warm_up(self, function: Function, inputs: tuple[Tensor, ...]) -> Outputs:
        return function(*inputs)

    def record(self, function: Function, inputs: tuple[Tensor, ...]) -> Function:
        trained: list[nn.Parameter] = []
        names: list[str] = []

        def flat(*inputs: Tensor) -> list[Tensor]:
            terms, following = function(*inputs)
            trained[:] = [p for p in self._parameters if p.grad is not None]
            names[:] = terms
            return [*terms.values(), *following, *(p.grad for p in trained if p.grad is not None)]

        with torch.random.fork_rng():  # a recording computes nothing
            traced = make_fx(flat)(*inputs)
        kept = [p.grad.clone() for p in trained if p.grad is not None]
        for parameter, gradient in zip(trained, kept, strict=True):
            parameter.grad = gradient

        def repeat(*inputs: Tensor) -> Outputs:
            self.repeated += 1
            with torch.no_grad():  # the backward pass is written down as well
                values = traced(*inputs)
            outputs, gradients = values[: -len(kept)], values[-len(kept) :]
            for place, gradient in zip(kept, gradients, strict=True):
                place.copy_(gradient)
            terms, following = outputs[: len(names)], outputs[len(names) :]
            return dict(zip(names, terms, strict=True)), tuple(following)

        return repeat


@pytest.fixture
def tracers(monkeypatch: pytest.MonkeyPatch) -> list[Tracer]:
    """Those of every pass, for sessions with ``cuda_graph``."""
    made: list[Tracer] = []

    def gradient_pass(
        session: Session, function: Function, parameters: Iterable[nn.Parameter]
    ) -> GradientPass:
        if not session.config.cuda_graph:
            return GradientPass(function, parameters, None)
        parameters = list(parameters)
        made.append(Tracer(parameters))
        return GradientPass(function, parameters, made[-1])

    monkeypatch.setattr(Session, "gradient_pass", gradient_pass)
    return made


def _config(task: str, *settings: str) -> TrainingConfig:
    return parse_arguments(["preset=smoke", "processes=1", f"task={task}", *SHORT, *settings])


def _trained(
    config: TrainingConfig, folder: Path, device: str = "cpu"
) -> Iterator[dict[str, Tensor]]:
    """Weights, and terms of every step, of one trainer after the other."""
    session = Session(config, folder)
    session.device = torch.device(device)
    generator = session.seed("test")
    teacher = Teacher(session).to(session.device)
    student = Student(config.student, config.teacher, session.contract).to(session.device)
    data = random_episodes(session, generator)

    def result(module: nn.Module, steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        terms = {f"{name} {n}": step[name] for n, step in enumerate(steps) for name in step}
        return {name: value.clone() for name, value in module.state_dict().items()} | terms

    trainer = TeacherTrainer(teacher, session, 100)
    behaviour = [number > 0 for number in range(STEPS + 1)]  # not from the first step on
    steps = [trainer.step(random_batch(session, generator), behaviour=on) for on in behaviour]
    yield result(teacher, steps)

    frozen = copy.deepcopy(teacher)
    distiller = DistillationTrainer(session, frozen, student)
    steps = []
    for _ in range(STEPS):  # the two passes have the encoder's gradients in common
        steps += [distiller.warm_up(data, generator), distiller.distil(data, generator)]
    yield result(student, steps)

    for believer in (None, student):
        settings = RefinementSettings(run="", steps=STEPS)
        refiner = RefinementTrainer(teacher, session, settings, believer)
        steps = []
        for _ in range(STEPS):
            batch = random_batch(session, generator)
            seen = None
            if believer is not None:
                size = (*batch.state.shape[:2], config.teacher.embedding)
                seen = session.tensor(normal(generator, *size))
            steps.append(refiner.step(batch, seen))
        yield result(teacher, steps)


@pytest.mark.parametrize(
    ("task", "fused"), [("block_push", True), ("block_push", False), ("block_lift", True)]
)
def test_gradient_steps_repeated_from_a_recording_are_those_that_are_written(
    task: str, fused: bool, tracers: list[Tracer], tmp_path: Path
) -> None:
    config = _config(task, f"fused={fused}", "precision=float32")
    recorded = dataclasses.replace(config, cuda_graph=True)
    results = [list(_trained(c, tmp_path / str(c.cuda_graph))) for c in (config, recorded)]
    for written, repeated in zip(*results, strict=True):
        assert written.keys() == repeated.keys()
        for name, value in written.items():
            torch.testing.assert_close(repeated[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert len(tracers) == 8
    assert all(tracer.repeated >= STEPS - WARM_UP for tracer in tracers)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("task", ["block_push", "block_lift"])
def test_cuda_graphs_compute_what_is_written(task: str, tmp_path: Path) -> None:
    config = _config(task, "device=cuda", "precision=float32")
    recorded = dataclasses.replace(config, cuda_graph=True)
    results = [list(_trained(c, tmp_path / str(c.cuda_graph), "cuda")) for c in (config, recorded)]
    for written, repeated in zip(*results, strict=True):
        for name, value in written.items():
            torch.testing.assert_close(repeated[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_cuda_graph_reads_its_inputs_from_where_they_were_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch's parts that need a GPU are replaced by ones that run at once."""
    places: list[Tensor] = []
    done: list[str] = []

    class Stream:
        def wait_stream(self, other: Stream) -> None:
            done.append("usual waits" if self is usual else "recording's waits")

    class Graph:
        def replay(self) -> None:
            done.append(f"replay of {places[-1].tolist()}")

    def function(inputs: Tensor) -> Outputs:
        done.append("function")
        places.append(inputs)
        return {}, (inputs * 2,)

    @contextlib.contextmanager
    def recording(graph: Graph, stream: Stream) -> Iterator[None]:
        yield done.append("recording")

    usual = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: usual)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    recorder = CudaGraphRecorder()
    recorder.warm_up(function, (torch.ones(1),))
    repeat = recorder.record(function, (torch.ones(1),))
    assert done == ["recording's waits", "function", "usual waits", "recording", "function"]
    mine = torch.full((1,), 3.0)
    repeat(mine)
    assert done[5:] == ["replay of [3.0]"]
    assert places[-1].data_ptr() != mine.data_ptr()


def _squared(weight: nn.Parameter) -> GradientPass:
    def function(factor: Tensor) -> Outputs:
        loss = (factor * weight.square()).sum()
        loss.backward()
        return {"loss": loss.detach()}, (factor + 1.0,)

    return GradientPass(function, [weight], Tracer([weight]))


def test_what_a_pass_returned_stays_when_it_is_repeated() -> None:
    passed = _squared(nn.Parameter(torch.ones(2)))
    kept = [passed(torch.full((2,), float(n))) for n in range(STEPS)]
    assert [float(terms["loss"]) for terms, _ in kept] == [2.0 * n for n in range(STEPS)]
    assert [float(following[0]) for _, (following,) in kept] == [n + 1.0 for n in range(STEPS)]


def test_inputs_of_another_shape_than_the_recorded_are_refused() -> None:
    passed = _squared(nn.Parameter(torch.ones(2)))
    for _ in range(STEPS):
        passed(torch.ones(2))
    with pytest.raises(ValueError, match=r"\[2\].*\[1\]"):
        passed(torch.ones(1))


def test_the_tracer_finds_a_pass_that_depends_on_what_python_decides() -> None:
    weight = nn.Parameter(torch.ones(2))
    calls: list[int] = []

    def function(factor: Tensor) -> Outputs:
        calls.append(1)
        loss = (factor * len(calls) * weight).sum()
        loss.backward()
        return {"loss": loss.detach()}, ()

    passed = GradientPass(function, [weight], Tracer([weight]))
    losses = [float(passed(torch.ones(2))[0]["loss"]) for _ in range(STEPS)]
    assert losses[:WARM_UP] == [2.0, 4.0, 6.0]
    assert len(set(losses[WARM_UP:])) == 1


def test_cuda_graphs_are_refused_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="needs device=cuda"):
        _config("block_push", "cuda_graph=true")
    # Two processes, on GPUs: found before there are any graphs.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        "twist_training.session.Processes", lambda config: SimpleNamespace(count=2, first=True)
    )
    with pytest.raises(ConfigurationError, match="2 processes"):
        Session(
            _config("block_push", "device=cuda", "cuda_graph=true", "precision=float32"), tmp_path
        )
