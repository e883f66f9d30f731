"""Gradient steps per second of every training stage, on random data of the real shapes.

    python benchmarks/train_step.py [baseline=COMMIT] [than=SETTINGS] [steps=20] [preset=cpu] ...

Each is measured as its preset trains here: in so many processes of so many threads. With `baseline`
the same steps are measured with the code of that commit, too, in a work tree of its own; with
`than`, separated by commas, with other settings (`than=fused=false`; on a GPU
`device=cuda cuda_graph=true than=cuda_graph=false`). All stay alive and take turns step by step, so
that a machine that slows down slows all. Prints medians with the 10th and 90th percentile, of wall
time and of processor time, summed over processes (which other programs on the same cores disturb
less), and the share of each part: world model and behaviour of a teacher's step, then what the
processor does in every step, by PyTorch's profiler.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ROWS = (
    "teacher: world model",
    "teacher: world model and behaviour",
    "student: encoder warm-up",
    "student: Eq. 3 and Eq. 4",
)
_WARM_UP = 5
"""More than a gradient pass runs before it is recorded."""
_PROFILED = 3
PARTS = {
    "convolutions": ("convolution",),
    "matrix products": ("mm", "bmm", "addmm", "baddbmm", "mkldnn_linear"),
    "activations and norms": ("elu", "group_norm", "softmax", "sigmoid", "tanh", "gru"),
    "copies": ("copy_", "cat", "stack", "clone", "fill_", "zero_", "index", "gather", "scatter"),
    "optimiser": ("_fused_adam_", "foreach", "linalg_vector_norm"),
    "other processes": ("c10d", "gloo"),
}
"""By what the names of PyTorch's operations contain, or start with where they are short; the first
that fits. What is left: other arithmetic, and Python."""


def main() -> None:
    """Measures and prints a table, or serves one process of the measurement."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--processes"]:
        print(_process_count(arguments[1:]))
        return
    if arguments[:1] == ["--serve"]:
        _serve(arguments[1:])
        return
    # Not above: a process that serves imports what its work tree has, which may be older.
    from twist_training.configuration import run_script

    run_script(_compare, __doc__)


