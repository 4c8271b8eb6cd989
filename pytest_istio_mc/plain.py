"""Frozen dataclasses to plain JSON and back, by their type hints."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Plain JSON of a value made of dataclasses, mappings and sequences.

    Fields that hold their default are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in fields(value)
            if getattr(value, field.name) != field.default
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    return value.value if isinstance(value, Enum) else value


def from_plain(kind: type[T], document: Any) -> T:
    """The value of type ``kind`` that :func:`to_plain` wrote.

    - ``kind`` is a dataclass, or a hint of dataclasses (``Loss | None``, ``tuple[Loss, ...]``).
    - Unknown keys are ignored: older readers read newer files.
    """
    value: T = _read(kind, document)
    return value


def _from_mapping(kind: Any, document: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    known = {name: entry for name, entry in document.items() if name in hints}
    return kind(**{name: _read(hints[name], entry) for name, entry in known.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: hint for name, hint in get_type_hints(kind).items() if name in names}


def _read(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _read(next(argument for argument in arguments if argument is not type(None)), value)
    if isinstance(hint, type) and is_dataclass(hint):
        return _from_mapping(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if origin is tuple:
        return tuple(_read(arguments[0], entry) for entry in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _read(arguments[1], entry) for key, entry in value.items()}
    return value
