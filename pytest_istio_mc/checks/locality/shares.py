"""Locality shares, live: distribution by weight, clusters as localities, and what happens without outlier detection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...mesh import Mesh
from ...snapshot import Object, Snapshot, name_of, namespace_of
from ...statistics import acceptable, passing
from ...timelines import answered_in
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import Commands
from ..replies import failures
from .causes import cause
from .facts import Journey, Split, Unprotected, crosses_zones
from .live import BELOW, LOCALITY, NEEDS, judge_stage, locate, longest, titles, zone_table

FALSE_ALARM = 1e-6
"""How likely a mesh that keeps its shares may be accused by one run of a check."""


@check(
    "MC-LOCALITY-006",
    "Requests are distributed over localities in the shares that a DestinationRule gives them.",
    kind=Kind.LIVE,
    requires=NEEDS,
    spec_url=LOCALITY + "distribute/",
    explained_by=BELOW,
)
def shares_are_kept(mesh: Mesh, snapshot: Snapshot, splits: Sequence[Split]) -> Verdict:
    """Exact binomial bounds, so that all counts together accuse a mesh that keeps its shares with at most ``FALSE_ALARM``."""
    where, blocked = locate(mesh, snapshot)
    if blocked:
        return blocked
    if mesh.spec.several_behind_a_gateway:
        return not_applicable(
            "several clusters are behind one east-west gateway: Envoy keeps its address once, in the locality that named it first, so that "
            "the shares of the others are given to nobody"
        )
    if not splits:
        return not_applicable(
            "no client can tell two localities apart, so that there is nothing to distribute over"
        )
    cells = sum(len(split.shares) for split in splits)
    found = [item for split in splits for item in _kept(mesh, snapshot, split, FALSE_ALARM / cells)]
    told = [
        f"{split.source}: "
        + ", ".join(
            f"{names(group)} {_count(split, group)} of {len(split.requests)}"
            for group in split.shares
        )
        for split in splits
    ]
    size, shares = len(splits[0].requests), splits[0].shares
    limits = {
        group: acceptable(size, share / 100, FALSE_ALARM / cells) for group, share in shares.items()
    }
    taken = ", ".join(
        f"{fewest} to {most} for {shares[group]} %" for group, (fewest, most) in limits.items()
    )
    even = min(passing(size, len(group) / len(where), *limit) for group, limit in limits.items())
    otherwise = f"{'; '.join(told)} (taken: {taken}, with {FALSE_ALARM:.0e} for a false alarm; an even spread would pass with {even:.0e})"
    silent = [source for source in where if source not in {split.source for split in splits}]
    otherwise += f"; not seen from {names(silent)}" if silent else ""
    sent = [(split.source, request) for split in splits for request in split.requests]
    return verdict_from(found, otherwise, pairs=[split.source for split in splits]).with_evidence(
        zone_table(where, sent)
    )


@check(
    "MC-LOCALITY-007",
    "A cluster can be a locality: failover priority by the cluster label keeps requests in it, and a subzone of its own is addressed.",
    kind=Kind.LIVE,
    requires=NEEDS,
    spec_url="https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting",
    explained_by=(*BELOW, "MC-CONTROL-002"),
)
def cluster_as_locality(
    mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey], splits: Sequence[Split]
) -> Verdict:
    """``journeys`` with ``failoverPriority: [topology.istio.io/cluster]``; ``splits`` give all to the subzone of another cluster."""
    found: list[Found] = []
    for cluster in mesh.spec.data_planes:
        own = [journey for journey in journeys if journey.source == cluster.name]
        found += [] if own else [Gap(f"{cluster.name}: nothing was sent")]
        found += [
            item
            for journey in own
            for stage in journey.stages
            for item in judge_stage(mesh, snapshot, stage)
        ]
    found += [item for split in splits for item in _kept(mesh, snapshot, split, FALSE_ALARM)]
    steps = [stage for journey in journeys for stage in journey.stages[1:]]
    otherwise = (
        "with failover priority by topology.istio.io/cluster, every cluster answered its own clients, and others only without its "
        f"endpoints (within {longest(steps)}, no request failed)"
    )
    if splits:
        total = sum(len(split.requests) for split in splits)
        otherwise += (
            f"; {total} requests for the subzone of another cluster were all answered there"
        )
    elif mesh.spec.several_behind_a_gateway:
        otherwise += "; not seen: clusters as subzones, as several are behind one east-west gateway"
    else:
        otherwise += "; not seen: clusters as subzones, as their nodes have no topology.istio.io/subzone of their own"
    return verdict_from(found, otherwise, pairs=titles(steps))


@check(
    "MC-LOCALITY-008",
    "Without outlier detection nothing is preferred and nothing fails over, and DestinationRules that ask for it in vain are named.",
    kind=Kind.LIVE,
    requires=NEEDS,
    spec_url=LOCALITY + "failover/",
    explained_by=BELOW,
)
def outlier_detection_is_needed(
    mesh: Mesh, snapshot: Snapshot, meetings: Sequence[Unprotected], miss_probability: float
) -> Verdict:
    """What Istio documents; a DestinationRule that sets locality failover without outlier detection is a finding, because it is in vain."""
    where, blocked = locate(mesh, snapshot)
    if blocked:
        return blocked
    found: list[Found] = list(in_vain(snapshot))
    covered = [meeting.source for meeting in meetings if meeting.view.outlier_detection is not None]
    for meeting in meetings:
        if meeting.source not in covered:
            found += _unprotected(mesh, meeting)
    found += [
        Gap(f"{source}: nothing was sent")
        for source in where
        if source not in {meeting.source for meeting in meetings}
    ]
    well = [(meeting.source, request) for meeting in meetings for request in meeting.well]
    crossing = sum(crosses_zones(where, source, request) for source, request in well)
    failed = sum(not request.succeeded for meeting in meetings for request in meeting.ill)
    ill = sum(len(meeting.ill) for meeting in meetings)
    otherwise = (
        f"without it, {crossing} of {len(well)} requests ({_percent(crossing, len(well))}) crossed zones, and {failed} of {ill} "
        f"({_percent(failed, ill)}) failed while the nearest instances were ill (none by chance: {miss_probability:.0e}): services "
        "that should fail over need outlierDetection"
    )
    if covered:
        otherwise = f"in {names(covered)} the mesh gives every service outlier detection, so that none is without it; {otherwise}"
    warned = lax(snapshot)
    if warned:
        otherwise += f"; warning: {'; '.join(warned)}"
    return verdict_from(
        found, otherwise, pairs=[meeting.source for meeting in meetings]
    ).with_evidence(zone_table(where, well))


def in_vain(snapshot: Snapshot) -> Iterator[Finding]:
    """A finding for each DestinationRule of the mesh that sets a failover and has no outlier detection for it."""
    for cluster, rule, policy in _policies(snapshot):
        setting = (policy.get("loadBalancer") or {}).get("localityLbSetting") or {}
        wanted = [key for key in ("failover", "failoverPriority") if setting.get(key)]
        if wanted and "outlierDetection" not in policy and setting.get("enabled") is not False:
            name = f"{namespace_of(rule)}/{name_of(rule)}"
            patch = '{"spec":{"trafficPolicy":{"outlierDetection":{"consecutive5xxErrors":5,"maxEjectionPercent":100}}}}'
            yield Finding(
                f"DestinationRule {name} of {cluster} sets {names(wanted)}, which does nothing without outlierDetection",
                (cluster,),
                expected="outlierDetection in the same traffic policy",
                seen=f"host {rule['spec'].get('host', '')}, no outlierDetection",
                remedy=Commands(snapshot).kubectl(
                    cluster,
                    f"patch destinationrule {name_of(rule)} --type=merge -p '{patch}'",
                    namespace_of(rule),
                ),
                fault="loc-no-outlier",
            )


def lax(snapshot: Snapshot) -> list[str]:
    """DestinationRules whose outlier detection ejects none of a few endpoints, in words."""
    found = []
    for cluster, rule, policy in _policies(snapshot):
        detection = policy.get("outlierDetection")
        share = int((detection or {}).get("maxEjectionPercent") or 10)
        if detection is not None and share < 100:
            found.append(
                f"DestinationRule {namespace_of(rule)}/{name_of(rule)} of {cluster} ejects at most {share} % of the endpoints, none of a "
                "few; set maxEjectionPercent: 100 where it should fail over"
            )
    return found


def _policies(snapshot: Snapshot) -> Iterator[tuple[str, Object, Mapping[str, Any]]]:
    """Every traffic policy of the mesh's DestinationRules where they are read, those of subsets with what they inherit."""
    own = snapshot.probes.namespace if snapshot.probes else ""
    for cluster in snapshot:
        for rule in (
            cluster.objects.get("DestinationRule.networking.istio.io", ())
            if cluster.name in snapshot.spec.config_clusters
            else ()
        ):
            if namespace_of(rule) != own:
                inherited = rule["spec"].get("trafficPolicy") or {}
                yield cluster.name, rule, inherited
                for subset in rule["spec"].get("subsets") or ():
                    if subset.get("trafficPolicy"):
                        yield cluster.name, rule, {**inherited, **subset["trafficPolicy"]}


