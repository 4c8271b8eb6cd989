"""Time lines: every request of flows that went on at a fixed rate while something happened, as frozen values, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from .observations import Ending, Protocol, Request


@dataclass(frozen=True)
class Record:
    """One request of a flow: when it was sent (seconds since the epoch, by the clock of the test process), how it ended and who answered.

    ``late_seconds`` is how much later than planned it was sent, because the sender's machine was too busy; those that were planned for
    meanwhile are missing. ``error`` is the failure, or the body
    of an answer that no probe gave.
    """

    when: float
    ending: Ending
    status: int = 0
    latency_seconds: float = 0.0
    new_connection: bool = True
    cluster: str = ""
    pod: str = ""
    version: str = ""
    error: str = ""
    late_seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether a probe answered, with status 200 where the protocol has one."""
        return self.ending is Ending.ANSWERED and bool(self.pod) and self.status in (0, 200)

    @property
    def failure(self) -> str:
        """What went wrong, in a few words; empty for a request that succeeded."""
        if self.succeeded:
            return ""
        text = " ".join(self.error.split())
        return (
            f"{self.status} {text}".strip()
            if self.ending is Ending.ANSWERED
            else f"{self.ending.value}: {text}"
        )

    @property
    def answered_at(self) -> float:
        """When its answer came, or its failure."""
        return self.when + self.latency_seconds


@dataclass(frozen=True)
class Flow:
    """Requests from one client to one target at a fixed rate, in the order in which they were sent.

    ``stream`` says that all of them went over one connection, as lines out and lines back. ``began`` and ``ended`` are when sending did.
    """

    name: str
    source: str
    host: str
    port: int
    protocol: Protocol
    keep_alive: bool
    interval_seconds: float
    records: tuple[Record, ...] = ()
    stream: bool = False
    began: float = 0.0
    ended: float = 0.0

    @property
    def failures(self) -> tuple[Record, ...]:
        """The requests that failed, those among them that were due but could not be sent."""
        return tuple(record for record in self.records if not record.succeeded)

    @property
    def answers(self) -> tuple[Record, ...]:
        """The requests that succeeded."""
        return tuple(record for record in self.records if record.succeeded)

    @property
    def longest_gap_seconds(self) -> float:
        """The longest time in which no answer came, from the beginning of the flow to its end."""
        came = sorted(record.answered_at for record in self.answers)
        edges = [self.began, *came, max([self.ended, *came])]
        return max(later - earlier for earlier, later in pairwise(edges))

    @property
    def breaks(self) -> int:
        """How often a kept connection was not there any more; or was in use, where answers take longer than the interval."""
        return (
            max(0, sum(record.new_connection for record in self.records) - 1)
            if self.keep_alive
            else 0
        )

    def answered_by(self) -> dict[str, int]:
        """How many requests each cluster answered, the most first."""
        return _counted(record.cluster for record in self.answers)

    def first_answer(self, cluster: str, after: float = 0.0) -> Record | None:
        """The first request sent after a moment that a cluster answered."""
        return next(
            (
                record
                for record in self.answers
                if record.cluster == cluster and record.when >= after
            ),
            None,
        )

    def last_answer(self, cluster: str) -> Record | None:
        """The last request that a cluster answered."""
        return next(
            (record for record in reversed(self.answers) if record.cluster == cluster), None
        )

    def steady_from(
        self, times: int, holds: Callable[[Record], bool] | None = None, after: float = 0.0
    ) -> Record | None:
        """The first of ``times`` requests in a row, sent after a moment, that succeeded, or for which something holds; None where that
        did not come about."""
        run: list[Record] = []
        for record in self.records:
            run = (
                [*run, record]
                if record.when >= after and (holds(record) if holds else record.succeeded)
                else []
            )
            if len(run) == times:
                return run[0]
        return None

    def between(self, begin: float, end: float) -> Flow:
        """The requests that were sent in a window."""
        inside = tuple(record for record in self.records if begin <= record.when <= end)
        return replace(
            self, records=inside, began=max(self.began, begin), ended=min(self.ended, end)
        )


@dataclass(frozen=True)
class Mark:
    """A window in which something was done or was broken; ``end`` equals ``begin`` for a moment."""

    begin: float
    end: float
    text: str


