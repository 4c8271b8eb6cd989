"""Ahead: observations of live checks that are made side by side, before the tests that judge them come to their turn.

They wait for the mesh most of their time, and each uses services of its own, so that together they take little longer than the longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

PAIRS_AT_A_TIME = 16
"""Between how many pairs of clusters observations send at a time; more would keep the proxies of a small machine from answering in time."""


@dataclass(frozen=True)
class Observed:
    """What an observation gave, and the seconds that it took."""

    value: Any
    seconds: float


class Ahead:
    """The observations of one mesh in one process. An observation is made once, however many tests ask for it."""

    def __init__(self, clusters: int) -> None:
        self._side_by_side = max(1, round(PAIRS_AT_A_TIME / clusters**2))
        self._pool: ThreadPoolExecutor | None = None
        self._made: dict[Hashable, Future[Observed]] = {}

    def begin(self, key: Hashable, observe: Callable[[], Any]) -> None:
        """Start making an observation under a key, after those that were begun before; one that was begun already is left alone."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._side_by_side, thread_name_prefix="ahead")
        if key not in self._made:
            self._made[key] = self._pool.submit(_timed, observe)

    def result(self, key: Hashable, observe: Callable[[], Any]) -> Observed:
        """The observation under this key, made now if it was not begun; raises what it raised."""
        self.begin(key, observe)
        return self._made[key].result()

    def close(self) -> None:
        """Make no more, wait for those at work so that they leave nothing behind, and forget all."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._made.clear()


def _timed(observe: Callable[[], Any]) -> Observed:
    began = time.monotonic()
    value = observe()
    return Observed(value, time.monotonic() - began)
