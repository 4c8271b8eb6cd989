"""Judges of failover: who answers first, who is next, and whether all return."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

from ...observations import Request
from ...spec import Feature
from ...statistics import MISS_PROBABILITY
from ...timelines import Record, Timeline, answered_in
from ...verdicts import Evidence, Finding, Verdict, not_applicable
from ..catalogue import BELOW_ROUTES, check
from ..judging import Found, Gap, names, verdict_from
from ..replies import failures
from ..site import Here
from .causes import likely_cause
from .facts import (
    EJECTION_SECONDS,
    FAILURES_TO_EJECT,
    FailoverStage,
    Journey,
    Where,
    crosses_zones,
    localities,
    order,
)
from .observe import failover_maps, failovers

LOCALITY = "https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/"
FAILOVER = LOCALITY + "failover/"
BELOW = (*BELOW_ROUTES, "MC-LOCALITY-001")

locality = partial(
    check,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    explained_by=BELOW,
)

Sent = Request | Record


@locality(
    "MC-LOCALITY-002",
    "With outlier detection, clients are answered by the nearest instances alone: of their "
    "subzone, else zone, else region.",
    spec_url=LOCALITY,
    sees=failovers,
)
def local_first(here: Here, journeys: tuple[Journey, ...]) -> Verdict:
    """The verdict says how likely an even spread passes for a preference."""
    where, blocked = locate(here)
    if blocked:
        return blocked
    found: list[Found] = []
    sent: list[tuple[str, Sent]] = []
    for source in where:
        own = (one.stages[0] for one in journeys if one.source == source and one.stages)
        first = next(own, None)
        if first is None:
            found.append(Gap(f"{source}: nothing was sent"))
            continue
        found += judge_stage(here, first)
        sent += [(source, request) for request in first.settled]
    crossing = sum(crosses_zones(where, source, request) for source, request in sent)
    at_home = all(order(here.mesh.spec, where, one).nearest() == (one,) for one in where)
    nearest = "their own cluster" if at_home else "the nearest clusters"
    passed = (
        f"{len(sent)} requests from {len(where)} clusters were answered by {nearest} alone (by "
        f"chance: {MISS_PROBABILITY:.0e}); {crossing} of them crossed zones{unseen(here, where)}"
    )
    return verdict_from(found, passed, pairs=where).with_evidence(zone_table(where, sent))


@locality(
    "MC-LOCALITY-003",
    "When the nearest instances are gone or ejected as unhealthy, the next nearest answer, and "
    "none farther away before them.",
    spec_url=FAILOVER,
    sees=failovers,
    explained_by=(*BELOW, "MC-LOCALITY-002"),
)
def fails_over_in_order(here: Here, journeys: tuple[Journey, ...]) -> Verdict:
    """Endpoints that go away may cost no request.

    Each that is ill costs ``FAILURES_TO_EJECT``.
    """
    where, blocked = locate(here)
    if blocked:
        return blocked
    steps = [one for journey in journeys for one in journey.stages if one.absent or one.failing]
    found = [item for stage in steps for item in judge_stage(here, stage)]
    found += _incomplete(journeys, steps, "the failover")
    removed = [stage for stage in steps if stage.absent and stage.seconds is not None]
    ejected = [stage for stage in steps if stage.failing and stage.seconds is not None]
    lost = sum(len(stage.lost) for stage in ejected)
    passed = (
        f"without endpoints, the next nearest answered after {longest(removed)} and no request "
        f"failed; when they were ill, after {longest(ejected)}, and {lost} requests failed in "
        f"{len(ejected)} failovers (ejection takes {FAILURES_TO_EJECT} each){unseen(here, where)}"
    )
    return _shown(verdict_from(found, passed, pairs=titles(steps)), journeys)


@locality(
    "MC-LOCALITY-004",
    "When the nearest instances are back or healthy again, all requests return to them.",
    spec_url=FAILOVER,
    sees=failovers,
    explained_by=(*BELOW, "MC-LOCALITY-002", "MC-LOCALITY-003"),
)
def requests_return(here: Here, journeys: tuple[Journey, ...]) -> Verdict:
    """An instance cannot come back before its ejection is over."""
    where, blocked = locate(here)
    if blocked:
        return blocked
    steps = [
        stage
        for journey in journeys
        for stage in journey.stages[1:]
        if not stage.absent and not stage.failing
    ]
    found = [item for stage in steps for item in judge_stage(here, stage)]
    found += _incomplete(journeys, steps, "the return")
    back = [stage for stage in steps if stage.seconds is not None]
    healed = [stage for stage in back if any(other.failing for other in _before(journeys, stage))]
    restored = [stage for stage in back if stage not in healed]
    passed = (
        f"the nearest alone answered {longest(restored)} after their endpoints were back, and "
        f"{longest(healed)} after they were well again (an ejection is for {EJECTION_SECONDS:g} s);"
        f" no request failed{unseen(here, where)}"
    )
    return _shown(verdict_from(found, passed, pairs=titles(steps)), journeys)


@locality(
    "MC-LOCALITY-005",
    "The failover map of a DestinationRule decides which other region is next.",
    spec_url=FAILOVER,
    sees=failover_maps,
    explained_by=(*BELOW, "MC-LOCALITY-002", "MC-LOCALITY-003"),
)
def map_decides(here: Here, journeys: tuple[Journey, ...]) -> Verdict:
    """Only clients with two or more other regions can see it."""
    where, blocked = locate(here)
    if blocked:
        return blocked
    if not journeys:
        return not_applicable(
            "no client can tell two other regions apart, so that there is nothing for a failover "
            "map to decide; three clusters in a region each would show it (--mesh-spec)"
        )
    stages = [stage for journey in journeys for stage in journey.stages]
    found = [item for stage in stages for item in judge_stage(here, stage)]
    steps = [stage for stage in stages if stage.absent]
    chosen = ", ".join(f"{one.source} to {names(one.order.tiers[-2].clusters)}" for one in journeys)
    passed = (
        f"{chosen} first, as mapped, within {longest(steps)}, "
        "and further regions only when these were gone, too"
    )
    silent = [source for source in where if source not in {one.source for one in journeys}]
    if silent:
        passed += f"; not seen from {names(silent)}, which see fewer than two other regions"
    return _shown(verdict_from(found, passed, pairs=titles(steps)), journeys)


def judge_stage(here: Here, stage: FailoverStage) -> Iterator[Found]:
    """What is wrong with one stage."""
    wanted, title = f"only {names(stage.nearest)} to answer", f"{stage.source}, {stage.name}"
    ejecting = bool(stage.failing)
    why = likely_cause(here, stage.source, stage.host, stage.view, ejecting=ejecting)
    failed = [request for request in stage.settled if not request.succeeded]
    failed_as = f"; failures: {failures(failed)}" if failed else ""
    seen = f"answers: {answer_counts(stage.settled)}{failed_as}; {why.seen}"
    clusters = tuple(dict.fromkeys((stage.source, *stage.nearest, *stage.absent, *stage.failing)))
    if stage.seconds is None:
        within = f"within {stage.budget_seconds:g} s"
        yield Finding(
            f"{title}: {names(stage.nearest)} did not take over all requests {within}{why.words}",
            clusters,
            f"{wanted} {within}",
            seen,
            why.remedy,
            why.fault or ("no-failover" if stage.absent or ejecting else "locality-ignored"),
        )
        return
    astray = {answered_in(request) for request in stage.settled} - {"", *stage.nearest}
    if astray:
        summary = f"{title}: {names(sorted(astray))} answers, too{why.words}"
        fault = why.fault or "locality-ignored"
        yield Finding(summary, clusters, wanted, seen, why.remedy, fault)
    if len(stage.settled) < stage.wanted:
        yield Gap(
            f"{title}: {len(stage.settled)} requests after the shift are too few to tell, "
            f"{stage.wanted} are needed; is the client slow?"
        )
    lost = failed if ejecting else stage.lost
    if lost:
        total = len(stage.settled) + (0 if ejecting else len(stage.before))
        yield Finding(
            f"{title}: {len(lost)} of {total} requests failed although healthy instances "
            "were there all the time",
            clusters,
            "no failed request",
            f"failures: {failures(lost)}; {why.seen}",
            why.remedy,
            "requests-fail",
        )


def _incomplete(
    journeys: Sequence[Journey], steps: Collection[FailoverStage], what: str
) -> Iterator[Gap]:
    """A gap for each client that was kept from it by what is a finding elsewhere."""
    seen = {stage.source for stage in steps}
    for journey in journeys:
        goes = len(journey.order.tiers) > 1 and not journey.is_complete
        if goes and journey.source not in seen:
            why = "because a stage before it did not come about"
            yield Gap(f"{journey.source}: {what} could not be seen, {why}")


def locate(here: Here) -> tuple[Where, Verdict | None]:
    """Where everything is, and a verdict where that makes locality checks pointless."""
    where = localities(here.snapshot)
    if not any(place.known for place in where.values()):
        return where, not_applicable(
            "no node has a region, so that all instances are equally near; label the nodes with "
            "topology.kubernetes.io/region and topology.kubernetes.io/zone, or declare the "
            "clusters' region and zone in a --mesh-spec file"
        )
    if not any(len(order(here.mesh.spec, where, source).tiers) > 1 for source in where):
        return where, not_applicable(
            "all clusters are in one locality, so that none is nearer than another"
        )
    return where, None


def unseen(here: Here, where: Where) -> str:
    """What this mesh cannot show, as the end of a sentence."""
    orders = [order(here.mesh.spec, where, source) for source in where]
    distances = max(len(one.tiers) for one in orders)
    told = []
    if distances < 3:
        most = f"as no client has instances at more than {distances} distances"
        told.append(f"the order among farther ones, {most}")
    for one in orders:
        told += [f"{name} from {one.source}, as {reason}" for name, reason in one.unseen.items()]
    return "".join(f"; not seen: {text}" for text in told)


def answer_counts(requests: Iterable[Sent]) -> str:
    """How many requests each cluster answered, in words."""
    counted = Counter(answered_in(request) or "nobody" for request in requests)
    counts = ", ".join(f"{cluster} {count}" for cluster, count in sorted(counted.items()))
    return counts or "nothing was sent"


def longest(stages: Iterable[FailoverStage]) -> str:
    """The longest of their times."""
    return f"{max((stage.seconds or 0.0 for stage in stages), default=0.0):.2f} s at most"


def titles(stages: Iterable[FailoverStage]) -> list[str]:
    """Stages as reports name them."""
    return [f"{stage.source}, {stage.name}" for stage in stages]


def zone_table(where: Where, sent: Iterable[tuple[str, Sent]]) -> Evidence:
    """Who answered whom, by zone, and the share that crossed zones."""
    counted: dict[str, Counter[str]] = {}
    total = crossing = 0
    for source, request in sent:
        cluster = answered_in(request)
        if cluster in where:
            total += 1
            crossing += crosses_zones(where, source, request)
            answered = counted.setdefault(f"{source} ({where[source].client})", Counter())
            answered[f"{cluster} ({names(map(str, where[cluster].servers))})"] += 1
    table = {
        "answered": total,
        "crossed_zones": crossing,
        "cross_zone_share": round(crossing / total, 4) if total else None,
        "answers": {source: dict(counts) for source, counts in counted.items()},
    }
    return Evidence("answers by zone", json.dumps(table, indent=1), "application/json")


def _shown(verdict: Verdict, journeys: Sequence[Journey]) -> Verdict:
    """The verdict with a table of stages, and the time line of all clients."""
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
    table = Evidence("stages", json.dumps(rows, indent=1), "application/json")
    verdict = verdict.with_evidence(table)
    flows = tuple(flow for journey in journeys for flow in journey.timeline.flows)
    if not flows:
        return verdict
    marks = tuple(mark for journey in journeys for mark in journey.timeline.marks)
    error = max(journey.timeline.clock_error_seconds for journey in journeys)
    return verdict.with_timeline("failover", Timeline(flows, marks, error))


def _before(journeys: Sequence[Journey], stage: FailoverStage) -> tuple[FailoverStage, ...]:
    for journey in journeys:
        if stage in journey.stages:
            return journey.stages[: journey.stages.index(stage)]
    return ()