@dataclass(frozen=True, repr=False)
class Timeline:
    """Flows that ran side by side, and what was done meanwhile. ``clock_error_seconds`` bounds how far their times may be off ours."""

    flows: tuple[Flow, ...]
    marks: tuple[Mark, ...] = ()
    clock_error_seconds: float = field(default=0.0)

    def __str__(self) -> str:
        by = (
            ", ".join(f"{cluster} {count}" for cluster, count in self.answered_by().items())
            or "nobody"
        )
        failed = "; ".join(
            f"{count}× {failure}" for failure, count in list(self.failed_as().items())[:3]
        )
        return f"{self.requests} requests, answered by {by}" + (
            f", {len(self.failures)} failed ({failed})" if failed else ", none failed"
        )

    def __repr__(self) -> str:
        return f"<Timeline: {self}>"

    @property
    def began(self) -> float:
        """When the first flow began."""
        return min((flow.began for flow in self.flows), default=0.0)

    @property
    def ended(self) -> float:
        """When the last flow ended."""
        return max((flow.ended for flow in self.flows), default=0.0)

    @property
    def failures(self) -> tuple[Record, ...]:
        """The failed requests of all flows, oldest first."""
        return tuple(
            sorted(
                (record for flow in self.flows for record in flow.failures),
                key=lambda record: record.when,
            )
        )

    @property
    def latest_seconds(self) -> float:
        """By how much requests left later than planned, at the most: the sender's own fault, where its machine is too busy."""
        return max(
            (record.late_seconds for flow in self.flows for record in flow.records), default=0.0
        )

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return sum(len(flow.records) for flow in self.flows)

    @property
    def longest_gap_seconds(self) -> float:
        """The longest of the flows' gaps."""
        return max((flow.longest_gap_seconds for flow in self.flows), default=0.0)

    def from_source(self, source: str) -> Timeline:
        """The flows of one cluster's client."""
        return replace(self, flows=tuple(flow for flow in self.flows if flow.source == source))

    def to(self, host: str) -> Timeline:
        """The flows to one host."""
        return replace(self, flows=tuple(flow for flow in self.flows if flow.host == host))

    def between(self, begin: float, end: float) -> Timeline:
        """The requests that were sent in a window, and the marks that reach into it."""
        marks = tuple(mark for mark in self.marks if mark.begin <= end and mark.end >= begin)
        return replace(
            self, flows=tuple(flow.between(begin, end) for flow in self.flows), marks=marks
        )

    def mark(self, text: str) -> Mark:
        """The first mark with that text; ``KeyError`` where there is none."""
        for mark in self.marks:
            if mark.text == text:
                return mark
        raise KeyError(text)

    def during(self, text: str) -> Timeline:
        """The requests that were sent within the mark with that text."""
        window = self.mark(text)
        return self.between(window.begin, window.end)

    def answered_by(self) -> dict[str, int]:
        """How many requests each cluster answered, the most first."""
        return _counted(record.cluster for flow in self.flows for record in flow.answers)

    def failed_as(self) -> dict[str, int]:
        """The ways in which requests failed, in words, with counts, the commonest first."""
        return _counted(record.failure for record in self.failures)

    def first_answer(self, cluster: str, after: float = 0.0) -> Record | None:
        """The first request of any flow, sent after a moment, that a cluster answered."""
        found = [record for flow in self.flows if (record := flow.first_answer(cluster, after))]
        return min(found, key=lambda record: record.when, default=None)

    def last_answer(self, cluster: str) -> Record | None:
        """The last request of any flow that a cluster answered."""
        found = [record for flow in self.flows if (record := flow.last_answer(cluster))]
        return max(found, key=lambda record: record.when, default=None)

    def answered_without(self, cluster: str, after: float) -> int:
        """How many requests, sent after a moment, others have answered since that cluster last answered one."""
        last = self.last_answer(cluster)
        since = max(after, last.when if last else after)
        return sum(record.when > since for flow in self.flows for record in flow.answers)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, complete enough for :meth:`from_dict`; a record is a list in the order of ``recordFields``."""
        return {
            "recordFields": list(_FIELDS),
            "clockErrorSeconds": self.clock_error_seconds,
            "marks": [dict(mark.__dict__) for mark in self.marks],
            "flows": [_flow_to_dict(flow) for flow in self.flows],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Timeline:
        """The time line that :meth:`to_dict` wrote."""
        return cls(
            flows=tuple(
                _flow_from_dict(flow, document["recordFields"]) for flow in document["flows"]
            ),
            marks=tuple(Mark(**mark) for mark in document["marks"]),
            clock_error_seconds=float(document["clockErrorSeconds"]),
        )


_FIELDS = (
    "when",
    "ending",
    "status",
    "latency_seconds",
    "new_connection",
    "cluster",
    "pod",
    "version",
    "error",
    "late_seconds",
)


def _flow_to_dict(flow: Flow) -> dict[str, Any]:
    records = [
        [record.ending.value if key == "ending" else getattr(record, key) for key in _FIELDS]
        for record in flow.records
    ]
    return {**flow.__dict__, "protocol": flow.protocol.value, "records": records}


def _flow_from_dict(document: Mapping[str, Any], fields: list[str]) -> Flow:
    rows = (dict(zip(fields, row, strict=True)) for row in document["records"])
    records = tuple(Record(**{**row, "ending": Ending(row["ending"])}) for row in rows)
    return Flow(**{**document, "protocol": Protocol(document["protocol"]), "records": records})


def _counted(words: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda entry: -entry[1]))


def answered_in(request: Request | Record) -> str:
    """The cluster whose server answered this request well; empty where none did."""
    if isinstance(request, Record):
        return request.cluster if request.succeeded else ""
    answer = request.answer
    return (
        answer.cluster
        if request.succeeded and answer is not None and answer.role == "server"
        else ""
    )
