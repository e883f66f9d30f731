"""What ``twist-train`` says of itself, of its stages and of its tools."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from twist_sim.task_card import available_tasks
from twist_training.configuration import MACHINE_SETTINGS, PRESETS


@dataclass(frozen=True)
class Tool:
    """A command beside the pipeline's stages.

    Attributes:
        purpose: what it does.
        module: whose ``main`` runs it.
        settings: class of its settings, in `module`.
        also: settings that it takes beside those.
    """

    purpose: str
    module: str
    settings: str
    also: tuple[str, ...] = ()


STAGES = {
    "all": "every stage below, in this order",
    "teacher": "world model and behaviour on privileged state",
    "collect": "episodes of the frozen teacher",
    "render": "domain-randomised images of them",
    "distil": "student world model on images",
    "export": "TorchScript checkpoint, manifest, golden data, model card, learning curve",
    "evaluate": "teacher, and the exported checkpoint on held-out appearances",
}
TOOLS = {
    "robustness": Tool(
        "success and surprise of checkpoint=FOLDER when camera, light, timing, object differ",
        "twist_training.robustness.command",
        "RobustnessSettings",
    ),
    "diagnose": Tool(
        "what the belief of checkpoint=FOLDER gets wrong, and when it fails",
        "twist_training.diagnosis.command",
        "DiagnosisSettings",
    ),
    "sweep": Tool(
        "students over tasks, seeds and variants of file=FILE; without it, ablations",
        "twist_training.sweep.command",
        "SweepSettings",
    ),
    "refine": Tool(
        "the finished run=FOLDER: a gentler behaviour, which bears what its student gets wrong",
        "twist_training.refinement.command",
        "RefinementSettings",
        MACHINE_SETTINGS,
    ),
}
PLACES = {
    "output": "run folder; the same folder and settings continue a run (runs/TASK_PRESET_seedN)",
    "checkpoint": "where the exported checkpoint goes (OUTPUT/checkpoint)",
    "data": "a finished run whose teacher, episodes and images are taken (none)",
}
"""What a stage takes beside the settings of `configuration.TrainingConfig`."""


def usage() -> str:
    """Help on the whole command."""
    return f"""usage: twist-train STAGE [name=value ...]

stages:
{_table(STAGES)}

tools, each with settings of its own (twist-train TOOL name=value ...; resumable, too):
{_table({name: tool.purpose for name, tool in TOOLS.items()})}

common settings (default):
  task       {", ".join(available_tasks())} (block_push)
  preset     {", ".join(PRESETS)} (cpu)
  seed       (0)
{_table(PLACES)}
every other setting: section.name=value, e.g. student.observes_ee_position=false;
twist-train STAGE --help and twist-train TOOL --help list all of them.
"""


def help_on(command: str) -> str:
    """Help on one stage or tool: what it does, and its settings; empty when there is no such."""
    if command in STAGES:
        return f"""usage: twist-train {command} [name=value ...]

{STAGES[command]}

Places (default):
{_table(PLACES)}

Settings (default of preset=cpu):
{_described(PRESETS["cpu"])}

What the settings of a section mean: twist_training/configuration.py.
"""
    if command in TOOLS:
        tool = TOOLS[command]
        module = importlib.import_module(tool.module)
        also = f"\nSettings of the machine: {', '.join(tool.also)}\n" if tool.also else ""
        return f"""usage: twist-train {command} [name=value ...]

{tool.purpose}

Settings (default):
{_described(getattr(module, tool.settings)())}
{also}"""
    return ""


def _table(entries: dict[str, str]) -> str:
    return "\n".join(f"  {name:<10} {text}" for name, text in entries.items())


def _described(settings: Any) -> str:
    """Every setting with its value: as its class documents them, and then those of its sections."""
    values = dict(_values(settings))
    _, _, documented = (inspect.getdoc(type(settings)) or "").partition("Attributes:\n")

    def with_value(found: re.Match[str]) -> str:
        return f"  {found[1]} ({values.pop(found[1])}):"

    entries = re.sub(r"^    (\w+):", with_value, documented, flags=re.MULTILINE)
    sections = [f"  {name} ({value})" for name, value in values.items()]
    return "\n".join([entries.replace("\n    ", "\n  ").rstrip(), *sections])


def _values(settings: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{prefix}{item.name}.")
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield prefix + item.name, text or "none"