def _unprotected(mesh: Mesh, meeting: Unprotected) -> Iterator[Found]:
    clusters = {cluster.name for cluster in mesh.spec.data_planes}
    if meeting.seconds is None:
        yield Gap(
            f"{meeting.source}: not every cluster answered for a service without outlier detection"
        )
        return
    failed = [request for request in meeting.well if not request.succeeded]
    if failed:
        seen = f"{len(failed)} of {len(meeting.well)}: {failures(failed)}"
        yield Finding(
            f"{meeting.source}: requests fail though all instances are well",
            (meeting.source,),
            "no failed request",
            seen,
            "",
            "requests-fail",
        )
    silent = clusters - {answered_in(request) for request in meeting.well}
    if silent:
        yield Finding(
            f"{meeting.source}: {names(sorted(silent))} is passed over though the service has no outlier detection",
            (meeting.source, *sorted(silent)),
            expected="answers from every cluster",
            seen=", ".join(
                f"{cluster} {count}"
                for cluster, count in Counter(map(answered_in, meeting.well)).items()
            ),
            remedy="",
            fault="locality-unasked",
        )
    if all(request.succeeded for request in meeting.ill):
        yield Gap(
            f"{meeting.source}: none of {len(meeting.ill)} requests met the instances that were ill in {names(meeting.failing)}"
        )


