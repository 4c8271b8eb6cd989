"""Observing: observations are made side by side before their tests, and once each."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

PAIRS_AT_A_TIME = 16
"""Between how many pairs of clusters observations send at a time.

With more the proxies of a small machine would not answer in time.
"""


@dataclass(frozen=True)
class Observed:
    """What an observation gave, the seconds it took, and whether it was made before its test."""

    value: Any
    seconds: float
    ahead: bool = False


class Observations:
    """The observations of one mesh in one process, each made once however many tests ask.

    They wait for the mesh most of their time, and each uses services of its own, so together they
    take little longer than the longest.
    """

    def __init__(self, clusters: int) -> None:
        self._side_by_side = max(1, round(PAIRS_AT_A_TIME / clusters**2))
        self._pool: ThreadPoolExecutor | None = None
        self._made: dict[Hashable, Future[Observed]] = {}

    def begin(self, key: Hashable, observe: Callable[[], Any]) -> None:
        """Start making an observation, after those begun before; a second call does nothing."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._side_by_side, thread_name_prefix="ahead")
        if key not in self._made:
            self._made[key] = self._pool.submit(lambda: replace(_timed(observe), ahead=True))

    def result(self, key: Hashable, observe: Callable[[], Any]) -> Observed:
        """The observation, made in this thread if it was not begun; raises what it raised."""
        if key not in self._made:
            made = self._made[key] = Future()
            try:
                made.set_result(_timed(observe))
            except BaseException as error:  # a skip or Ctrl-C, too: who asks again must not wait
                made.set_exception(error)
        return self._made[key].result()

    def close(self) -> None:
        """Make no more, wait for those at work so that they clear up, and forget all."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._made.clear()


def _timed(observe: Callable[[], Any]) -> Observed:
    began = time.monotonic()
    value = observe()
    return Observed(value, time.monotonic() - began)
