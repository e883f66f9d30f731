"""Message definitions as bags need them: the full text with everything it contains, and the hash.

Read from the installed message packages (``share/<package>/msg``), so that a bag explains itself to
Foxglove, rosbag2 and `rosbags` on a machine that has none of these packages.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SEPARATOR = "=" * 80
_PRIMITIVES = frozenset(
    {"bool", "byte", "char", "float32", "float64", "string", "wstring"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


class DefinitionError(RuntimeError):
    """The definition of a message type cannot be found; the message names cause and cure."""


@dataclass(frozen=True)
class MessageDefinition:
    """What a bag says about one message type.

    Attributes:
        name: ``package/msg/Name``.
        text: definition in ``ros2msg`` form, followed by every type it contains.
        type_hash: REP 2011 hash (``RIHS01_...``); empty where the package has none installed.
    """

    name: str
    text: str
    type_hash: str


@cache
def message_definition(type_name: str) -> MessageDefinition:
    """Looks a message type up in the installed packages.

    Args:
        type_name: ``package/msg/Name``.

    Raises:
        DefinitionError: the name is malformed, or the package is not installed.
    """
    if not re.fullmatch(r"\w+/msg/\w+", type_name):
        raise DefinitionError(f"{type_name!r} is not a message type; write it as package/msg/Name")
    texts: dict[str, str] = {}
    _collect(type_name, texts)
    parts = [texts.pop(type_name)]
    for name, text in texts.items():
        package, _, short = name.split("/")
        parts.append(f"{_SEPARATOR}\nMSG: {package}/{short}\n{text}")
    return MessageDefinition(type_name, "\n".join(parts), _type_hash(type_name))


def _collect(type_name: str, texts: dict[str, str]) -> None:
    if type_name in texts:
        return
    path = _share(type_name, ".msg")
    texts[type_name] = path.read_text(encoding="utf-8")
    for inner in _contained(texts[type_name], type_name.split("/")[0]):
        _collect(inner, texts)


def _contained(text: str, package: str) -> list[str]:
    """The types of the fields in `text` that are messages themselves, as ``package/msg/Name``."""
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        name = re.split(r"[\[<]", words[0])[0]
        if name in _PRIMITIVES:
            continue
        if "/" in name:
            found.append("/".join((name.split("/")[0], "msg", name.split("/")[-1])))
        else:
            found.append(f"{'std_msgs' if name == 'Header' else package}/msg/{name}")
    return found


def _type_hash(type_name: str) -> str:
    try:
        description = json.loads(_share(type_name, ".json").read_text(encoding="utf-8"))
    except (DefinitionError, ValueError):
        return ""
    for entry in description.get("type_hashes", []):
        if entry.get("type_name") == type_name:
            return str(entry.get("hash_string", ""))
    return ""


def _share(type_name: str, suffix: str) -> Path:
    package, kind, name = type_name.split("/")
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in prefixes:
        path = Path(prefix) / "share" / package / kind / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DefinitionError(
        f"no definition of {type_name}: share/{package}/{kind}/{name}{suffix} is in none of the "
        f"{len(prefixes)} folders of AMENT_PREFIX_PATH. Install {package}, or source the workspace "
        "that has it."
    )
