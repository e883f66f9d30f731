"""The command ``twist-train``."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from twist_policy.checkpoint import CheckpointError
from twist_sim.gl_backend import RenderError
from twist_sim.task_card import TaskCardError
from twist_training.command_help import PLACES, TOOLS, help_on, usage
from twist_training.configuration import ConfigurationError, parse_arguments

if TYPE_CHECKING:
    from twist_training.runners.pipeline import Pipeline


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code (0 done, 1 failed, 2 usage, 130 Ctrl-C)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    command = list(arguments)
    stage = arguments.pop(0)
    if {"-h", "--help"} & set(arguments) and (text := help_on(stage)):
        print(text)
        return 0
    # Heavy imports come after the help, which should answer at once.
    from twist_sim.appearance_ranges import AppearanceError
    from twist_sim.textures import TextureError
    from twist_training.atomic_files import DiskError
    from twist_training.local_processes import (
        companions,
        end_with_the_first,
        is_first_process,
        process_count,
    )
    from twist_training.run_identity import RunError
    from twist_training.run_lock import locked
    from twist_training.runners.pipeline import STAGES, Pipeline, default_folder
    from twist_training.shared_data import take_data_from
    from twist_training.storage.episodes import EpisodeFileError
    from twist_training.storage.result_table import ResultTableError

    end_with_the_first()
    with _interruptions() as signals:
        try:
            if stage in TOOLS:
                importlib.import_module(TOOLS[stage].module).main(arguments)
                return 0
            if stage != "all" and stage not in STAGES:
                known = ", ".join(("all", *STAGES, *TOOLS))
                raise ConfigurationError(f"unknown stage {stage!r}; choose from {known}")
            places = dict.fromkeys(PLACES, "")
            for argument in list(arguments):
                name, separator, value = argument.partition("=")
                if name in places and separator:
                    places[name] = value
                    arguments.remove(argument)
            config = parse_arguments(arguments, also=PLACES)
            folder = Path(places["output"]) if places["output"] else default_folder(config)
            checkpoint = Path(places["checkpoint"] or folder / "checkpoint")
            with locked(folder):
                if places["data"] and is_first_process():
                    take_data_from(Path(places["data"]), config, folder)
                with companions(process_count(config), command):
                    _run(stage, Pipeline(config, folder, checkpoint))
        except KeyboardInterrupt:
            return _stopped()
        except (ConfigurationError, TaskCardError, AppearanceError, TextureError) as error:
            print(f"twist-train: {error}", file=sys.stderr)
            return 2
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left there
            print(
                "twist-train: standard output was closed while the run was going on; the same "
                "command continues from the last checkpoint",
                file=sys.stderr,
            )
            return 1
        except (
            RunError,
            DiskError,
            EpisodeFileError,
            CheckpointError,
            ResultTableError,
            RenderError,
            OSError,  # of the disk, from libraries that write to it themselves
        ) as error:
            print(f"twist-train: {error}", file=sys.stderr)
            return 1
        except Exception:
            if not signals:
                raise
            return _stopped()
    return 0


@contextlib.contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Ctrl-C, and a job scheduler's SIGTERM, raise KeyboardInterrupt; yields the signals so far.

    They are noted because the exception may not arrive: where it is raised in the middle of a
    conversion to C++, pybind11 makes a TypeError of it.
    """
    received: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as a shell does to Ctrl-C for what runs beside it
            signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped() -> int:
    print("\nstopped; the same command continues from the last checkpoint", file=sys.stderr)
    return 130


def _run(stage: str, pipeline: Pipeline) -> None:
    from twist_training.runners.pipeline import STAGES

    session, folder = pipeline.session, pipeline.session.folder
    config, processes = session.config, session.processes
    if processes.first:
        print(
            f"{config.task}, preset {config.preset}, seed {config.seed}, {config.device} "
            f"({session.precision}, {processes.count} processes of {config.threads} threads), "
            f"in {folder}"
        )
    for name in STAGES if stage == "all" else (stage,):
        pipeline.run(name)
        processes.wait()
        if processes.first:
            minutes = pipeline.clock.seconds.get(name, 0.0) / 60
            print(f"stage {name}: done, {minutes:.1f} min in all", flush=True)
    if processes.first:
        total = sum(pipeline.clock.seconds.values()) / 60
        free = shutil.disk_usage(folder).free / 1e9
        print(f"run: {total:.1f} min, in {folder} ({free:.0f} GB free there)")


if __name__ == "__main__":
    sys.exit(main())
