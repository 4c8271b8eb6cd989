"""Machine: how the tests' machine fares, and when that spoils a verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """The condition of the tests' machine, on which a lab's clusters are, too.

    - ``stall_seconds``: the longest time for which it did not get to do what was due.
    - ``crowd``: tasks to each of its processors (the load average).
    """

    stall_seconds: float = 0.0
    crowd: float = 0.0

    def __str__(self) -> str:
        stall = self.stall_seconds
        stood = f"it stood still for {stall:.1f} s, with " if stall else ""
        return f"the machine has too much to do: {stood}{self.crowd:.0f} tasks a processor"


LATE_SECONDS = 1.0
"""A client that sends so much later than planned gets no processor.

That its requests time out says nothing about the mesh.
"""

STANDSTILL_SECONDS = 3.0
"""A machine that stands still for so long breaks connections by itself.

Nothing that goes wrong meanwhile is held against the mesh.
"""

CROWD, STANDSTILL_CROWD = 8.0, 16.0
"""The same in tasks to a processor: pods, which ask for little of it, get next to nothing then."""

UNMEASURED = Machine()
"""Nothing is known of it."""
