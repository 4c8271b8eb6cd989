"""Budget: how many requests one API server gets from us, at once and in a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

AT_ONCE = 8
PER_SECOND = 50.0
BURST = 100.0


class Budget:
    """Turns for requests to one API server, for all threads of this process.

    - ``turn`` is for requests that are answered at once: at most ``AT_ONCE`` are under way.
    - ``admit`` is for those that stay (watch, exec, port-forward): they only count as begun, as in
      the API server's own limits, which leave out long-running requests.
    - Both wait where more than ``BURST`` requests, and ``PER_SECOND`` since then, were begun.
    """

    def __init__(
        self,
        at_once: int = AT_ONCE,
        per_second: float = PER_SECOND,
        burst: float = BURST,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._slots = threading.BoundedSemaphore(at_once)
        self._per_second, self._burst = per_second, burst
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._tokens, self._filled_at = burst, clock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the places; waits for it."""
        with self._slots:
            self.admit()
            yield

    def admit(self) -> None:
        """Count one request; waits where there were too many."""
        with self._lock:
            now = self._clock()
            gained = (now - self._filled_at) * self._per_second
            self._tokens = min(self._burst, self._tokens + gained) - 1
            self._filled_at = now
            wait = max(0.0, -self._tokens / self._per_second)
        if wait:
            self._sleep(wait)


@cache
def budget_of(server: str) -> Budget:
    """The one budget of an API server, by its URL."""
    return Budget()
