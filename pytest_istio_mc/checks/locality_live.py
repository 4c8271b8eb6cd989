"""Locality load balancing, live: who answers first, who is next when those are gone or ill, and who gets which share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..localities import Places, Stage, answered_in, order, places
from ..mesh import Mesh
from ..observations import Request
from ..snapshot import Snapshot
from ..spec import Feature
from ..verdicts import Evidence, Finding, Verdict, not_applicable
from .catalogue import Kind, check
from .judging import Found, Gap, names, settle
from .live import failures
from .locality_causes import cause
from .trust_live import TRUST_BELOW

LOCALITY = "https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/"

BELOW = (
    *TRUST_BELOW,
    "MC-TRUST-008",
    *(f"MC-ACCESS-{number:03}" for number in range(1, 9)),
    *(f"MC-CONTROL-{number:03}" for number in range(2, 8)),
    "MC-CONTROL-009",
    *(f"MC-DISCOVERY-{number:03}" for number in range(1, 4)),
    "MC-EASTWEST-001",
    "MC-EASTWEST-002",
    "MC-EASTWEST-003",
    "MC-EASTWEST-004",
    "MC-EASTWEST-007",
    "MC-LOCALITY-001",
)
_NEEDS = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)


@check(
    "MC-LOCALITY-002",
    "With outlier detection, clients are answered by the nearest instances alone: of their subzone, else zone, else region.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=LOCALITY,
    explained_by=BELOW,
)
def local_first(mesh: Mesh, snapshot: Snapshot, stages: Sequence[Stage], miss_probability: float) -> Verdict:
    """``miss_probability`` is that of an even spread over the clusters being mistaken for a preference."""
    where, blocked = _places(mesh, snapshot)
    if blocked:
        return blocked
    found: list[Found] = []
    for source in where:
        own = [stage for stage in stages if stage.source == source]
        found += _judge(mesh, snapshot, own[0]) if own else [Gap(f"{source}: nothing was sent")]
    firsts = [stage for stage in stages if not stage.absent and not stage.failing]
    sample = [request for stage in firsts for request in stage.sample]
    crossing = sum(crosses_zones(where, request) for request in sample)
    otherwise = (
        f"{len(sample)} requests from {len(where)} clusters were answered by {_by_source(where, mesh)} alone; {crossing} of them crossed "
        f"zones (a chance hit: {miss_probability:.0e})" + _unseen(mesh, where)
    )
    return settle(found, otherwise, pairs=list(where)).with_evidence(zone_table(where, sample))


@check(
    "MC-LOCALITY-003",
    "When the nearest instances are gone or ejected as unhealthy, the next nearest answer, and none farther away before them.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=LOCALITY + "failover/",
    explained_by=(*BELOW, "MC-LOCALITY-002"),
)
def fails_over_in_order(mesh: Mesh, snapshot: Snapshot, stages: Sequence[Stage]) -> Verdict:
    """Endpoints that go away may cost no request; those that fail cost what it takes to eject them."""
    where, blocked = _places(mesh, snapshot)
    if blocked:
        return blocked
    steps = [stage for stage in stages if stage.absent or stage.failing]
    found = [item for stage in steps for item in _judge(mesh, snapshot, stage)]
    found += _not_seen(where, mesh, steps, "fails over")
    removed = [stage for stage in steps if stage.absent and stage.seconds is not None]
    ejected = [stage for stage in steps if stage.failing and stage.seconds is not None]
    lost = sum(not request.succeeded for stage in ejected for request in stage.requests)
    otherwise = (
        f"endpoints gone: the next nearest answered after {_longest(removed)}, no request failed; endpoints ill: ejected and the next "
        f"nearest answered after {_longest(ejected)}, {lost} requests failed in {len(ejected)} failovers" + _unseen(mesh, where)
    )
    return settle(found, otherwise, pairs=[f"{stage.source} {stage.name}" for stage in steps]).with_evidence(stage_table(stages))


@check(
    "MC-LOCALITY-004",
    "When the nearest instances are back or healthy again, all requests return to them.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=LOCALITY + "failover/",
    explained_by=(*BELOW, "MC-LOCALITY-002", "MC-LOCALITY-003"),
)
def returns(mesh: Mesh, snapshot: Snapshot, stages: Sequence[Stage], ejection_seconds: float) -> Verdict:
    """``ejection_seconds`` is for how long an instance is ejected: it cannot come back sooner."""
    where, blocked = _places(mesh, snapshot)
    if blocked:
        return blocked
    steps = [stage for place, stage in enumerate(stages) if place and stage.source == stages[place - 1].source and _is_return(stage)]
    found = [item for stage in steps for item in _judge(mesh, snapshot, stage)]
    found += _not_seen(where, mesh, steps, "returns")
    back = [stage for stage in steps if stage.seconds is not None]
    restored, healed = back[::2], back[1::2]
    otherwise = (
        f"after its endpoints were back, the nearest cluster alone answered within {_longest(restored)}, after it was ejected for "
        f"{ejection_seconds:g} s within {_longest(healed)}; no request failed" + _unseen(mesh, where)
    )
    return settle(found, otherwise, pairs=[f"{stage.source} {stage.name}" for stage in steps])


def _is_return(stage: Stage) -> bool:
    return not stage.absent and not stage.failing


def _judge(mesh: Mesh, snapshot: Snapshot, stage: Stage) -> Iterator[Found]:
    """What is wrong with one stage."""
    wanted = f"only {names(stage.nearest)} answers"
    where = f"{stage.source}, {stage.name}"
    why = cause(mesh, snapshot, stage)
    counted = Counter(answered_in(request) or "nobody" for request in (stage.sample or stage.requests[-20:]))
    spread = ", ".join(f"{cluster} {count}" for cluster, count in sorted(counted.items()))
    failed = failures(stage.sample or stage.requests[-20:])
    seen = f"answers: {spread}" + (f"; failures: {failed}" if failed else "") + f"; {why.seen}"
    clusters = tuple(dict.fromkeys((stage.source, *stage.nearest, *stage.absent, *stage.failing)))
    if stage.seconds is None:
        within = f"within {stage.budget_seconds:g} s"
        yield Finding(f"{where}: not {wanted} {within}{why.words}", clusters, f"{wanted} {within}", seen, why.remedy, why.fault)
        return
    astray = {answered_in(request) for request in stage.sample} - {"", *stage.nearest}
    if astray:
        yield Finding(f"{where}: {names(sorted(astray))} answers, too{why.words}", clusters, wanted, seen, why.remedy, why.fault)
    if stage.failing:
        return
    # the first requests for a new service are sent before the proxies know it
    counting = stage.sample if not stage.absent and stage.name == "all are there" else (*stage.requests, *stage.sample)
    lost = [request for request in counting if not request.succeeded]
    if lost:
        summary = f"{where}: {len(lost)} of {len(counting)} requests failed although healthy instances were there all the time"
        yield Finding(summary, clusters, "no failed request", failures(lost), why.remedy, "requests-fail")


def _places(mesh: Mesh, snapshot: Snapshot) -> tuple[Places, Verdict | None]:
    """Where everything is, and a verdict where that makes the check pointless."""
    where = places(snapshot)
    unknown = [cluster for cluster, place in where.items() if not place.known]
    if len(unknown) == len(where):
        return where, not_applicable(
            "no node has a region, so that all instances are equally near; label the nodes with topology.kubernetes.io/region and "
            "topology.kubernetes.io/zone, or declare the clusters' region and zone in a --mesh-spec file"
        )
    if not any(len(order(mesh.spec, where, source).tiers) > 1 for source in where):
        return where, not_applicable("all clusters are in the same locality, so that none is nearer than another")
    return where, None


def _not_seen(where: Places, mesh: Mesh, steps: Sequence[Stage], what: str) -> Iterator[Gap]:
    for source in where:
        if len(order(mesh.spec, where, source).tiers) > 1 and not any(stage.source == source for stage in steps):
            yield Gap(f"{source}: whether it {what} could not be seen, because the steps before did not come about")


def crosses_zones(where: Places, request: Request) -> bool:
    """Whether a request was answered in another zone or region than it came from."""
    target = where.get(answered_in(request))
    here = where[request.source].client
    return target is not None and all((there.region, there.zone) != (here.region, here.zone) for there in target.servers)


def _unseen(mesh: Mesh, where: Places) -> str:
    """What this mesh cannot show."""
    orders = [order(mesh.spec, where, source) for source in where]
    lengths = max(len(one.tiers) for one in orders)
    missing = list(dict.fromkeys(reason for one in orders for reason in one.unseen))
    text = "" if lengths > 2 else f"; no client has instances at more than {lengths} distances, so no order among farther ones was seen"
    return text + "".join(f"; not seen: {reason}" for reason in missing)


def _by_source(where: Places, mesh: Mesh) -> str:
    nearest = [order(mesh.spec, where, source).nearest() == (source,) for source in where]
    return "their own cluster" if all(nearest) else "their nearest clusters"


def _longest(stages: Sequence[Stage]) -> str:
    return f"{max((stage.seconds or 0 for stage in stages), default=0):.2f} s at most"


def zone_table(where: Places, requests: Iterable[Request]) -> Evidence:
    """Who answered whom, by zone, and the share that crossed zones."""
    counted: dict[str, Counter[str]] = {}
    total = crossing = 0
    for request in requests:
        cluster = answered_in(request)
        if cluster:
            total += 1
            crossing += crosses_zones(where, request)
            there = str(where[cluster].servers[0]) if cluster in where else "unknown"
            counted.setdefault(f"{request.source} ({where[request.source].client})", Counter())[f"{cluster} ({there})"] += 1
    table = {"requests": total, "crossed_zones": crossing, "cross_zone_share": round(crossing / total, 4) if total else None}
    table["answers"] = {source: dict(counts) for source, counts in counted.items()}
    return Evidence("answers by zone", json.dumps(table, indent=1), "application/json")


def stage_table(stages: Iterable[Stage]) -> Evidence:
    """What happened in each stage."""
    rows = [
        {
            "source": stage.source,
            "stage": stage.name,
            "expected": list(stage.nearest),
            "seconds": None if stage.seconds is None else round(stage.seconds, 3),
            "requests": len(stage.requests) + len(stage.sample),
            "failed": sum(not request.succeeded for request in (*stage.requests, *stage.sample)),
        }
        for stage in stages
    ]
    return Evidence("stages", json.dumps(rows, indent=1), "application/json")
