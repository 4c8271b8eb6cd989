"""Trace: the hops from a client to a cluster's servers, up to the broken one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

from ...shell import NO_REMEDY, Remedy
from ...verdicts import Evidence

MEDIA_TYPE = "application/vnd.istio-mc.hops+json"
"""The type of :meth:`Trace.evidence`; readers that know it can show a step for each hop."""


class State(Enum):
    """What is known of a hop; the words are part of the evidence's format."""

    GOOD = "good"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    NOT_REACHED = "not reached"


_MARKS = {State.GOOD: "✓", State.BROKEN: "✗", State.UNKNOWN: "?", State.NOT_REACHED: "·"}


@dataclass(frozen=True)
class Hop:
    """One hop: what it should be like and what it is like.

    - ``remedy`` is a command; only a broken hop has one.
    - ``fault`` names what broke it, where more is known than that nothing gets through.
    """

    name: str
    state: State
    expected: str = ""
    seen: str = ""
    remedy: Remedy = NO_REMEDY
    clusters: tuple[str, ...] = ()
    fault: str = ""

    def __str__(self) -> str:
        return f"{_MARKS[self.state]} {self.name}" + (f": {self.seen}" if self.seen else "")


@dataclass(frozen=True)
class Trace:
    """The hops from the client in ``source`` to the servers in ``target``, in order."""

    source: str
    target: str
    port: int
    hops: tuple[Hop, ...]

    @property
    def broken(self) -> Hop | None:
        """The first broken hop; None where none is known to be."""
        return next((hop for hop in self.hops if hop.state is State.BROKEN), None)

    @property
    def remedy(self) -> Remedy:
        """What to do about the first broken hop; empty where none is known to be broken."""
        return self.broken.remedy if self.broken else NO_REMEDY

    @property
    def summary(self) -> str:
        """The first broken hop in words."""
        unknown = [hop.name for hop in self.hops if hop.state is State.UNKNOWN]
        beside = f" (nothing is known of: {', '.join(unknown)})" if unknown else ""
        if self.broken is None:
            return f"first broken hop: none was found{beside}"
        wanted = f", expected {self.broken.expected}" if self.broken.expected else ""
        return f"first broken hop: {self.broken.name}: {self.broken.seen}{wanted}{beside}"

    @property
    def evidence(self) -> Evidence:
        """All hops, to look at."""
        document = {
            "source": self.source,
            "target": self.target,
            "port": self.port,
            "firstBroken": self.broken.name if self.broken else None,
            "hops": [
                {
                    "name": hop.name,
                    "state": hop.state.value,
                    "expected": hop.expected,
                    "seen": hop.seen,
                }
                for hop in self.hops
            ],
        }
        text = json.dumps(document, ensure_ascii=False)
        return Evidence(f"hops from {self.source} to {self.target}", text, MEDIA_TYPE)