def _kept(mesh: Mesh, snapshot: Snapshot, split: Split, false_alarm: float) -> Iterator[Found]:
    why = cause(mesh, snapshot, split.source, split.host, split.view, shares=True)
    counted = Counter(answered_in(request) or "nobody" for request in split.requests)
    spread = (
        ", ".join(f"{cluster} {count}" for cluster, count in sorted(counted.items()))
        or "nothing was sent"
    )
    failed = [request for request in split.requests if not request.succeeded]
    if failed:
        seen = f"{failures(failed)}; {why.seen}"
        yield Finding(
            f"{split.source}: {len(failed)} of {len(split.requests)} requests to distribute failed",
            (split.source,),
            expected="no failed request",
            seen=seen,
            remedy=why.remedy,
            fault="requests-fail",
        )
        return
    for group, share in split.shares.items():
        fewest, most = acceptable(len(split.requests), share / 100, false_alarm)
        count = _count(split, group)
        if not fewest <= count <= most:
            yield Finding(
                f"{split.source}: {names(group)} answered {count} of {len(split.requests)} requests, for a share of {share} %{why.words}",
                tuple(dict.fromkeys((split.source, *group))),
                expected=f"{fewest} to {most} (outside by chance: {false_alarm:.0e})",
                seen=f"answers: {spread}; {why.seen}",
                remedy=why.remedy,
                fault=why.fault or "share-not-kept",
            )
    listed = {cluster for group in split.shares for cluster in group}
    strangers = sorted({answered_in(request) for request in split.requests} - listed - {""})
    if strangers:
        yield Finding(
            f"{split.source}: {names(strangers)} answers, though its locality has no share{why.words}",
            (split.source, *strangers),
            expected=f"answers from {names(sorted(listed))} only",
            seen=f"answers: {spread}; {why.seen}",
            remedy=why.remedy,
            fault=why.fault or "share-not-kept",
        )


def _count(split: Split, group: Sequence[str]) -> int:
    return sum(answered_in(request) in group for request in split.requests)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none sent"
