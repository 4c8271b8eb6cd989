"""Time lines: requests at a fixed rate while something happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

from .observations import Ending, Protocol, Request, failure_text


@dataclass(frozen=True)
class Record:
    """One request of a flow, and its answer or failure.

    - ``when``: seconds since the epoch, by the clock of the test process.
    - ``late_seconds``: how much later than planned, because the sender's machine was too busy;
      requests planned for meanwhile are missing.
    - ``error``: the failure, or the body of an answer that no probe gave.
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
        """The failure in a few words; empty for a request that succeeded."""
        if self.succeeded:
            return ""
        return failure_text(self.ending, self.status, " ".join(self.error.split()))

    @property
    def answered_at(self) -> float:
        """When its answer came, or its failure."""
        return self.when + self.latency_seconds


@dataclass(frozen=True)
class Flow:
    """Requests from one client to one target at a fixed rate.

    - ``stream``: all of them went over one connection, as lines out and lines back.
    - ``began`` and ``ended``: of the sending.
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
        """The requests that failed, or were due but could not be sent."""
        return tuple(record for record in self.records if not record.succeeded)

    @property
    def answers(self) -> tuple[Record, ...]:
        """The requests that succeeded."""
        return tuple(record for record in self.records if record.succeeded)

    @property
    def longest_gap_seconds(self) -> float:
        """The longest time without an answer, within the flow."""
        came = sorted(record.answered_at for record in self.answers)
        edges = [self.began, *came, max([self.ended, *came])]
        return max(later - earlier for earlier, later in pairwise(edges))

    @property
    def breaks(self) -> int:
        """How often a kept connection was not there any more.

        Or was in use, where answers take longer than the interval.
        """
        new = sum(record.new_connection for record in self.records)
        return max(0, new - 1) if self.keep_alive else 0

    def answered_by(self) -> dict[str, int]:
        """How many requests each cluster answered, the most first."""
        return _counted(record.cluster for record in self.answers)

    def first_answer(self, cluster: str, after: float = 0.0) -> Record | None:
        """The first request sent after a moment that a cluster answered."""
        for record in self.answers:
            if record.cluster == cluster and record.when >= after:
                return record
        return None

    def last_answer(self, cluster: str) -> Record | None:
        """The last request that a cluster answered."""
        answers = (record for record in reversed(self.answers) if record.cluster == cluster)
        return next(answers, None)

    def steady_from(
        self, times: int, holds: Callable[[Record], bool] | None = None, after: float = 0.0
    ) -> Record | None:
        """The first of ``times`` successes in a row, sent after a moment.

        - With ``holds``: for which that holds.
        - None where there is no such row.
        """
        run: list[Record] = []
        for record in self.records:
            good = record.when >= after and (holds(record) if holds else record.succeeded)
            run = [*run, record] if good else []
            if len(run) == times:
                return run[0]
        return None

    def between(self, begin: float, end: float) -> Flow:
        """The requests that were sent in a window."""
        inside = tuple(record for record in self.records if begin <= record.when <= end)
        began, ended = max(self.began, begin), min(self.ended, end)
        return replace(self, records=inside, began=began, ended=ended)


@dataclass(frozen=True)
class Mark:
    """A window, or moment, in which something was done or broken."""

    begin: float
    end: float
    text: str


@dataclass(frozen=True, repr=False)
class Timeline:
    """Flows that ran side by side, and marks of what was done meanwhile.

    ``clock_error_seconds``: their times are at most so far off ours.
    """

    flows: tuple[Flow, ...]
    marks: tuple[Mark, ...] = ()
    clock_error_seconds: float = field(default=0.0)

    def __str__(self) -> str:
        by = ", ".join(f"{cluster} {count}" for cluster, count in self.answered_by().items())
        ways = list(self.failed_as().items())[:3]
        told = "; ".join(f"{count}× {failure}" for failure, count in ways)
        failed = f"{len(self.failures)} failed ({told})" if told else "none failed"
        return f"{self.requests} requests, answered by {by or 'nobody'}, {failed}"

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
        failures = (record for flow in self.flows for record in flow.failures)
        return tuple(sorted(failures, key=lambda record: record.when))

    @property
    def latest_seconds(self) -> float:
        """The longest delay of a request after its planned time.

        That is the sender's own fault, where its machine is too busy.
        """
        late = (record.late_seconds for flow in self.flows for record in flow.records)
        return max(late, default=0.0)

    @property
    def requests(self) -> int:
        """The number of requests."""
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
        """The requests in a window, and the marks that reach into it."""
        marks = tuple(mark for mark in self.marks if mark.begin <= end and mark.end >= begin)
        flows = tuple(flow.between(begin, end) for flow in self.flows)
        return replace(self, flows=flows, marks=marks)

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
        """The failures in words, with counts, the commonest first."""
        return _counted(record.failure for record in self.failures)

    def first_answer(self, cluster: str, after: float = 0.0) -> Record | None:
        """The first request after a moment that a cluster answered."""
        found = [record for flow in self.flows if (record := flow.first_answer(cluster, after))]
        return min(found, key=lambda record: record.when, default=None)

    def last_answer(self, cluster: str) -> Record | None:
        """The last request of any flow that a cluster answered."""
        found = [record for flow in self.flows if (record := flow.last_answer(cluster))]
        return max(found, key=lambda record: record.when, default=None)

    def answered_without(self, cluster: str, after: float) -> int:
        """How many requests, sent after a moment, others answered since that cluster's last."""
        last = self.last_answer(cluster)
        since = max(after, last.when if last else after)
        return sum(record.when > since for flow in self.flows for record in flow.answers)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, complete enough for :meth:`from_dict`.

        A record is a list in the order of ``recordFields``.
        """
        return {
            "recordFields": list(_FIELDS),
            "clockErrorSeconds": self.clock_error_seconds,
            "marks": [dict(mark.__dict__) for mark in self.marks],
            "flows": [_flow_to_dict(flow) for flow in self.flows],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Timeline:
        """The time line that :meth:`to_dict` wrote."""
        names, flows = document["recordFields"], document["flows"]
        return cls(
            flows=tuple(_flow_from_dict(flow, names) for flow in flows),
            marks=tuple(Mark(**mark) for mark in document["marks"]),
            clock_error_seconds=float(document["clockErrorSeconds"]),
        )


_FIELDS = tuple(field.name for field in fields(Record))


def _flow_to_dict(flow: Flow) -> dict[str, Any]:
    records = [
        [record.ending.value if key == "ending" else getattr(record, key) for key in _FIELDS]
        for record in flow.records
    ]
    return {**flow.__dict__, "protocol": flow.protocol.value, "records": records}


def _flow_from_dict(document: Mapping[str, Any], names: list[str]) -> Flow:
    rows = (dict(zip(names, row, strict=True)) for row in document["records"])
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
    served = request.succeeded and answer is not None and answer.role == "server"
    return answer.cluster if served and answer else ""
