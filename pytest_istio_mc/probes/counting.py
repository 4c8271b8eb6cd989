"""Counting: requests between all clusters at a constant rate, while somebody changes the mesh.

- The schedule is open: what was due is counted. Ids are reconciled with the servers' own records.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..counted import LATE_SECONDS, TIMEOUT_SECONDS, Count, Fate, Lost, Silence
from ..errors import MeshError
from ..eventually import eventually
from ..observations import Ending
from ..together import for_each, try_each
from . import manifests
from .counted_services import CountPlan
from .flows import clock_ahead
from .sessions import Session
from .traffic import Traffic

if TYPE_CHECKING:
    from ..kube import Kube

SILENCE_SECONDS = 1.0
"""Times without an answer that are longer are listed one by one, but for slow flows' intervals."""

STARVED_SECONDS = 0.5
"""Where the sender is so much later than its schedule, what is lost then says nothing."""

UNREAD_SECONDS = 300.0
"""The senders end where the gate has not read their records for so long: it has been killed."""

MOST_SECONDS = 6 * 3600.0
POLL_SECONDS = 5.0


class Counting:
    """Flows that are being counted; a context manager that starts and ends the senders.

    ``poll`` is to be called every some seconds; clients that do not answer are asked again.
    """

    def __init__(
        self, traffic: Traffic, kubes: Mapping[str, Kube], wanted: Sequence[CountPlan]
    ) -> None:
        self._traffic = traffic
        self._kubes = kubes
        by_source: defaultdict[str, list[CountPlan]] = defaultdict(list)
        for plan in wanted:
            by_source[plan.source].append(plan)
        name = uuid.uuid4().hex[:8]
        self._jobs = [_Job(traffic, source, name, some) for source, some in by_source.items()]

    def start(self) -> None:
        """Start the senders of all clients; nothing is left where one does not start."""
        try:
            for_each(_Job.start, self._jobs)
        except BaseException:
            with suppress(MeshError):
                try_each(_Job.stop, self._jobs)
            raise

    def poll(self) -> None:
        """Read what the senders have written since; errors are left for the end to tell."""
        for_each(_Job.poll, self._jobs)

    def finish(self) -> tuple[Count, ...]:
        """Stop the senders, and count; what cannot be had is said in the counts."""
        for_each(_Job.finish, self._jobs)
        counts = tuple(count for job in self._jobs for count in job.counts())
        return self._reconciled(counts)

    def abandon(self) -> None:
        """Stop the senders, and look at nothing; they would end by themselves later."""
        with suppress(MeshError):
            try_each(_Job.stop, self._jobs)

    def _reconciled(self, counts: Sequence[Count]) -> tuple[Count, ...]:
        """The counts with what the servers' own records say of failed requests."""
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        for count in counts:
            wanted[count.target] += (
                one.id for one in count.lost if one.fate is Fate.FAILED and one.id
            )
        done: set[str] = set()
        unknown: set[str] = set()
        for target, ids in wanted.items():
            found, whole = self._served(target, ids) if ids else (set(), True)
            done |= found
            unknown |= set() if whole else set(ids) - found
        return tuple(
            replace(count, lost=_with_fates(count.lost, done, unknown)) for count in counts
        )

    def _served(self, target: str, ids: Sequence[str]) -> tuple[set[str], bool]:
        """Which requests came to a cluster's servers, and whether all of them can be asked."""
        probes = self._traffic.probes
        kube, found, whole = self._kubes[target], set[str](), True
        for pod in probes.servers(target):
            command = [*manifests.AGENT, "session"]
            place = (probes.namespace, pod.name, manifests.CONTAINER, command)
            thing = f'cluster "{target}": pod {probes.namespace}/{pod.name}'
            session = Session(thing, partial(kube.open_exec, *place))
            try:
                for begin in range(0, len(ids), _IDS_AT_ONCE):
                    asked = {"op": "served", "ids": ids[begin : begin + _IDS_AT_ONCE]}
                    said = session.ask(asked, timeout_seconds=60)
                    found |= set(said["found"])
                    whole = whole and bool(said["whole"])
            except MeshError:
                whole = False  # it is gone, and its record with it
            finally:
                session.close()
        return found, whole


