"""Scratch: the temporary folder of one run, and those of killed runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "istio-mc-run-"
_LOCK = "owner.lock"


class Scratch:
    """A folder of this process in the system's temporary folder, gone with :meth:`remove`.

    The process holds a lock in it for as long as it lives, however it ends (flock(2)).
    """

    def __init__(self, run_id: str) -> None:
        new = Path(tempfile.mkdtemp(prefix="istio-mc-new-"))
        self._lock = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Only now it gets the name by which a sweep looks: it never lacks an owner under that.
        name = PREFIX + run_id + new.name.removeprefix("istio-mc-new")
        self.folder = new.rename(new.with_name(name))

    def remove(self) -> None:
        """Remove the folder; a second call does nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def left_behind() -> Iterator[Path]:
    """The folders of this user's runs whose processes have ended."""
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        try:
            if folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # it goes while we look, or is not one of ours
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
        yield folder
