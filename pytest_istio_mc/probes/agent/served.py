"""Served: the server's own record of the requests that came with an id.

- A client that got an error asks here whether its request was carried out all the same.
- An id is written down when its request has come, before it is answered.
- The file is of the pod: it outlives the program, not the pod. It is bounded, and says when full.

Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any

MOST_BYTES = 24 << 20
"""About a million and a half ids, of 16 bytes each."""

MOST_ID = 64
_FULL = b"full\n"


def path() -> str:
    """The file, in the pod's scratch folder."""
    return os.environ.get("TMPDIR", "/tmp") + "/served.ids"  # noqa: S108


class Served:
    """The record of this program; any thread may write to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file = -1
        self._left = MOST_BYTES

    def note(self, id: str) -> None:
        """Write an id down, if there is one and room for it."""
        if not id or len(id) > MOST_ID or not id.isascii() or not id.replace(".", "").isalnum():
            return
        with self._lock:
            try:
                if self._file < 0:
                    self._file = os.open(path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                    self._left -= os.fstat(self._file).st_size
                if self._left > 0:
                    self._left -= os.write(self._file, (id + "\n").encode())
                    if self._left <= 0:
                        os.write(self._file, _FULL)
            except OSError:
                self._left = 0  # there is no room


NOTED = Served()


def look_up(operation: dict[str, Any]) -> dict[str, Any]:
    """``served``: which of the ``ids`` came to this pod, and whether the record is ``whole``."""
    wanted, found, whole = set(operation["ids"]), [], True
    try:
        with open(path(), "rb") as lines:  # noqa: PTH123 - pathlib is slow to import
            for line in lines:
                id = line.rstrip(b"\n").decode("ascii", "replace")
                if id in wanted:
                    found.append(id)
                whole = whole and line != _FULL
    except FileNotFoundError:
        pass  # none came
    return {"found": found, "whole": whole}
