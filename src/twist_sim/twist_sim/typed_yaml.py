"""Checks plain data, as read from YAML, against dataclasses, naming file and key in every error."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class TaskCardError(ValueError):
    """A task card is unknown, unreadable, incomplete or contradicts itself."""


class UniqueKeyLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` that refuses a key that is there twice, of which that one takes the last.

    It also reads 1e-4 as the number that it is, as YAML 1.2 does.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping at `node`.

        Raises:
            yaml.constructor.ConstructorError: a key is there twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


def parse(cls: type[T], data: Any, *, source: str, path: str = "") -> T:
    """Builds the dataclass `cls` from plain data.

    Fields may be dataclasses, ``float``, ``int``, ``bool``, ``str``, tuples of them, one of these
    or None, or ``Mapping[str, Any]`` (taken as it is). A ``ValueError`` from a dataclass's own
    ``__post_init__`` is reported with the key path.

    Args:
        cls: the dataclass type to build.
        data: what the YAML file holds at `path`.
        source: the file's name, for error messages.
        path: dotted key of `data` in the file; empty for the whole file.

    Raises:
        TaskCardError: a key is missing or unknown, a value has a wrong type or is not finite, or
            the dataclass refuses the values.
    """
    return typing.cast(T, _build(cls, data, source, path))


def _error(source: str, path: str, message: str) -> TaskCardError:
    return TaskCardError(f"{source}: {path or 'the card'}: {message}")


def _build(hint: Any, data: Any, source: str, path: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build_dataclass(hint, data, source, path)
    if origin in (typing.Union, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
        return None if data is None else _build(hint, data, source, path)
    if origin is tuple:
        if not isinstance(data, list):
            raise _error(source, path, f"expected a list, found {data!r}")
        arguments = typing.get_args(hint)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(data)
        if len(arguments) != len(data):
            raise _error(source, path, f"expected {len(arguments)} entries, found {data!r}")
        return tuple(
            _build(argument, item, source, f"{path}[{index}]")
            for index, (argument, item) in enumerate(zip(arguments, data, strict=True))
        )
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(data, dict):
            raise _error(source, path, f"expected a mapping of keys to values, found {data!r}")
        return data
    if hint is float:
        if isinstance(data, bool) or not isinstance(data, (int, float)):
            raise _error(source, path, f"expected a number, found {data!r}")
        if abs(data) > sys.float_info.max or not math.isfinite(data):
            raise _error(source, path, f"expected a finite number, found {data!r}")
        return float(data)
    if not isinstance(data, hint) or (isinstance(data, bool) and hint is not bool):
        raise _error(source, path, f"expected {_describe(hint)}, found {data!r}")
    return data


def _build_dataclass(hint: type, data: Any, source: str, path: str) -> Any:
    if not isinstance(data, dict):
        raise _error(source, path, f"expected a mapping of keys to values, found {data!r}")
    hints = typing.get_type_hints(hint)
    names = [field.name for field in dataclasses.fields(hint) if field.init]
    required = [
        field.name
        for field in dataclasses.fields(hint)
        if field.init
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in data]
    unknown = [key for key in data if key not in names]
    if missing:
        raise _error(source, path, f"missing keys {missing}; expected {names}")
    if unknown:
        raise _error(source, path, f"unknown keys {unknown}; expected only {names}")
    values = {
        name: _build(hints[name], data[name], source, f"{path}.{name}" if path else name)
        for name in names
        if name in data
    }
    try:
        return hint(**values)
    except TaskCardError:
        raise
    except ValueError as error:
        raise _error(source, path, str(error)) from error


def _describe(hint: Any) -> str:
    return {int: "a whole number", str: "text", bool: "true or false"}.get(hint, str(hint))


def require_positive_fields(parameters: Any, or_zero: Collection[str] = ()) -> None:
    """Refuses a dataclass of numbers, one of which is not positive.

    Args:
        parameters: the dataclass.
        or_zero: names of fields that may be zero as well.

    Raises:
        ValueError: naming the field.
    """
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        if field.name in or_zero and value < 0:
            raise ValueError(f"{field.name} must not be negative, found {value}")
        if field.name not in or_zero and value <= 0:
            raise ValueError(f"{field.name} must be positive, found {value}")
