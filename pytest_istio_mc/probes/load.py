"""Pulse: whether the machine that runs the tests keeps up.

In a lab the clusters are on it, too, and wait as long.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Self

from ..machine import Machine


class Pulse:
    """A context in which a thread notes how late it wakes up."""

    _BEAT = 0.05

    def __init__(self) -> None:
        self.machine = Machine()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            before = time.monotonic()
            if self._ended.wait(self._BEAT):
                return
            stall = max(self.machine.stall_seconds, time.monotonic() - before - self._BEAT)
            self.machine = Machine(round(stall, 2), max(self.machine.crowd, crowd()))


def crowd() -> float:
    """How many tasks each processor had in the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)
