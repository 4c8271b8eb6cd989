"""Locality load balancing, live: who answers first, who is next when those are gone or ill, and that all return."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from ...evidence.pictures import timeline_evidence
from ...mesh import Mesh
from ...observations import Request
from ...snapshot import Snapshot
from ...spec import Feature
from ...timelines import Record, Timeline, answered_in
from ...verdicts import Evidence, Finding, Verdict, not_applicable
from ..catalogue import BELOW_ROUTES, Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..replies import failures
from .causes import cause
from .facts import Journey, Places, Stage, crosses_zones, order, places

LOCALITY = "https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/"
BELOW = (*BELOW_ROUTES, "MC-LOCALITY-001")
NEEDS = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)

Sent = Request | Record


@check(
    "MC-LOCALITY-002",
    "With outlier detection, clients are answered by the nearest instances alone: of their subzone, else zone, else region.",
    kind=Kind.LIVE,
    requires=NEEDS,
    spec_url=LOCALITY,
    explained_by=BELOW,
)
def local_first(
    mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey], miss_probability: float
) -> Verdict:
    """``miss_probability`` is that of an even spread over the clusters being mistaken for a preference."""
    where, blocked = locate(mesh, snapshot)
    if blocked:
        return blocked
    found: list[Found] = []
    sent: list[tuple[str, Sent]] = []
    for source in where:
        first = next(
            (
                journey.stages[0]
                for journey in journeys
                if journey.source == source and journey.stages
            ),
            None,
        )
        found += (
            judge_stage(mesh, snapshot, first) if first else [Gap(f"{source}: nothing was sent")]
        )
        sent += [(source, request) for request in first.settled] if first else []
    crossing = sum(crosses_zones(where, source, request) for source, request in sent)
    own = all(order(mesh.spec, where, source).nearest() == (source,) for source in where)
    otherwise = (
        f"{len(sent)} requests from {len(where)} clusters were answered by {'their own cluster' if own else 'the nearest clusters'} alone "
        f"(by chance: {miss_probability:.0e}); {crossing} of them crossed zones"
        + unseen(mesh, where)
    )
    return verdict_from(found, otherwise, pairs=list(where)).with_evidence(zone_table(where, sent))


@check(
    "MC-LOCALITY-003",
    "When the nearest instances are gone or ejected as unhealthy, the next nearest answer, and none farther away before them.",
    kind=Kind.LIVE,
    requires=NEEDS,
    spec_url=LOCALITY + "failover/",
    explained_by=(*BELOW, "MC-LOCALITY-002"),
)
def fails_over_in_order(
    mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey], failures_to_eject: int
) -> Verdict:
    """Endpoints that go away may cost no request; each that is ill costs as many as it takes to eject it, ``failures_to_eject``."""
    where, blocked = locate(mesh, snapshot)
    if blocked:
        return blocked
    steps = [
        stage for journey in journeys for stage in journey.stages if stage.absent or stage.failing
    ]
    found = [item for stage in steps for item in judge_stage(mesh, snapshot, stage)]
    found += incomplete(journeys, steps, "the failover")
    removed = [stage for stage in steps if stage.absent and stage.seconds is not None]
    ejected = [stage for stage in steps if stage.failing and stage.seconds is not None]
    lost = sum(len(stage.lost) for stage in ejected)
    otherwise = (
        f"without endpoints, the next nearest answered after {longest(removed)} and no request failed; when they were ill, after "
        f"{longest(ejected)}, and {lost} requests failed in {len(ejected)} failovers (ejection takes {failures_to_eject} each)"
    )
    otherwise += unseen(mesh, where)
    return verdict_from(found, otherwise, pairs=titles(steps)).with_evidence(
        *journey_evidence(journeys)
    )


@check(
    "MC-LOCALITY-004",
    "When the nearest instances are back or healthy again, all requests return to them.",
    kind=Kind.LIVE,
    requires=NEEDS,
    spec_url=LOCALITY + "failover/",
    explained_by=(*BELOW, "MC-LOCALITY-002", "MC-LOCALITY-003"),
)
def returns(
    mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey], ejection_seconds: float
) -> Verdict:
    """``ejection_seconds`` is for how long an instance is ejected: it cannot come back sooner."""
    where, blocked = locate(mesh, snapshot)
    if blocked:
        return blocked
    steps = [
        stage
        for journey in journeys
        for stage in journey.stages[1:]
        if not stage.absent and not stage.failing
    ]
    found = [item for stage in steps for item in judge_stage(mesh, snapshot, stage)]
    found += incomplete(journeys, steps, "the return")
    back = [stage for stage in steps if stage.seconds is not None]
    healed = [stage for stage in back if any(other.failing for other in _before(journeys, stage))]
    restored = [stage for stage in back if stage not in healed]
    otherwise = (
        f"the nearest alone answered {longest(restored)} after their endpoints were back, and {longest(healed)} after they were well again "
        f"(an ejection is for {ejection_seconds:g} s); no request failed" + unseen(mesh, where)
    )
    return verdict_from(found, otherwise, pairs=titles(steps)).with_evidence(
        *journey_evidence(journeys)
    )


@check(
    "MC-LOCALITY-005",
    "The failover map of a DestinationRule decides which other region is next.",
    kind=Kind.LIVE,
    requires=NEEDS,
    spec_url=LOCALITY + "failover/",
    explained_by=(*BELOW, "MC-LOCALITY-002", "MC-LOCALITY-003"),
)
def map_decides(mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey]) -> Verdict:
    """Seen only by clients that have two or more other regions to go to."""
    where, blocked = locate(mesh, snapshot)
    if blocked:
        return blocked
    if not journeys:
        return not_applicable(
            "no client can tell two other regions apart, so that there is nothing for a failover map to decide; three clusters in a region "
            "each would show it (--mesh-spec)"
        )
    found = [
        item
        for journey in journeys
        for stage in journey.stages
        for item in judge_stage(mesh, snapshot, stage)
    ]
    steps = [stage for journey in journeys for stage in journey.stages if stage.absent]
    chosen = [
        f"{journey.source} to {names(journey.order.tiers[-2].clusters)}" for journey in journeys
    ]
    otherwise = f"{', '.join(chosen)} first, as mapped, within {longest(steps)}, and further regions only when these were gone, too"
    silent = [source for source in where if source not in {journey.source for journey in journeys}]
    if silent:
        otherwise += f"; not seen from {names(silent)}, which see fewer than two other regions"
    return verdict_from(found, otherwise, pairs=titles(steps)).with_evidence(
        *journey_evidence(journeys)
    )


def judge_stage(mesh: Mesh, snapshot: Snapshot, stage: Stage) -> Iterator[Found]:
    """What is wrong with one stage."""
    wanted = f"only {names(stage.nearest)} to answer"
    title = f"{stage.source}, {stage.name}"
    why = cause(mesh, snapshot, stage.source, stage.host, stage.view, ejecting=bool(stage.failing))
    counted = Counter(answered_in(request) or "nobody" for request in stage.settled)
    spread = (
        ", ".join(f"{cluster} {count}" for cluster, count in sorted(counted.items()))
        or "nothing was sent"
    )
    failed = failures([request for request in stage.settled if not request.succeeded])
    seen = f"answers: {spread}" + (f"; failures: {failed}" if failed else "") + f"; {why.seen}"
    clusters = tuple(dict.fromkeys((stage.source, *stage.nearest, *stage.absent, *stage.failing)))
    if stage.seconds is None:
        within = f"within {stage.budget_seconds:g} s"
        fault = why.fault or (
            "no-failover" if stage.absent or stage.failing else "locality-ignored"
        )
        yield Finding(
            f"{title}: {names(stage.nearest)} did not take over all requests {within}{why.words}",
            clusters,
            f"{wanted} {within}",
            seen,
            why.remedy,
            fault,
        )
        return
    astray = {answered_in(request) for request in stage.settled} - {"", *stage.nearest}
    if astray:
        strangers = names(sorted(astray))
        yield Finding(
            f"{title}: {strangers} answers, too{why.words}",
            clusters,
            wanted,
            seen,
            why.remedy,
            why.fault or "locality-ignored",
        )
    if len(stage.settled) < stage.wanted:
        yield Gap(
            f"{title}: {len(stage.settled)} requests after the shift are too few to tell, {stage.wanted} are needed; is the client slow?"
        )
    lost = (
        [request for request in stage.settled if not request.succeeded]
        if stage.failing
        else list(stage.lost)
    )
    if lost:
        total = len(stage.settled) if stage.failing else len(stage.before) + len(stage.settled)
        summary = f"{title}: {len(lost)} of {total} requests failed although healthy instances were there all the time"
        yield Finding(
            summary,
            clusters,
            "no failed request",
            f"failures: {failures(lost)}; {why.seen}",
            why.remedy,
            "requests-fail",
        )


def incomplete(journeys: Sequence[Journey], steps: Collection[Stage], what: str) -> Iterator[Gap]:
    """A gap for each client that did not get as far as to show something; what kept it is a finding elsewhere."""
    for journey in journeys:
        if (
            len(journey.order.tiers) > 1
            and not journey.complete()
            and not any(stage.source == journey.source for stage in steps)
        ):
            yield Gap(
                f"{journey.source}: {what} could not be seen, because a stage before it did not come about"
            )


def locate(mesh: Mesh, snapshot: Snapshot) -> tuple[Places, Verdict | None]:
    """Where everything is, and a verdict where that makes locality checks pointless."""
    where = places(snapshot)
    if not any(place.known for place in where.values()):
        return where, not_applicable(
            "no node has a region, so that all instances are equally near; label the nodes with topology.kubernetes.io/region and "
            "topology.kubernetes.io/zone, or declare the clusters' region and zone in a --mesh-spec file"
        )
    if not any(len(order(mesh.spec, where, source).tiers) > 1 for source in where):
        return where, not_applicable(
            "all clusters are in one locality, so that none is nearer than another"
        )
    return where, None


def unseen(mesh: Mesh, where: Places) -> str:
    """What this mesh cannot show, as the end of a sentence."""
    orders = [order(mesh.spec, where, source) for source in where]
    distances = max(len(one.tiers) for one in orders)
    text = (
        f"; not seen: the order among farther ones, as no client has instances at more than {distances} distances"
        if distances < 3
        else ""
    )
    for one in orders:
        text += "".join(
            f"; not seen: {cluster} from {one.source}, as {reason}"
            for cluster, reason in one.unseen.items()
        )
    return text


def longest(stages: Iterable[Stage]) -> str:
    """The longest of their times."""
    return f"{max((stage.seconds or 0.0 for stage in stages), default=0.0):.2f} s at most"


def titles(stages: Iterable[Stage]) -> list[str]:
    """Stages as reports name them."""
    return [f"{stage.source}, {stage.name}" for stage in stages]


def zone_table(where: Places, sent: Iterable[tuple[str, Sent]]) -> Evidence:
    """Who answered whom, by zone, and the share of the requests that crossed zones."""
    counted: dict[str, Counter[str]] = {}
    total = crossing = 0
    for source, request in sent:
        cluster = answered_in(request)
        if cluster in where:
            total += 1
            crossing += crosses_zones(where, source, request)
            counted.setdefault(f"{source} ({where[source].client})", Counter())[
                f"{cluster} ({names(map(str, where[cluster].servers))})"
            ] += 1
    table = {
        "answered": total,
        "crossed_zones": crossing,
        "cross_zone_share": round(crossing / total, 4) if total else None,
        "answers": {source: dict(counts) for source, counts in counted.items()},
    }
    return Evidence("answers by zone", json.dumps(table, indent=1), "application/json")


def journey_evidence(journeys: Sequence[Journey]) -> tuple[Evidence, ...]:
    """The time line of all clients, and a table of the stages."""
    rows = [
        {
            "source": stage.source,
            "stage": stage.name,
            "expected": list(stage.nearest),
            "seconds": None if stage.seconds is None else round(stage.seconds, 3),
            "requests": len(stage.before) + len(stage.after),
            "failed": len(stage.lost),
        }
        for journey in journeys
        for stage in journey.stages
    ]
    flows = tuple(flow for journey in journeys for flow in journey.timeline.flows)
    table = Evidence("stages", json.dumps(rows, indent=1), "application/json")
    if not flows:
        return (table,)
    marks = tuple(mark for journey in journeys for mark in journey.timeline.marks)
    error = max(journey.timeline.clock_error_seconds for journey in journeys)
    return (table, *timeline_evidence(Timeline(flows, marks, error), "failover"))


def _before(journeys: Sequence[Journey], stage: Stage) -> tuple[Stage, ...]:
    for journey in journeys:
        if stage in journey.stages:
            return journey.stages[: journey.stages.index(stage)]
    return ()
