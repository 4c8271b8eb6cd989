"""Values survive the way to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.plain import Misfit, from_json, from_plain, to_plain


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"inners": [{"name": ["a"]}]}', "inners[0].name: expected text, found a list"),
        ('{"inners": [{"name": 1e300}]}', "inners[0].name: expected text, found the number 1e+300"),
        ('{"inners": {}}', "inners: expected a list, found an object"),
        ('{"by_name": {"a b;": {}}}', "by_name['a b;'].name: is missing"),
        ('{"by_name": {"a|80": null}}', "by_name['a|80']: expected an object, found nothing"),
        ('{"lists": {"y.z": [5]}}', "lists[y.z][0]: expected an object, found the number 5"),
        ('{"count": true}', "count: expected a whole number, found true"),
        ('{"count": 1.5}', "count: expected a whole number, found the number 1.5"),
        ('{"count": "1"}', "count: expected a whole number, found '1'"),
        ('{"colour": "green"}', "colour: 'green', known are 'red'"),
        ('{"colours": "red"}', "colours: is not known"),
        ("[]", "the document: expected an object, found a list"),
        ("null", "the document: expected an object, found nothing (null)"),
        ("{", "is not JSON, or damaged: "),
        ("[" * 5000, "is not JSON, or damaged: recursion limit exceeded"),
        ('"\\ud800"', "is not JSON, or damaged: "),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(Misfit) as caught:
        from_json(Outer, text.encode())

    assert str(caught.value).startswith(told)


def test_of_many_problems_some_are_told_and_the_others_counted() -> None:
    with pytest.raises(Misfit) as caught:
        from_json(Outer, json.dumps({"inners": [{}] * 1000}).encode())

    assert str(caught.value).endswith("inners[2].name: is missing; and 997 more")


def test_a_long_value_is_told_in_short() -> None:
    with pytest.raises(Misfit) as caught:
        from_json(Outer, json.dumps({"count": "\x1b[2J" * 1000, "maybe": 10**400}).encode())

    assert len(str(caught.value)) < 300
    assert "\x1b" not in str(caught.value)


def test_a_key_that_is_nearly_right_is_proposed() -> None:
    with pytest.raises(Misfit) as caught:
        from_json(Outer, b'{"cuont": 1}')

    assert caught.value.told({"count", "maybe"}) == "cuont: is not known, perhaps count"


def test_what_another_process_wrote_is_held_to_its_form_too() -> None:
    with pytest.raises(UsageProblem, match=r"inners\[0\].name: expected text"):
        from_plain(Outer, {"inners": [{"name": []}]})
