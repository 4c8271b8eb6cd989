"""Values survive the way to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pytest_istio_mc.plain import from_plain, to_plain


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    name: str
    when: float | None = None


@dataclass(frozen=True)
class Outer:
    inners: tuple[Inner, ...] = ()
    by_name: Mapping[str, Inner] = field(default_factory=dict)
    lists: Mapping[str, tuple[Inner, ...]] = field(default_factory=dict)
    maybe: Inner | None = None
    count: int = 0
    colour: Colour | None = None


def test_nested_values_come_back_as_they_were() -> None:
    inners = (Inner("a", 1.5), Inner("b"))
    lists = {"y": (Inner("d"),)}
    value = Outer(inners, {"x": Inner("c")}, lists, Inner("e"), 3, Colour.RED)

    assert from_plain(Outer, json.loads(json.dumps(to_plain(value)))) == value
    assert from_plain(Outer, json.loads(json.dumps(to_plain(Outer())))) == Outer()


def test_keys_of_newer_versions_are_ignored() -> None:
    assert from_plain(Inner, {"name": "a", "newer": 1}) == Inner("a")