def _compare() -> None:
    from twist_training.configuration import parse_arguments, split_arguments

    own, arguments = split_arguments(sys.argv[1:], {"baseline": "", "than": "", "steps": "20"})
    steps = int(own["steps"])
    with contextlib.ExitStack() as stack:
        versions = {"this work tree": (ROOT, arguments)}
        if own["baseline"]:
            tree = stack.enter_context(_work_tree(own["baseline"]))
            versions[own["baseline"]] = (tree, arguments)
        if own["than"]:
            versions[own["than"]] = (ROOT, replaced(arguments, own["than"].split(",")))
        for _, settings in versions.values():
            parse_arguments(settings)  # refuses here what every process would
        servers = {
            name: stack.enter_context(_Server(*version)) for name, version in versions.items()
        }
        for name, server in servers.items():
            print(f"{name}: {server.title}")
        print(
            f"{steps} steps each, in turns; median (10th to 90th percentile); "
            f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
        medians: dict[tuple[str, str], float] = {}
        for row in ROWS:
            times = _measure(list(servers.values()), row, steps)
            for number, name in enumerate(servers):
                wall, processor = times[number].T
                medians[name, row] = float(np.median(processor))
                print(f"{row:36s} {name:16s} {_summary(wall)}; processor {_summary(processor)}")
            for name, theirs in list(zip(servers, times, strict=True))[1:]:
                faster = theirs / times[0]
                wall, processor = np.percentile(faster, [10, 50, 90], axis=0).T
                print(
                    f"{'':36s} than {name:11s} {wall[1]:.2f}x ({wall[0]:.2f} to {wall[2]:.2f}) "
                    f"by wall time, {processor[1]:.2f}x ({processor[0]:.2f} to "
                    f"{processor[2]:.2f}) by processor time"
                )
        for name in servers:
            share = medians[name, ROWS[0]] / medians[name, ROWS[1]]
            print(
                f"{name}: the world model takes {share:.0%} of a teacher step, the behaviour "
                f"{1 - share:.0%}"
            )
        print(f"share of a step's wall time, first process, {_PROFILED} steps under the profiler")
        for name, server in servers.items():
            for row in ROWS:
                shares = ", ".join(f"{part} {x:.0%}" for part, x in server.shares(row).items())
                print(f"{row:36s} {name:16s} {shares}")


def replaced(arguments: list[str], others: list[str]) -> list[str]:
    """The ``name=value`` settings with `others` instead of those with their names."""
    names = {other.partition("=")[0] for other in others}
    return [a for a in arguments if a.partition("=")[0] not in names] + others


def _summary(seconds: np.ndarray) -> str:
    low, middle, high = 1e3 * np.percentile(seconds, [10, 50, 90])
    return f"{1e3 / middle:6.2f} steps/s, {middle:5.0f} ms ({low:.0f} to {high:.0f})"


def _measure(servers: list[_Server], row: str, steps: int) -> list[np.ndarray]:
    for server in servers:
        for _ in range(_WARM_UP):
            server.step(row)
    times: list[list[tuple[float, float]]] = [[] for _ in servers]
    for step in range(steps):
        order = list(zip(servers, times, strict=True))
        for server, mine in order if step % 2 else order[::-1]:
            mine.append(server.step(row))
    return [np.array(mine) for mine in times]


@contextlib.contextmanager
def _work_tree(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        added = subprocess.run(
            [*git, "add", "--detach", str(tree), commit], capture_output=True, text=True
        )
        if added.returncode:
            raise SystemExit(f"baseline={commit}: git cannot check it out: {added.stderr.strip()}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


class _Server:
    """The processes of a run, which take one step together whenever they are told to.

    Args:
        tree: work tree whose packages they import.
        arguments: settings for the run.
    """

    def __init__(self, tree: Path, arguments: list[str]) -> None:
        packages = [str(path.parent) for path in sorted((tree / "src").glob("*/setup.py"))]
        path = os.pathsep.join([*packages, os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path}
        asked = [sys.executable, __file__, "--processes", *arguments]
        answer = subprocess.run(asked, env=environment, stdout=subprocess.PIPE, text=True)
        if answer.returncode:
            raise SystemExit(f"a measuring process ended with {answer.returncode}; see above")
        count = int(answer.stdout)
        if count > 1:
            environment |= {
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(_free_port()),
                "GLOO_SOCKET_IFNAME": "lo",
            }
        self._processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--serve", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(count)
        ]
        self.title: str = self._read()[0]

    def step(self, row: str) -> tuple[float, float]:
        """Seconds of wall time and of processor time, all processes together."""
        wall, processor = zip(*self._ask("step", row), strict=True)
        return max(wall), sum(processor)

    def shares(self, row: str) -> dict[str, float]:
        """What the first process spends its time on."""
        shares: dict[str, float] = self._ask("profile", row)[0]
        return shares

    def _ask(self, what: str, row: str) -> list[Any]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{what}={row}\n")
            process.stdin.flush()
        return self._read()

    def _read(self) -> list[Any]:
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"a measuring process ended with {process.wait()}; see above")
            answers.append(json.loads(line))
        return answers

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _process_count(arguments: list[str]) -> int:
    try:
        from twist_training.local_processes import process_count
    except ImportError:  # a commit that trained in one process
        return 1
    from twist_training.configuration import parse_arguments

    return process_count(parse_arguments(arguments))


def _serve(arguments: list[str]) -> None:
    title, rows = _prepare(arguments)
    print(json.dumps(title), flush=True)
    for line in sys.stdin:
        what, _, row = line.strip().partition("=")
        answer = _shares(rows[row]) if what == "profile" else _seconds(rows[row])
        print(json.dumps(answer), flush=True)


def _seconds(step: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - processor


def _shares(step: Callable[[], object]) -> dict[str, float]:
    from torch.profiler import ProfilerActivity, profile

    with _without_stderr(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        wall = sum(_seconds(step)[0] for _ in range(_PROFILED))
    parts = dict.fromkeys([*PARTS, "other arithmetic"], 0.0)
    for event in profiled.key_averages():
        parts[_part(event.key)] += 1e-6 * event.self_cpu_time_total / wall
    return parts | {"Python": max(0.0, 1.0 - sum(parts.values()))}


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """The profiler tells there of its every start and end, whatever its log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _part(operation: str) -> str:
    short = operation.removeprefix("aten::").removeprefix("_")
    for part, names in PARTS.items():
        for name in names:
            if short.startswith(name) if len(name) < 6 else name in operation:
                return part
    return "other arithmetic"


def _prepare(arguments: list[str]) -> tuple[str, dict[str, Callable[[], object]]]:
    # Imported here: which work tree these come from is the parent's choice.
    from twist_training.algorithms.distillation import Student
    from twist_training.algorithms.world_model import Batch
    from twist_training.configuration import parse_arguments
    from twist_training.runners.distil import DistillationTrainer
    from twist_training.runners.teacher import TeacherTrainer
    from twist_training.session import Session
    from twist_training.teacher_policy import Teacher

    config = parse_arguments(arguments)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(config, Path(folder))
    generator = np.random.default_rng(0)
    contract, sizes = session.contract, config.teacher
    teacher = Teacher(session).to(session.device)
    trainer = TeacherTrainer(teacher, session, 10_000)
    shape = (sizes.batch, sizes.length)
    rows = getattr(session, "processes", _Alone).rows

    def batch() -> Batch:
        arrays = (
            generator.normal(size=(*shape, contract.state_size)) / 10,
            generator.uniform(-1, 1, (*shape, contract.action_size)),
            generator.normal(size=shape),
        )
        return Batch(*(session.tensor(rows(array.astype("f4"))) for array in arrays))

    student = Student(config.student, sizes, contract).to(session.device)
    # Distillation freezes its teacher; the one that is still being trained has to stay free.
    distiller = DistillationTrainer(session, copy.deepcopy(teacher), student)
    data = _random_episodes(generator, session)
    title = f"preset {config.preset}, {config.device}, {session.precision}"
    steps: list[Callable[[], object]] = [
        lambda: trainer.step(batch(), behaviour=False),
        lambda: trainer.step(batch()),
        lambda: distiller.warm_up(data, generator),
        lambda: distiller.distil(data, generator),
    ]
    count = os.environ.get("WORLD_SIZE", "1")
    return f"{title}, {count} x {config.threads} threads", dict(zip(ROWS, steps, strict=True))


class _Alone:
    @staticmethod
    def rows(array: np.ndarray) -> np.ndarray:
        return array


def _random_episodes(generator: np.random.Generator, session: Any) -> Any:
    from twist_training.storage.episodes import Episodes
    from twist_training.storage.images import ImageEpisodes

    instants = session.config.distillation.length + 1
    edge, count = session.contract.image.size, 16

    def normal(size: int) -> np.ndarray:
        return generator.normal(size=(count, instants, size)).astype(np.float32) / 10

    episodes = Episodes(
        state=normal(session.contract.state_size),
        previous_action=normal(session.contract.action_size),
        requested_action=normal(session.contract.action_size),
        reward=normal(1)[..., 0],
        sim_state=normal(1),
        success=np.zeros(count, bool),
    )
    data = ImageEpisodes(session.contract.state_slice("ee_position"))
    data.add(
        episodes, generator.integers(0, 256, (count, instants, 1, edge, edge, 3), dtype=np.uint8)
    )
    return data


if __name__ == "__main__":
    main()
