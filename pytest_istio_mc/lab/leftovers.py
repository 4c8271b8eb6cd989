"""Leftovers of dead labs and runs on this machine, found and cleared.

- A lab leaves its folder, and the processes and cgroups in its journal.
- A run leaves its temporary folder.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .. import scratch
from ..eventually import eventually
from . import cgroups, homes
from .journal import Journal
from .process import start_time_of


@dataclass(frozen=True)
class Leftover:
    """One leftover of a dead lab: its kind (process, cgroup, folder) and name."""

    lab: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f'{self.kind} {self.name} of lab "{self.lab}"'


def sweep(*, dry_run: bool = False) -> tuple[Leftover, ...]:
    """Find all leftovers, remove them unless ``dry_run``, and return what was found."""
    found: list[Leftover] = []
    with homes.labs_lock():
        for home in homes.dead_homes():
            found += find(home)
            if not dry_run:
                clear(home)
    for folder in scratch.left_behind():
        run = folder.name.removeprefix("istio-mc-").rpartition("-")[0]
        found.append(Leftover(run, "temporary folder", str(folder)))
        if not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(found)


def find(home: Path) -> Iterator[Leftover]:
    """The leftovers of the lab that lived in that folder."""
    for pid, name in _processes(home):
        yield Leftover(home.name, "process", f"{pid} ({name})")
    for parent in _cgroups(home):
        for folder in cgroups.folders(parent):
            yield Leftover(home.name, "cgroup", str(folder))
    yield Leftover(home.name, "folder", str(home))


def clear(home: Path) -> None:
    """Remove the leftovers of that lab, the folder with the journal last."""
    for pid, _ in _processes(home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: list(_processes(home)),
        lambda left: not left,
        within_seconds=10,
        what=f'processes of lab "{home.name}" are gone',
    )
    for parent in _cgroups(home):
        cgroups.remove(parent)
    shutil.rmtree(home, ignore_errors=True)


def _processes(home: Path) -> Iterator[tuple[int, str]]:
    """Pid and name of each journalled process that still runs.

    A later process with the pid of an ended one is somebody else's.
    """
    for entry in Journal(home):
        if (
            entry.kind == "process"
            and entry.pid > 1
            and entry.started
            and start_time_of(entry.pid) == entry.started
        ):
            yield entry.pid, entry.name


def _cgroups(home: Path) -> Iterator[str]:
    """The cgroups in its journal; a damaged one cannot name those of others."""
    noted = (entry.name for entry in Journal(home) if entry.kind == "cgroup")
    return filter(cgroups.is_ours, noted)
