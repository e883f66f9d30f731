"""What the documents tell people to type exists: launch arguments, programs, services, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from twist_bringup.options import ARGUMENTS, parse_arguments
from twist_training.configuration import parse_arguments as training_config
from twist_training.configuration import with_arguments
from twist_training.diagnosis.command import DiagnosisSettings
from twist_training.refinement.settings import RefinementSettings
from twist_training.robustness.command import RobustnessSettings
from twist_training.runners.pipeline import STAGES
from twist_training.sweep.command import SweepSettings

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("src/*/README.md")),
    ROOT / "docker/README.md",
]
TOOLS = {
    "robustness": RobustnessSettings(),
    "diagnose": DiagnosisSettings(),
    "sweep": SweepSettings(),
    "refine": RefinementSettings(),
}
OURS = re.compile(r"^/(arm_motion|robot_state|twist_policy_node|robot_twin|recorder)/")


def commands(path: Path) -> Iterator[list[str]]:
    """Every command in the shell blocks of a document, as words, continued lines joined."""
    for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part, comments=True)
                if words:
                    yield words


def programs() -> dict[str, str]:
    """Our executables and the package of each."""
    return {
        name: setup.parent.name
        for setup in ROOT.glob("src/*/setup.py")
        for name in re.findall(r'"([\w-]+) = [\w.]+:\w+"', setup.read_text())
    }


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_launch_arguments_in_a_document_exist_and_have_allowed_values(path: Path) -> None:
    for words in commands(path):
        if "twist_bringup" in words and "launch" in words:
            file = words[words.index("twist_bringup") + 1]
            assert (ROOT / "src/twist_bringup/launch" / file).is_file()
            parse_arguments(words[words.index(file) + 1 :], [a for a in ARGUMENTS if a.launch])
        elif "run_stack" in words:
            arguments = words[words.index("run_stack") + 1 :]
            parse_arguments([word for word in arguments if not word.startswith("--")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_programs_and_services_in_a_document_exist(path: Path) -> None:
    ours = programs()
    interfaces = (ROOT / "docs/interfaces.md").read_text()
    for words in commands(path):
        if words[:2] == ["ros2", "run"] and words[2].startswith("twist_"):
            assert ours.get(words[3]) == words[2], words
        if words[0].startswith("twist-"):
            assert words[0] in ours, words
        if words[:3] == ["ros2", "service", "call"] and OURS.match(words[3]):
            node, _, service = words[3].strip("/").partition("/")
            section = interfaces.partition(f"\n## {node}\n")[2].partition("\n## ")[0]
            kind = words[4].replace("/srv/", "/").replace("/", "/srv/", 1)
            names = (f"| serves | `~/{service}` | {kind} |", f"`{node}/{service}` | {kind} |")
            assert any(entry in section for entry in names), words
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            makefile = (ROOT / "Makefile").read_text()
            assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets), words


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_in_a_document_lead_to_files_and_headings(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{name(path)}: {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.M)
            anchors = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
            assert heading in anchors, f"{name(path)}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_training_commands_in_a_document_name_stages_and_settings_that_exist(path: Path) -> None:
    spans = [shlex.split(span) for span in re.findall(r"`(twist-train [^`\n]+)`", path.read_text())]
    for words in [*spans, *(line for line in commands(path) if line[0] == "twist-train")]:
        command, *settings = words[1:]
        if command in TOOLS:
            with_arguments(TOOLS[command], settings)
        elif command != "STAGE":
            assert command in ("all", *STAGES), words
            places = ("output=", "checkpoint=", "data=")
            training_config([word for word in settings if not word.startswith(places)])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_benchmarks_in_a_document_exist(path: Path) -> None:
    for script in re.findall(r"\bbenchmarks/\w+\.py", path.read_text()):
        assert (ROOT / script).is_file(), script
