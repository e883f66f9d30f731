"""Writes docs/interfaces.md from the code: topics, services, actions, QoS and parameters by node.

    python scripts/interfaces.py           writes the file
    python scripts/interfaces.py --check   ends with 1 when the file is out of date

Names, types and QoS are read out of the source of every executable and of what it imports; what is
decided at run time stands in <angle brackets>. Parameters and arguments come from the tables that
the nodes declare them from.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "interfaces.md"
ORDER = (
    "policy_node",
    "robot_twin",
    "servo_stand_in",
    "robot_state",
    "arm_motion",
    "trial_runner",
    "operator_console",
    "recorder",
    "viewer",
    "mock_camera",
)
"""Executables that come first, in this order; the others follow by name."""

KINDS = {
    "create_publisher": "publishes",
    "create_subscription": "subscribes",
    "advertise": "publishes",
    "subscribe_newest": "subscribes",
    "create_service": "serves",
    "create_client": "calls",
    "ActionServer": "serves action",
    "ActionClient": "calls action",
}
PUBLISHING = {"create_publisher", "advertise"}
TAKES_NODE = {"ActionServer", "ActionClient", "advertise", "subscribe_newest"}
"""Functions whose first argument is the node, before type and name."""
TYPE_NAMES = {bool: "bool", int: "integer", float: "double", str: "string", list: "string[]"}
SENSOR_DATA = "best effort, depth 5"
NEWEST = "best effort, depth 1"
_INTERFACE = re.compile(r"\w+\.(msg|srv|action)")


@dataclass
class Module:
    """One source file: its syntax tree, and what its names stand for."""

    name: str
    path: Path
    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)


@dataclass(frozen=True)
class Interface:
    """One row of a node's table."""

    kind: str
    name: str
    type: str
    qos: str


@cache
def load(name: str) -> Module | None:
    """The module called `name`, if it is one of ours."""
    package = name.partition(".")[0]
    path = (ROOT / "src" / package).joinpath(*name.split("."))
    source = path.with_suffix(".py")
    source = source if source.is_file() else path / "__init__.py"
    if not source.is_file():
        return None
    module = Module(name, source, ast.parse(source.read_text(encoding="utf-8")))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                # Where there are two, the first one: the other is what is used without it.
                module.imports.setdefault(alias.asname or alias.name, f"{node.module}.{alias.name}")
    for node in module.tree.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        value = getattr(node, "value", None)
        if value is None:
            continue
        for target in targets:
            if isinstance(target, ast.Name):
                module.constants[target.id] = value
            elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                for part, item in zip(target.elts, value.elts, strict=False):
                    if isinstance(part, ast.Name):
                        module.constants[part.id] = item
    return module


def closure(name: str) -> list[Module]:
    """A module of ours and every module of ours that it imports, directly or not."""
    found: dict[str, Module] = {}
    todo = [name]
    while todo:
        current = todo.pop()
        module = load(current)
        if module is None or current in found:
            continue
        found[current] = module
        for target in module.imports.values():
            parent, _, name_in_it = target.rpartition(".")
            other = load(parent) if parent else None
            if other is None or name_in_it not in other.constants:
                todo += [target, parent]  # whoever takes a constant does not run the rest
    return [found[key] for key in sorted(found)]


