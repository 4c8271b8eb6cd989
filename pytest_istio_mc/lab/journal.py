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
    """Held by a lab's supervisor for as long as it lives, whatever ends it; that is how others know that the lab is alive (flock(2))."""

    def __init__(self, home: Path) -> None:
        self._path = home / LOCK

    def take(self) -> bool:
        """Take the lock until this process ends; false where somebody else holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
        if not _locked(descriptor):
            os.close(descriptor)
            return False
        os.write(descriptor, str(os.getpid()).encode())
        return True

    @property
    def taken_by(self) -> int:
        """The pid of who took it, alive or not; 0 where nobody did."""
        try:
            return int(self._path.read_text() or 0)
        except FileNotFoundError:
            return 0

    @property
    def is_held(self) -> bool:
        """Whether who took it lives. One that belongs to another user is taken for alive: it is not ours to judge."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except PermissionError:
            return True
        try:
            return not _locked(descriptor)
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
