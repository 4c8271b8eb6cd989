"""Journal: what a lab is about to make on this machine, written down before it exists, so that a sweep can clear it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

JOURNAL = "journal.jsonl"
LOCK = "supervisor.lock"


@dataclass(frozen=True)
class Entry:
    """One thing outside the lab's folder: a ``process`` (pid and start time) or a ``cgroup`` (its path below each hierarchy)."""

    kind: str
    name: str
    pid: int = 0
    started: int = 0


class Journal:
    """The journal of one lab; entries are on disk before :meth:`add` returns."""

    def __init__(self, home: Path) -> None:
        self._path = home / JOURNAL

    def add(self, entry: Entry) -> None:
        """Write one entry."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def __iter__(self) -> Iterator[Entry]:
        """The entries so far; a line cut short by a kill is left out."""
        try:
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue


class SupervisorLock:
    """Held by a lab's supervisor for as long as it lives, whatever ends it; that is how others know that the lab is alive.

    Whoever starts a lab takes the lock and hands the open file to the supervisor (flock(2): the lock lasts until the last
    duplicate of the descriptor is closed).
    """

    def __init__(self, home: Path) -> None:
        self._path = home / LOCK
        self.descriptor: int | None = None

    def take(self, *, make: bool = True) -> bool:
        """Take the lock; false where somebody else holds it. ``FileNotFoundError`` where it was never made and ``make`` is false."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        return True

    def release(self) -> None:
        """Close this process's end of it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
