"""Marking: tests of checks, for those who select with pytest's own ``-k`` and ``-m``."""

from __future__ import annotations

import pytest

from ..checks.catalogue import Check

_MARKED: pytest.StashKey[set[str]] = pytest.StashKey()
"""The markers that items have by now."""


def mark_as(item: pytest.Item, check: Check) -> None:
    """Name the check's id, area, profile and kind as keywords and markers of its test.

    Strict markers know them all, also those of checks that the test's own module defines.
    """
    area = check.id.rpartition("-")[0]
    quick = ("quick",) if check.quick else ()
    marked = item.config.stash.setdefault(_MARKED, set())
    for name in (check.id, area, check.profile.value, check.kind.value, *quick):
        item.extra_keyword_matches.add(name)
        if name not in marked:
            marked.add(name)
            item.config.addinivalue_line("markers", f"{name}: tests of these checks")
        item.add_marker(getattr(pytest.mark, name))
