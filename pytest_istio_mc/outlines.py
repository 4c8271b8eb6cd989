"""Outlines: time lines in short, small enough for a certificate and enough to draw them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .timelines import Flow, Record, Timeline
from .visible import shortened

MOST_LANES = 24
"""How many flows an outline keeps; it counts the others."""
MOST_SPANS = 60
"""How many spans a lane keeps of its answers, and of its losses; closer ones are one span."""
_MOST_WAYS = 8
_LONGEST = 160
OTHERWISE = "in other ways"
"""The failure of a span of losses that are neither alike nor common."""


@dataclass(frozen=True)
class Span:
    """Requests close to each other with one outcome.

    - ``begin`` and ``end``: seconds since the outline's beginning.
    - ``what``: the cluster that answered, or the failure in words.
    """

    begin: float
    end: float
    requests: int
    what: str


@dataclass(frozen=True)
class Lane:
    """One flow: how many requests it had, who answered when, what was lost when."""

    name: str
    requests: int
    failed: int
    longest_gap_seconds: float
    answered: tuple[Span, ...] = ()
    losses: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A window, or moment, in which something was done: the step of an upgrade, a fault."""

    begin: float
    end: float
    text: str


@dataclass(frozen=True)
class Outline:
    """A time line in short; its seconds count from its beginning.

    ``more_lanes``: how many flows were left out.
    """

    title: str
    seconds: float
    lanes: tuple[Lane, ...]
    phases: tuple[Phase, ...] = ()
    more_lanes: int = 0

    @property
    def requests(self) -> int:
        """How many requests its lanes had."""
        return sum(lane.requests for lane in self.lanes)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(lane.failed for lane in self.lanes)

    @property
    def longest_gap_seconds(self) -> float:
        """The longest time in which a lane had no answer."""
        return max((lane.longest_gap_seconds for lane in self.lanes), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, as certificates have it."""
        return {
            "title": self.title,
            "seconds": self.seconds,
            "phases": [
                {"begin": one.begin, "end": one.end, "text": one.text} for one in self.phases
            ],
            "lanes": [
                {
                    "name": lane.name,
                    "requests": lane.requests,
                    "failed": lane.failed,
                    "longestGapSeconds": lane.longest_gap_seconds,
                    "answered": [dict(span.__dict__) for span in lane.answered],
                    "losses": [dict(span.__dict__) for span in lane.losses],
                }
                for lane in self.lanes
            ],
            "moreLanes": self.more_lanes,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Outline:
        """The outline that :meth:`to_dict` wrote."""
        lanes = (
            Lane(
                name=lane["name"],
                requests=lane["requests"],
                failed=lane["failed"],
                longest_gap_seconds=lane["longestGapSeconds"],
                answered=tuple(Span(**span) for span in lane["answered"]),
                losses=tuple(Span(**span) for span in lane["losses"]),
            )
            for lane in document["lanes"]
        )
        phases = tuple(Phase(**phase) for phase in document["phases"])
        seconds, more = document["seconds"], document["moreLanes"]
        return cls(document["title"], seconds, tuple(lanes), phases, more)


def outlined(timeline: Timeline, title: str) -> Outline:
    """The time line in short: bounded, whatever it holds."""
    began = timeline.began
    seconds = max(timeline.ended - began, 0.001)
    # lanes with losses are kept first, in the order of the flows
    wanted = sorted(timeline.flows, key=lambda flow: not flow.failures)[:MOST_LANES]
    return Outline(
        title=title,
        seconds=round(seconds, 3),
        lanes=tuple(_lane(flow, began, seconds) for flow in timeline.flows if flow in wanted),
        phases=tuple(
            Phase(_at(mark.begin, began, seconds), _at(mark.end, began, seconds), mark.text)
            for mark in timeline.marks
        ),
        more_lanes=max(0, len(timeline.flows) - MOST_LANES),
    )


def _lane(flow: Flow, began: float, seconds: float) -> Lane:
    failures = flow.failures
    ways = Counter(shortened(record.failure, _LONGEST) for record in failures)
    common = {way for way, _ in ways.most_common(_MOST_WAYS)}

    def failed_as(record: Record) -> str:
        way = shortened(record.failure, _LONGEST)
        return way if way in common else OTHERWISE

    answers = [(record.when, record.cluster) for record in flow.answers]
    losses = [(record.when, failed_as(record)) for record in failures]
    apart = max(5 * flow.interval_seconds, seconds / 200)
    return Lane(
        name=flow.name,
        requests=len(flow.records),
        failed=len(failures),
        longest_gap_seconds=round(flow.longest_gap_seconds, 3),
        answered=_spans(answers, apart, began, seconds),
        losses=_spans(losses, max(2 * flow.interval_seconds, seconds / 300), began, seconds),
    )


def _spans(
    moments: Sequence[tuple[float, str]], apart: float, began: float, seconds: float
) -> tuple[Span, ...]:
    """Moments of one kind, at most ``apart`` from each other, as spans; farther where needed."""
    while True:
        found = [
            Span(_at(first, began, seconds), _at(last, began, seconds), count, what)
            for what in dict.fromkeys(what for _, what in moments)
            for first, last, count in _runs((when for when, one in moments if one == what), apart)
        ]
        if len(found) <= MOST_SPANS or apart > seconds:
            return tuple(sorted(found, key=lambda span: (span.begin, span.what)))[:MOST_SPANS]
        apart *= 2


def _runs(moments: Iterable[float], apart: float) -> Iterable[tuple[float, float, int]]:
    first = last = None
    count = 0
    for when in sorted(moments):
        if first is None or last is None or when - last > apart:
            if first is not None and last is not None:
                yield first, last, count
            first, count = when, 0
        last, count = when, count + 1
    if first is not None and last is not None:
        yield first, last, count


def _at(when: float, began: float, seconds: float) -> float:
    return round(min(max(when - began, 0.0), seconds), 3)
