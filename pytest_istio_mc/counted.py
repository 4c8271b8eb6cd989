"""Counted: what became of requests that were due at a constant rate, counted by flow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .observations import Ending, failure_text

LATE_SECONDS = 2.0
"""A request that is answered later counts as lost."""

TIMEOUT_SECONDS = 5.0
"""After it a request counts as failed."""


class Fate(Enum):
    """What became of a request that did not succeed in time."""

    FAILED = "failed"
    DONE = "done, but reported failed"  # the server has it in its record
    UNKNOWN = "failed, and nobody can say whether it was done"
    LATE = "late"
    ASTRAY = "answered by another cluster"


@dataclass(frozen=True)
class Lost:
    """One request that was lost.

    - ``when``: seconds since the epoch, by the clock of the gate.
    - ``seconds``: until it ended.
    - ``starved``: the sender's own schedule stood still then, so that this says nothing.
    """

    when: float
    fate: Fate
    ending: Ending
    status: int = 0
    seconds: float = 0.0
    cluster: str = ""
    error: str = ""
    id: str = ""
    starved: bool = False

    @property
    def failure(self) -> str:
        """What happened, in a few words."""
        if self.fate is Fate.LATE:
            return f"answered after {self.seconds:.1f} s"
        if self.fate is Fate.ASTRAY:
            return f"answered by {self.cluster or 'nobody that is known'}"
        return failure_text(self.ending, self.status, " ".join(self.error.split()))


@dataclass(frozen=True)
class Silence:
    """A time without any answer of a flow."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.end - self.begin


@dataclass(frozen=True)
class Count:
    """One flow: requests of a client in ``source`` for a service that only ``target`` has.

    - ``way``: protocol and connections in words.
    - ``retried``: proxies retry as Istio has them do by default; else never.
    - ``stream``: one connection that stays, with a line out and a line back at every beat.
    - ``due``: as the schedule has it; ``unsent`` of them the sender itself was too late for.
    - ``connections``: how many were opened.
    - ``lost`` are those lost one by one; ``unlisted`` more failed than are listed.
    - ``seconds``: (second, requests sent in it, of which lost).
    - ``missing``: why the record is not complete, so that what it lacks is not known.
    """

    source: str
    target: str
    way: str
    retried: bool
    stream: bool = False
    interval_seconds: float = 0.1
    due: int = 0
    unsent: int = 0
    answered: int = 0
    connections: int = 0
    longest_silence_seconds: float = 0.0
    worst_seconds: float = 0.0
    latest_seconds: float = 0.0
    lost: tuple[Lost, ...] = ()
    unlisted: int = 0
    silences: tuple[Silence, ...] = ()
    seconds: tuple[tuple[int, int, int], ...] = ()
    missing: str = ""

    @property
    def pair(self) -> str:
        """Its clusters, as reports name them."""
        return f"{self.source} to {self.target}"

    @property
    def losses(self) -> int:
        """How many requests were lost."""
        return len(self.lost) + self.unlisted

    @property
    def cuts(self) -> int:
        """How often the connection of a stream had to be opened again."""
        return max(0, self.connections - 1) if self.stream else 0


@dataclass(frozen=True)
class Step:
    """A phase of a change, as ``istio-mc gate mark`` told it, or the gate itself."""

    when: float
    text: str
