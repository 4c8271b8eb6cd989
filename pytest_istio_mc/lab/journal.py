"""Journal: a lab's notes of its things on this machine, for a sweep."""

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
    """One thing outside the lab's folder, by its ``kind``:

    - ``process``: with pid and start time;
    - ``cgroup``: its name is its path below each hierarchy.
    """

    kind: str
    name: str
    pid: int = 0
    started: int = 0


class Journal:
    """The journal of one lab. An entry is on disk before :meth:`add` returns."""

    def __init__(self, home: Path) -> None:
        self._path = home / JOURNAL

    def add(self, entry: Entry) -> None:
        """Write one entry."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def __iter__(self) -> Iterator[Entry]:
        """The entries so far, without a line that a kill cut short."""
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
    """The lock that a supervisor holds until its end (flock(2)).

    By it others know that the lab is alive: the kernel frees it, after a kill too.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / LOCK

    def take(self) -> bool:
        """Take the lock until this process ends; False where somebody else holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
        if not _locked(descriptor):
            os.close(descriptor)
            return False
        os.write(descriptor, str(os.getpid()).encode())
        return True

    @property
    def taken_by(self) -> int:
        """The pid of its last holder, dead or alive, or 0."""
        try:
            return int(self._path.read_text() or 0)
        except FileNotFoundError:
            return 0

    @property
    def is_held(self) -> bool:
        """Whether its holder lives; True for another user's, which is not ours to judge."""
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
