"""Frozen dataclasses to plain JSON and back, by their type hints; pydantic reads and refuses."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import UsageProblem

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")

_MOST_TOLD = 3
"""How many problems of one document are told."""


class Misfit(ValueError):
    """A document is not what was expected; as text: where, and what was found instead."""

    def __init__(self, problems: Sequence[ErrorDetails]) -> None:
        super().__init__(problems)
        self._problems = problems

    def __str__(self) -> str:
        return self.told()

    def told(self, known: Collection[str] = ()) -> str:
        """In words: ``clusters[0].name: expected text, found a list``.

        ``known`` keys are proposed for unknown ones.
        """
        words = [_problem(problem, known) for problem in self._problems[:_MOST_TOLD]]
        more = len(self._problems) - len(words)
        return "; ".join([*words, *([f"and {more} more"] if more else [])])


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
    """The value of type ``kind`` that :func:`to_plain` wrote, in this or another process.

    - ``kind`` is a dataclass, or a hint of dataclasses (``Loss | None``, ``tuple[Loss, ...]``).
    - Unknown keys are ignored.
    - :class:`UsageProblem` names the place of what does not fit.
    """
    try:
        value: T = _validated(kind, document, exact=False)
    except Misfit as error:
        raise UsageProblem("document", "does not fit", str(error)) from error
    return value


def from_json(kind: Any, content: bytes) -> Any:
    """The value of type ``kind`` in a JSON text that others wrote.

    - Nothing is converted: a number is no text, and 1 is not true. Unknown keys are refused.
    - :class:`Misfit` where that is something else, also where it nests some hundred levels.
    """
    return _validated(kind, content, exact=True)


def from_document(kind: type[T], document: Any) -> T:
    """As :func:`from_json`, of a document that was parsed already; ``kind`` is a ``TypedDict``."""
    value: T = _validated(kind, document, exact=True)
    return value


def _validated(kind: Any, given: Any, *, exact: bool) -> Any:
    from pydantic import ValidationError

    adapter, is_text = _adapter(kind, exact=exact), isinstance(given, bytes)
    try:
        value = adapter.validate_json(given) if is_text else adapter.validate_python(given)
    except ValidationError as error:
        raise Misfit(error.errors(include_url=False)) from error
    if value is None and (exact or isinstance(kind, type)):
        nothing: ErrorDetails = {"type": "dict_type", "loc": (), "msg": "", "input": None}
        raise Misfit([nothing])
    return value


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema of what :func:`from_json` takes."""
    found = _adapter(kind, exact=True).json_schema()
    wanted, _nothing = found.pop("anyOf")
    return {**wanted, **found}


def place(path: Sequence[int | str]) -> str:
    """A place in a document, as people write it: ``clusters[0].proxies[2].pod``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}"
        else:
            text += f"[{part if _is_plain(part) else shown(part)}]"
    return text.removeprefix(".") or "the document"


def _is_plain(key: str) -> bool:
    return len(key) <= _LONGEST_SHOWN and re.fullmatch(r"[\w./-]+", key) is not None


def shown(value: Any) -> str:
    """A value of somebody else's in an error: what it is, and a short one itself."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value:.6g}" if isinstance(value, float) else _number(value)
    return f"a {type(value).__name__}"


_LONGEST_SHOWN = 60


def _number(value: int) -> str:
    # Python refuses to write very long ones
    return f"the number {value}" if value.bit_length() < 128 else "a huge number"


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "dataclass_type": "an object",
    "dataclass_exact_type": "an object",
    "typed_dict_type": "an object",
    "model_type": "an object",
}


def _problem(problem: ErrorDetails, known: Collection[str]) -> str:
    kind, given = problem["type"], problem["input"]
    path = problem["loc"]
    if kind == "json_invalid":
        return _not_json(str(problem["ctx"]["error"]))
    if kind == "missing":
        return f"{place(path)}: is missing"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        near = get_close_matches(str(path[-1]), known, 1)
        return f"{place(path)}: is not known" + "".join(f", perhaps {one}" for one in near)
    if kind == "string_pattern_mismatch":
        return f"{place(path)}: {shown(given)} is not {_form_of(problem['ctx']['pattern'])}"
    if kind == "string_too_long":
        return f"{place(path)}: has more than {problem['ctx']['max_length']} characters"
    if kind in ("enum", "literal_error"):
        return f"{place(path)}: {shown(given)}, known are {problem['ctx']['expected']}"
    if kind in _WANTED:
        return f"{place(path)}: expected {_WANTED[kind]}, found {shown(given)}"
    return f"{place(path)}: {problem['msg']}, found {shown(given)}"


def _not_json(words: str) -> str:
    return f"is not JSON, or damaged: {words.replace('EOF while parsing', 'it ends inside')}"


@cache
def _form_of(pattern: str) -> str:
    from . import names

    for form in vars(names).values():
        if isinstance(form, names.Form) and pattern == f"^(?:{form.pattern})$":
            return form.words
    return f"of the form {pattern}"


@cache
def _adapter(kind: Any, *, exact: bool) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(extra="forbid" if exact else "ignore", strict=exact)
    # dataclasses take over the configuration of what holds them: here, of a choice
    return TypeAdapter(kind | None, config=config)
