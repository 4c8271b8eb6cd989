"""Sweep: clears what labs and runs that were killed have left behind, and never touches a living one."""

from __future__ import annotations

import shutil

from .. import scratch
from . import homes, remains
from .remains import Leftover


def sweep(*, dry_run: bool = False) -> tuple[Leftover, ...]:
    """Find all leftovers and, unless ``dry_run``, remove them; what was found."""
    found: list[Leftover] = []
    with homes.labs_lock():
        for home in homes.dead_homes():
            found += remains.found_in(home)
            if not dry_run:
                remains.clear(home)
    for folder in scratch.left_behind():
        found.append(Leftover(folder.name.removeprefix("istio-mc-").rpartition("-")[0], "temporary folder", str(folder)))
        if not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(found)