class Resolver:
    """Says what an expression in a function of a module stands for."""

    def __init__(self, module: Module, function: ast.AST | None) -> None:
        self._module = module
        self._locals: dict[str, ast.expr] = {}
        for node in ast.walk(function) if function is not None else ():
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._locals[node.targets[0].id] = node.value

    def constant(self, name: str) -> tuple[Resolver, ast.expr] | None:
        """The expression that a name was bound to, and who can resolve it."""
        if name in self._locals:
            return self, self._locals[name]
        if name in self._module.constants:
            return Resolver(self._module, None), self._module.constants[name]
        target, _, attribute = self._module.imports.get(name, "").rpartition(".")
        other = load(target) if target else None
        if other is not None and attribute in other.constants:
            return Resolver(other, None), other.constants[attribute]
        return None

    def texts(self, node: ast.expr) -> list[str]:
        """What a name argument can be; more than one where a table is looked up."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.JoinedStr):
            parts = [
                str(part.value) if isinstance(part, ast.Constant) else self.texts(part.value)[0]  # type: ignore[attr-defined]
                for part in node.values
            ]
            return ["".join(parts)]
        if isinstance(node, ast.Name) and (bound := self.constant(node.id)) is not None:
            resolver, value = bound
            if isinstance(value, ast.Constant | ast.JoinedStr | ast.Subscript):
                return resolver.texts(value)
        if isinstance(node, ast.Subscript):
            if isinstance(node.slice, ast.Constant):
                return [f"<{node.slice.value}>"]
            values = self._table(node)
            if values:
                return [text for resolver, value in values for text in resolver.texts(value)]
        return [f"<{_last_word(node)}>"]

    def types(self, node: ast.expr) -> list[str]:
        """What a message, service or action type can be."""
        if isinstance(node, ast.Name):
            target = self._module.imports.get(node.id, "")
            if _INTERFACE.match(target):
                return [target.replace(".", "/")]
            other = load(target.rpartition(".")[0]) if target else None
            if other is not None:
                return Resolver(other, None).types(ast.Name(target.rpartition(".")[2]))
            bound = self.constant(node.id)
            if bound is not None and isinstance(bound[1], ast.Call):
                texts = [a.value for a in bound[1].args if isinstance(a, ast.Constant)]
                if len(texts) == 2:
                    return [f"{texts[0]}.{texts[1]}".replace(".", "/")]
        if isinstance(node, ast.Subscript):
            values = self._table(node)
            if values:
                return [text for resolver, value in values for text in resolver.types(value)]
        return [f"<{_last_word(node)}>"]

    def qos(self, node: ast.expr | None) -> str:
        """A quality of service in words."""
        if node is None:
            return ""
        if isinstance(node, ast.Constant):
            return f"reliable, depth {node.value}"
        if isinstance(node, ast.Name):
            if node.id == "qos_profile_sensor_data":
                return SENSOR_DATA
            bound = self.constant(node.id)
            return bound[0].qos(bound[1]) if bound is not None else f"<{node.id}>"
        if isinstance(node, ast.Call):
            keywords = {word.arg: word.value for word in node.keywords}
            words = [_last_word(keywords["reliability"])] if "reliability" in keywords else []
            words = words or ["RELIABLE"]
            if _last_word(keywords.get("durability", ast.Constant(""))) == "TRANSIENT_LOCAL":
                words.append("TRANSIENT_LOCAL")
            depth = keywords.get("depth", node.args[0] if node.args else None)
            number = depth.value if isinstance(depth, ast.Constant) else "<depth>"
            text = ", ".join(word.lower().replace("_", " ") for word in words)
            return f"{text}, depth {number}"
        return f"<{_last_word(node)}>"

    def _table(self, node: ast.Subscript) -> list[tuple[Resolver, ast.expr]]:
        if not isinstance(node.value, ast.Name) or (bound := self.constant(node.value.id)) is None:
            return []
        resolver, table = bound
        if isinstance(table, ast.Dict):
            return [(resolver, value) for value in table.values]
        if isinstance(table, ast.Tuple):
            return [(resolver, value) for value in table.elts]
        return []


def _last_word(node: ast.expr) -> str:
    """The most telling word of an expression: the last attribute, key or name."""
    if isinstance(node, ast.IfExp):
        return f"{_last_word(node.body)} or {_last_word(node.orelse)}"
    if isinstance(node, ast.Attribute):
        return node.attr.removeprefix("_")
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    if isinstance(node, ast.Name):
        return node.id
    return ast.unparse(node)


def interfaces_of(module: Module) -> list[Interface]:
    """Every publisher, subscription, service, client and action that a module creates."""
    found: list[Interface] = []
    functions = [n for n in ast.walk(module.tree) if isinstance(n, ast.FunctionDef)]
    for call in (n for n in ast.walk(module.tree) if isinstance(n, ast.Call)):
        word = _last_word(call.func)
        around = [f for f in functions if f.lineno <= call.lineno <= (f.end_lineno or 0)]
        # What one of these functions does inside is told where it is called.
        if word not in KINDS or any(f.name in KINDS for f in around):
            continue
        arguments = call.args[1:] if word in TAKES_NODE else call.args
        if len(arguments) < 2:
            continue
        resolver = Resolver(module, around[-1] if around else None)
        if word in PUBLISHING:
            qos = resolver.qos(arguments[2])
        elif word == "create_subscription":
            qos = resolver.qos(arguments[3])
        else:
            qos = NEWEST if word == "subscribe_newest" else ""
        names, types = resolver.texts(arguments[1]), resolver.types(arguments[0])
        pairs = zip(names, types * len(names) if len(types) == 1 else types, strict=False)
        found += [Interface(KINDS[word], name, type_, qos) for name, type_ in pairs]
    return found


def executables() -> dict[str, tuple[str, str]]:
    """Programs of our packages: name to (package, module)."""
    found = {}
    for setup in sorted(ROOT.glob("src/*/setup.py")):
        for name, module in re.findall(r'"([\w-]+) = ([\w.]+):\w+"', setup.read_text()):
            found[name] = (setup.parent.name, module)
    return found


def parameters_of(module: Module) -> list[Any]:
    """Rows of the parameter tables of a module: whatever has a name, default and description."""
    tables = [name for name in module.constants if name in ("PARAMETERS", "TABLE")]
    if not tables:
        return []
    loaded = importlib.import_module(module.name)
    return [row for name in tables for row in getattr(loaded, name) if hasattr(row, "default")]


def _range(row: Any) -> str:
    choices = getattr(row, "choices", ())
    if choices:
        return ", ".join(map(str, choices))
    bounds = getattr(row, "bounds", None)
    if bounds is None and getattr(row, "minimum", None) is not None:
        bounds = (row.minimum, row.maximum)
    return f"{bounds[0]:g} … {bounds[1]:g}" if bounds else ""


def _parameter_lines(rows: list[Any]) -> list[str]:
    lines = ["| parameter | type | default | range | description |", "|---|---|---|---|---|"]
    for row in rows:
        default = str(row.default).lower() if isinstance(row.default, bool) else row.default
        if isinstance(row.default, list):
            default = f"{len(row.default)} entries"
        unit = f" [{row.unit}]" if getattr(row, "unit", "") else ""
        text = (row.description + unit).replace("|", "\\|")
        shown = f"`{default}`" if default != "" else "empty"
        kind = TYPE_NAMES[type(row.default)]
        lines.append(f"| `{row.name}` | {kind} | {shown} | {_range(row)} | {text} |")
    return lines


def _node_lines(name: str, package: str, module_name: str) -> list[str]:
    modules = closure(module_name)
    rows: list[Interface] = []
    parameters: list[Any] = []
    for module in modules:
        rows += interfaces_of(module)
        parameters += parameters_of(module)
    if not rows:
        return []
    documented = [m for m in modules if m.name == module_name]
    first = (ast.get_docstring(documented[0].tree) or "").partition("\n\n")[0].replace("\n", " ")
    lines = [f"## {name}", "", f"`ros2 run {package} {name}`. {first}", ""]
    lines += ["| | name | type | QoS |", "|---|---|---|---|"]
    order = list(KINDS.values())
    unique = sorted(set(rows), key=lambda r: (order.index(r.kind), r.name, r.type))
    lines += [f"| {r.kind} | `{r.name}` | {r.type} | {r.qos} |" for r in unique]
    if parameters:
        lines += ["", *_parameter_lines(parameters)]
    return [*lines, ""]


def _argument_lines() -> list[str]:
    options = importlib.import_module("twist_bringup.options")
    lines = ["| argument | default | allowed | description |", "|---|---|---|---|"]
    for argument in (*options.ARGUMENTS, *options.RUNNER_ARGUMENTS):
        low, high = argument.minimum, getattr(argument, "maximum", None)
        allowed = ", ".join(argument.choices) or ("" if low is None else f"at least {low:g}")
        if high is not None:
            allowed = f"{low:g} … {high:g}"
        alone = "" if argument.launch and argument in options.ARGUMENTS else " `run_stack` only."
        text = argument.description.replace("|", "\\|") + alone
        shown = f"`{argument.default_text}`" if argument.default_text else "empty"
        lines.append(f"| `{argument.name}` | {shown} | {allowed} | {text} |")
    return lines


def document() -> str:
    """The whole of docs/interfaces.md."""
    lines = [
        "# Interfaces",
        "",
        "Topics, services, actions, QoS and parameters of every node, written from the code by",
        "`python scripts/interfaces.py`; a test compares. Names are relative and can be remapped;",
        "`~` is the node's own name; what is decided at run time stands in `<angle brackets>`, by",
        "the parameter or variable it comes from. The policy node's lifecycle services and the",
        "parameter services of all nodes are ROS's own. The messages are described in",
        "[twist_msgs](../src/twist_msgs/README.md); Servo's types come from `moveit_msgs`, or from",
        "the copies in `twist_msgs` where MoveIt is not installed.",
        "",
        "## Arguments of the launch files and of run_stack",
        "",
        "`ros2 launch twist_bringup block_push.launch.py NAME:=VALUE`, `run_stack NAME:=VALUE`.",
        "",
        *_argument_lines(),
        "",
    ]
    found = executables()
    names = [name for name in ORDER if name in found]
    names += sorted(set(found) - set(names))
    for name in names:
        lines += _node_lines(name, *found[name])
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; end with 1 when the file is out of date",
    )
    options = parser.parse_args(arguments)
    text = document()
    if not options.check:
        OUTPUT.write_text(text, encoding="utf-8")
        print(f"wrote {OUTPUT.relative_to(ROOT)}")
        return 0
    present = ""
    with contextlib.suppress(FileNotFoundError):
        present = OUTPUT.read_text(encoding="utf-8")
    if present == text:
        return 0
    print("docs/interfaces.md is out of date; run: python scripts/interfaces.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
