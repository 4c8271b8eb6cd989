"""Dates of others: no number and no text is too strange for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_istio_mc.dates import FIRST, LAST, moment_of, parsed_moment, spell_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@given(st.floats())
@example(1e18)
@example(1_700_000_000_000.0)
@example(-1.0)
def test_any_number_is_a_moment_that_can_be_reckoned_with(seconds: float) -> None:
    moment = moment_of(seconds)

    assert FIRST <= moment <= LAST
    assert moment - timedelta(days=30) < moment + timedelta(days=30)
    assert isinstance(NOW - moment, timedelta)
    assert moment_of(NOW.timestamp()) == NOW


@given(st.floats())
def test_any_number_is_a_spell_that_can_be_reckoned_with(seconds: float) -> None:
    assert timedelta() <= spell_of(seconds) / 4 <= spell_of(seconds)
    assert spell_of(90) == timedelta(seconds=90)


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00", "2026-01-31T13:00:00.0+01:00"]
)
def test_a_moment_with_a_zone_is_read(text: str) -> None:
    assert parsed_moment(text) == NOW


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-31", "2026-01-31T12:00:00", "0001-01-01T00:00:00Z",
     "9999-12-31T23:59:59-12:00", "2026-13-01T00:00:00Z"],
)  # fmt: skip
def test_what_no_other_moment_can_be_compared_with_is_none(text: str) -> None:
    assert parsed_moment(text) is None


@given(st.text())
def test_no_text_raises_anything(text: str) -> None:
    parsed_moment(text)
