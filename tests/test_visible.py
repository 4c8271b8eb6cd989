"""Nothing of a text from outside acts on a terminal, and all of it is to be seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.errors import MeshError
from pytest_istio_mc.visible import as_written, is_visible, visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cluster1, “x” × 3 – 世界", "cluster1, “x” × 3 – 世界"),
        ("\x1b]0;title\x07", "\\e]0;title\\x07"),
        ("a\rb\nc\td", "a\\rb\\nc  d"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\u202egnp.\u2066", "\\u202egnp.\\u2066"),
        ("a\u200bb\ufeff\u00ad", "a\\u200bb\\ufeff\\xad"),
        ("x\ufe0f\u3164\U000e0101", "x\\ufe0f\\u3164\\U000e0101"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_acts_or_hides_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_everything_becomes_visible_and_stays_it(text: str) -> None:
    shown = visible(text)

    assert is_visible(shown)
    assert visible(shown) == shown
    assert all(map(is_visible, visible_lines(text).split("\n")))
    assert all(map(is_visible, as_written(text, styled=False).removeprefix("\r").split("\n")))


def test_only_the_first_of_several_lines_begins_at_the_margin() -> None:
    assert visible_lines("a\nresult SUCCESS\n  next") == "a\n  result SUCCESS\n  next"


def test_colours_of_our_own_stay_where_there_are_any() -> None:
    text = "\x1b[31mFAILED\x1b[0m a\x1b]0;t\x07\n"

    assert as_written(text, styled=True) == "\x1b[31mFAILED\x1b[0m a\\e]0;t\\x07\n"
    assert as_written(text, styled=False) == "\\e[31mFAILED\\e[0m a\\e]0;t\\x07\n"
    assert as_written("\rrunning", styled=True) == "\rrunning"


def test_an_error_shows_what_its_parts_hold() -> None:
    error = MeshError("a\x1b[8m", "b\nresult", "c\nresult", advice="d\r", log_tail=["e\x07"])

    assert str(error) == (
        "a\\e[8m: b\\nresult (c\n  result)\n  last log lines:\n    e\\x07\n  next: d\\r"
    )