_IDS_AT_ONCE = 500
_MOST_LAGS = 2000


def _with_fates(lost: Sequence[Lost], done: set[str], unknown: set[str]) -> tuple[Lost, ...]:
    def fate(one: Lost) -> Fate:
        if one.fate is not Fate.FAILED:
            return one.fate
        if one.id in done:
            return Fate.DONE
        return Fate.UNKNOWN if one.id in unknown else Fate.FAILED

    return tuple(replace(one, fate=fate(one)) for one in lost)


@dataclass
class _Flow:
    """What is known so far of one flow."""

    plan: CountPlan
    answered: int = 0
    late: int = 0
    failed: int = 0
    connections: int = 0
    worst: float = 0.0
    lost: list[Lost] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    latest: float = 0.0
    lags: list[tuple[float, float]] = field(default_factory=list)
    seconds: dict[int, tuple[int, int]] = field(default_factory=dict)


class _Job:
    """The flows of one client: a process and a file in its pod."""

    def __init__(self, traffic: Traffic, source: str, name: str, some: Sequence[CountPlan]) -> None:
        self._traffic = traffic
        self._source = source
        self._name = name
        self._flows = [_Flow(plan) for plan in some]
        self._offset = 0
        self._clock_offset = 0.0
        self._end: Mapping[str, Any] = {}
        self._missing = ""

    def start(self) -> None:
        """Compare the clocks and start the sender."""
        self._clock_offset, _ = clock_ahead(self._traffic, self._source)
        interval = self._flows[0].plan.interval_seconds
        count = {
            "slow": LATE_SECONDS,
            "gap": max(SILENCE_SECONDS, 3 * interval),
            "unread": UNREAD_SECONDS,
            "longest": TIMEOUT_SECONDS + 1,
        }
        flows = [_instructions(flow.plan) for flow in self._flows]
        job = {"name": self._name, "id": self._name, "at_most": MOST_SECONDS}
        self._ask("flow-start", job={**job, "count": count, "flows": flows})

    def poll(self) -> None:
        """Read what has been written since, if the client can be asked."""
        try:
            if not self._read() and not self._end:
                self._missing = "the sender has died"
        except MeshError as error:
            self._missing = str(error)
        else:
            self._missing = self._missing if self._missing == "the sender has died" else ""

    def stop(self) -> None:
        """Tell the sender to stop, and wait until it has."""
        self._ask("flow-stop", timeout=TIMEOUT_SECONDS + 2)

    def finish(self) -> None:
        """Stop, and read the rest."""
        patience = self._traffic.timeouts.kube_request
        try:
            eventually(
                self._stopped,
                bool,
                within_seconds=patience,
                every_seconds=0.5,
                what="the sender's last record",
            )
        except MeshError as error:
            self._missing = str(error).partition("\n")[0]
            return
        self._missing = "" if self._end else "the sender has died"
        if self._end and not self._end["asked"]:
            self._missing = "the sender ended by itself: nobody read its record in time"
        with suppress(MeshError):
            self._ask("flow-forget")  # the file goes with the pod at the latest

    def _stopped(self) -> bool:
        if self._ask("flow-stop", timeout=TIMEOUT_SECONDS + 2)["alive"]:
            return False
        return not self._read()

    def counts(self) -> Iterator[Count]:
        """The count of each flow.

        Where one flow was late, all were: they have one process.
        """
        spans = [
            (when - late - TIMEOUT_SECONDS, when + LATE_SECONDS)
            for flow in self._flows
            for when, late in flow.lags
        ]
        for number, flow in enumerate(self._flows):
            plan, end = flow.plan, self._end
            listed = flow.late + flow.failed
            unsent = int(end["missed"][number]) if end else 0
            sent = flow.answered + flow.late + flow.failed
            missing = self._missing
            if end and not missing and sent != end["sent"][number]:
                missing = f"{end['sent'][number]} requests were sent, {sent} are on record"
            lost = tuple(
                replace(one, starved=_is_silence(one) and any(b <= one.when <= e for b, e in spans))
                for one in sorted(flow.lost, key=lambda one: one.when)
            )
            yield Count(
                source=plan.source,
                target=plan.target,
                way=plan.way.title,
                retried=plan.way.retried,
                stream=plan.way.stream,
                interval_seconds=plan.interval_seconds,
                due=sent + unsent,
                unsent=unsent,
                answered=flow.answered,
                connections=flow.connections,
                longest_silence_seconds=float(end["longest_gaps"][number]) if end else 0.0,
                worst_seconds=flow.worst,
                latest_seconds=flow.latest,
                lost=lost,
                unlisted=max(0, listed - len(lost)),
                silences=tuple(flow.silences),
                seconds=tuple((second, *flow.seconds[second]) for second in sorted(flow.seconds)),
                missing=missing,
            )

    def _read(self) -> bool:
        """Read what there is; whether more may come."""
        more = True
        while more:
            came = self._ask("flow-read", offset=self._offset)
            for line in came["text"].splitlines():
                self._take(json.loads(line))
            self._offset, more = int(came["offset"]), bool(came["more"])
        return bool(came["alive"])

    def _take(self, entry: Any) -> None:
        if isinstance(entry, list):
            flow = self._flows[entry[0]]
            flow.lost.append(_lost(entry, self._clock_offset, flow.plan.target))
        elif "second" in entry:
            second = round(entry["second"] - self._clock_offset)
            for number, answered, late, failed, new, worst in entry["flows"]:
                flow = self._flows[number]
                flow.answered += answered
                flow.late += late
                flow.failed += failed
                flow.connections += new
                flow.worst = max(flow.worst, worst)
                sent, lost = flow.seconds.get(second, (0, 0))
                more = answered + late + failed
                flow.seconds[second] = (sent + more, lost + late + failed)
        elif "gap" in entry:
            number, begin, end = entry["gap"]
            offset = self._clock_offset
            self._flows[number].silences.append(Silence(begin - offset, end - offset))
        elif "lag" in entry:
            number, when, late = entry["lag"]
            flow = self._flows[number]
            flow.latest = max(flow.latest, late)
            if late >= STARVED_SECONDS and len(flow.lags) < _MOST_LAGS:
                flow.lags.append((when - self._clock_offset, late))
        elif "ended" in entry:
            self._end = entry

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self._traffic.ask(self._source, {"op": operation, "name": self._name, **arguments})


def _is_silence(one: Lost) -> bool:
    """Whether an overloaded machine may be to blame: it is slow, and resets no connection."""
    return one.fate is Fate.LATE or one.ending in _SILENT


_SILENT = (Ending.TIMEOUT, Ending.UNRESOLVED, Ending.SKIPPED)


def _instructions(plan: CountPlan) -> dict[str, Any]:
    return {
        "op": plan.way.protocol.value,
        "host": plan.host,
        "port": plan.port,
        "address": "",
        "interval": plan.interval_seconds,
        "timeout": TIMEOUT_SECONDS,
        "keep_alive": plan.way.keep_alive,
        "stream": plan.way.stream,
        "path": "/",
        "headers": {},
        "expect": plan.target,
    }


def _lost(entry: Sequence[Any], clock_offset: float, target: str) -> Lost:
    _, when, seconds, _, ending, status, _, cluster, _, _, error, id = entry
    fate = Fate.FAILED
    if ending == Ending.ANSWERED.value and status in (0, 200):
        fate = Fate.LATE if cluster == target else Fate.ASTRAY
    sent = when - clock_offset
    return Lost(sent, fate, Ending(ending), status, seconds, cluster, error, id)
