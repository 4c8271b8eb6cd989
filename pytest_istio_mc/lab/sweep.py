"""Sweep: clears what labs that were killed have left behind, and never touches a living one."""

from __future__ import annotations

from . import lab, remains
from .remains import Leftover


def sweep(*, dry_run: bool = False) -> tuple[Leftover, ...]:
    """Find all leftovers and, unless ``dry_run``, remove them; what was found."""
    found: list[Leftover] = []
    with lab.labs_lock():
        for home in lab.dead_homes():
            found += remains.found_in(home)
            if not dry_run:
                remains.clear(home)
    return tuple(found)
