"""Machine: how the machine that runs the tests fares, and when that spoils a verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """How the machine that runs the tests fared, which in a lab has all the clusters on it: the longest time for which it did not get to do
    what was due, and how many tasks there were to each of its processors (the load average)."""

    stall_seconds: float = 0.0
    crowd: float = 0.0

    def __str__(self) -> str:
        stood = (
            f"it stood still for {self.stall_seconds:.1f} s, with " if self.stall_seconds else ""
        )
        return f"the machine has too much to do: {stood}{self.crowd:.0f} tasks a processor"


LATE_SECONDS = 1.0
"""A client that sends this much later than planned gets no processor: that its requests time out says nothing about the mesh."""


STANDSTILL_SECONDS = 3.0
"""A machine that stands still for that long breaks connections by itself: nothing that goes wrong meanwhile is held against the mesh."""


CROWD, STANDSTILL_CROWD = 8.0, 16.0
"""The same in tasks to a processor: pods ask for so little of it that with so many others they get next to nothing."""


UNMEASURED = Machine()
"""Nothing is known of it."""
