"""Progress of long work: a line for each step, and its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .redact import scrub_text


@dataclass(frozen=True)
class StepTime:
    """One finished step; ``began_seconds`` is since the beginning of the work."""

    name: str
    began_seconds: float
    seconds: float


class Progress:
    """Tells what is going on, one line a call of ``emit``, and remembers it.

    Any thread may call it.
    """

    def __init__(self, emit: Callable[[str], None] = lambda line: None) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._zero = time.monotonic()
        self._steps: list[StepTime] = []

    def note(self, text: str) -> None:
        """Print one line, with the seconds since the work began in front."""
        with self._lock:
            self._emit(f"{time.monotonic() - self._zero:6.1f}s  {scrub_text(text)}")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; print it when it has ended well.

        An exception passes through unprinted: it speaks for itself.
        """
        name, began = scrub_text(name), time.monotonic()
        yield
        took = time.monotonic() - began
        with self._lock:
            self._steps.append(StepTime(name, round(began - self._zero, 3), round(took, 3)))
            self._emit(f"{time.monotonic() - self._zero:6.1f}s  {name} ({took:.1f} s)")

    @property
    def steps(self) -> tuple[StepTime, ...]:
        """The steps that have ended, in the order in which they ended."""
        with self._lock:
            return tuple(self._steps)
