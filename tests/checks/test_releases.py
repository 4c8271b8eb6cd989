"""Versions as builds of Istio write them, and which of them a statement is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.checks.releases import minor_of, release

LAB = "1.31.0-eed52ebb66ad-eed52ebb66ad-Clean"


@pytest.mark.parametrize(
    ("text", "minor", "vendor"),
    [
        ("1.31.2", (1, 31), ""),
        ("v1.31.2", (1, 31), ""),
        ("1.31.0-4f0e1a2b3c4d-Clean", (1, 31), ""),
        ("1.31.0-4f0e1a2b3c4d-dirty-Modified", (1, 31), ""),
        (LAB, (1, 31), ""),
        ("1.31-alpha.4f0e1a2b3c4d5e6f-4f0e1a2b3c4d5e6f-Clean", (1, 31), ""),
        ("1.31.0-rc.1", (1, 31), ""),
        ("1.31.1-distroless", (1, 31), ""),
        ("1.31.0-0.20260827124520-eed52ebb66ad", (1, 31), ""),
        ("1.31.3-asm.9", (1, 31), "asm"),
        ("1.31.3-asm.9-distroless", (1, 31), "asm"),
        ("1.30.2-tetrate-v0", (1, 30), "tetrate"),
        ("1.31.1+solo", (1, 31), "solo"),
    ],
)
def test_a_version_is_read_whoever_built_it(text: str, minor: tuple[int, int], vendor: str) -> None:
    found = release(text)

    assert found is not None
    assert (found.minor, found.vendor) == (minor, vendor)
    assert minor_of(text) == minor


@pytest.mark.parametrize("text", ["", "latest", "1", "asm-1-29", "1.x", "one.two", "1.31.2 or so"])
def test_what_is_no_version_is_none(text: str) -> None:
    assert release(text) is None
    assert minor_of(text) is None


@pytest.mark.parametrize(
    ("text", "specifiers", "within"),
    [
        ("1.29.4", (">=1.29.2,<1.29.5",), True),
        ("1.29.5", (">=1.29.2,<1.29.5", ">=1.30.0,<1.30.2"), False),
        ("1.30.1", (">=1.29.2,<1.29.5", ">=1.30.0,<1.30.2"), True),
        ("1.29.4-4f0e1a2b3c4d-Clean", (">=1.29.2,<1.29.5",), True),
        # a vendor may have mended what is affected, and unmends nothing
        ("1.29.4-asm.3", (">=1.29.2,<1.29.5",), None),
        ("1.29.5-asm.3", (">=1.29.2,<1.29.5",), False),
        # a build of a commit may be as good as any patch of its minor version
        (LAB, ("<1.31.1",), None),
        (LAB, ("<1.31.0",), False),
        (LAB, (">=1.31.0",), True),
        ("1.31.0-0.20260827124520-eed52ebb66ad", (">=1.31.1",), None),
        ("1.31", (">=1.31.1",), None),
        # what comes before a release may have what that brings, or not
        ("1.31.0-rc.1", (">=1.31.0",), None),
        ("1.31.0-rc.1", ("<1.31.0",), None),
        ("1.31.0-rc.1", (">=1.30.0",), True),
        ("1.31-alpha.4f0e1a2b3c4d", (">=1.32.0",), False),
    ],
)
def test_a_statement_is_about_a_release_or_not_or_nobody_knows(
    text: str, specifiers: tuple[str, ...], within: bool | None
) -> None:
    found = release(text)

    assert found is not None
    assert found.within(specifiers) is within


def test_a_minor_version_that_people_name_is_its_newest_patch() -> None:
    named, exact = release("1.31", newest=True), release("1.31.0", newest=True)

    assert named is not None
    assert exact is not None
    assert (named.newest, exact.newest) == (True, False)
    assert named.within((">=1.31.1",)) is True
    assert exact.within((">=1.31.1",)) is False


@given(st.text())
def test_any_text_is_a_release_or_none(text: str) -> None:
    found = release(text)

    assert found is None or found.within(("<1.31.0",)) in (True, False, None)
