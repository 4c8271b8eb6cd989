"""Documents of others: YAML and JSON are read, and nothing in them brings the reader down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.documents import parse_document, read_document
from pytest_istio_mc.files import Unreadable

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def bomb(levels: int) -> str:
    """Nine aliases of the level below on each level: 9 to the power of ``levels`` values."""
    grown = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels + 1))
    return "\n".join(["a0: &a0 x", *grown])


@given(PLAIN)
def test_any_json_is_read_as_it_is(value: object) -> None:
    assert parse_document(json.dumps(value)) == value


def test_yaml_is_read_with_its_aliases() -> None:
    assert parse_document(b"a: &x {b: 1}\nc: *x") == {"a": {"b": 1}, "c": {"b": 1}}
    assert parse_document("") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 3000, "nests more than 100|line 1"),
        ("[" * 3000 + "]" * 3000, "nests more than 100|line 1"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "nests more than 100"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(2000)), "nests more than 100"),
        (bomb(9), "holds more than"),
        ("&a [*a]", "inside of &a itself"),
        ("&a {b: {c: *a}}", "inside of &a itself"),
        ("*a", "line 1, column 1: .*alias"),
        ("a: [", "is neither YAML nor JSON: line"),
        ("a: \x07", "is neither YAML nor JSON"),
        ("!!python/object:os.system x", "line 1, column 1: could not determine a constructor"),
        (r'"\ud800"', "half of a character|invalid Unicode"),
        ("9" * 5000, "holds a value that cannot be read"),
        ("2026-99-99", "holds a value that cannot be read"),
        ("? [a]\n: b", "unhashable|found unhashable"),
        ("a: 1\n---\nb: 2", "another document|single document"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(Unreadable, match=told) as caught:
        parse_document(text)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_document_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("ä: ü".encode("latin-1"))

    with pytest.raises(Unreadable, match="is not UTF-8"):
        read_document(tmp_path / "a.yaml")


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        parse_document(text)
    except Unreadable:
        pass


@given(st.binary())
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    try:
        parse_document(content)
    except Unreadable:
        pass
