"""Judges of shares: distribution by weight, clusters as localities, and no outlier detection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...snapshot import Object, Snapshot, name_of, namespace_of
from ...statistics import MISS_PROBABILITY, acceptable, passing
from ...timelines import answered_in
from ...verdicts import Finding, Verdict, not_applicable
from ..judging import Found, Gap, names, verdict_from
from ..remedies import Commands
from ..replies import failures
from ..site import Here
from .causes import likely_cause
from .facts import Journey, Split, Unprotected, crosses_zones
from .live import (
    FAILOVER,
    LOCALITY,
    answer_counts,
    judge_stage,
    locality,
    locate,
    longest,
    titles,
    zone_table,
)
from .observe import by_subzone, cluster_first, distributions, unprotected

REFERENCE = "https://istio.io/latest/docs/reference/config/networking/"
FALSE_ALARM = 1e-6
"""How likely a mesh that keeps its shares may be accused by one run of a check."""


@locality(
    "MC-LOCALITY-006",
    "Requests are distributed over localities in the shares that a DestinationRule gives them.",
    spec_url=LOCALITY + "distribute/",
    sees=distributions,
)
def shares_are_kept(here: Here, splits: tuple[Split, ...]) -> Verdict:
    """Exact binomial bounds: ``FALSE_ALARM`` is for all counts together."""
    where, blocked = locate(here)
    if blocked:
        return blocked
    if here.mesh.spec.several_behind_a_gateway:
        return not_applicable(
            "several clusters are behind one east-west gateway: Envoy keeps its address once, in "
            "the locality that named it first, so that the shares of the others are given to nobody"
        )
    if not splits:
        return not_applicable(
            "no client can tell two localities apart, so that there is nothing to distribute over"
        )
    false_alarm = FALSE_ALARM / sum(len(split.shares) for split in splits)
    found = [item for split in splits for item in _kept(here, split, false_alarm)]
    told = [
        f"{split.source}: "
        + ", ".join(
            f"{names(group)} {_count(split, group)} of {len(split.requests)}"
            for group in split.shares
        )
        for split in splits
    ]
    size, shares = len(splits[0].requests), splits[0].shares
    limits = {group: acceptable(size, share / 100, false_alarm) for group, share in shares.items()}
    taken = ", ".join(
        f"{fewest} to {most} for {shares[group]} %" for group, (fewest, most) in limits.items()
    )
    even = min(passing(size, len(group) / len(where), *limit) for group, limit in limits.items())
    silent = [source for source in where if source not in {split.source for split in splits}]
    passed = (
        f"{'; '.join(told)} (taken: {taken}, with {FALSE_ALARM:.0e} for a false alarm; "
        f"an even spread would pass with {even:.0e})"
        + (f"; not seen from {names(silent)}" if silent else "")
    )
    verdict = verdict_from(found, passed, pairs=[split.source for split in splits])
    sent = [(split.source, request) for split in splits for request in split.requests]
    return verdict.with_evidence(zone_table(where, sent))


@locality(
    "MC-LOCALITY-007",
    "A cluster can be a locality: failover priority by the cluster label keeps requests in it, and "
    "a subzone of its own is addressed.",
    spec_url=REFERENCE + "destination-rule/#LocalityLoadBalancerSetting",
    sees=(cluster_first, by_subzone),
)
def cluster_as_locality(
    here: Here, journeys: tuple[Journey, ...], splits: tuple[Split, ...]
) -> Verdict:
    """``journeys`` go by the cluster label, ``splits`` give all to another cluster's subzone."""
    found: list[Found] = []
    for cluster in here.mesh.spec.data_planes:
        own = [journey for journey in journeys if journey.source == cluster.name]
        if not own:
            found.append(Gap(f"{cluster.name}: nothing was sent"))
        for stage in [stage for journey in own for stage in journey.stages]:
            found += judge_stage(here, stage)
    found += [item for split in splits for item in _kept(here, split, FALSE_ALARM)]
    steps = [stage for journey in journeys for stage in journey.stages[1:]]
    if splits:
        total = sum(len(split.requests) for split in splits)
        subzones = f"{total} requests for the subzone of another cluster were all answered there"
    elif here.mesh.spec.several_behind_a_gateway:
        subzones = "not seen: clusters as subzones, as several are behind one east-west gateway"
    else:
        subzones = (
            "not seen: clusters as subzones, "
            "as their nodes have no topology.istio.io/subzone of their own"
        )
    passed = (
        "with failover priority by topology.istio.io/cluster, every cluster answered its own "
        f"clients, and others only without its endpoints (within {longest(steps)}, no request "
        f"failed); {subzones}"
    )
    return verdict_from(found, passed, pairs=titles(steps))


@locality(
    "MC-LOCALITY-008",
    "Without outlier detection nothing is preferred and nothing fails over, and DestinationRules "
    "that ask for it in vain are named.",
    spec_url=FAILOVER,
    sees=unprotected,
)
def outlier_detection_is_needed(here: Here, meetings: tuple[Unprotected, ...]) -> Verdict:
    """As Istio documents it.

    A DestinationRule that sets locality failover without outlier detection is a finding.
    """
    where, blocked = locate(here)
    if blocked:
        return blocked
    found: list[Found] = list(_in_vain(here.snapshot))
    covered = [one.source for one in meetings if one.view.outlier_detection is not None]
    for meeting in meetings:
        if meeting.source not in covered:
            found += _met(here, meeting)
    met = {meeting.source for meeting in meetings}
    found += [Gap(f"{source}: nothing was sent") for source in where if source not in met]
    well = [(meeting.source, request) for meeting in meetings for request in meeting.well]
    crossing = sum(crosses_zones(where, source, request) for source, request in well)
    failed = sum(not request.succeeded for meeting in meetings for request in meeting.ill)
    ill = sum(len(meeting.ill) for meeting in meetings)
    passed = (
        f"without it, {crossing} of {len(well)} requests ({_percent(crossing, len(well))}) crossed "
        f"zones, and {failed} of {ill} ({_percent(failed, ill)}) failed while the nearest "
        f"instances were ill (none by chance: {MISS_PROBABILITY:.0e}): services that should fail "
        "over need outlierDetection"
    )
    if covered:
        passed = (
            f"in {names(covered)} the mesh gives every service outlier detection, "
            f"so that none is without it; {passed}"
        )
    warned = _lax(here.snapshot)
    if warned:
        passed += f"; warning: {'; '.join(warned)}"
    verdict = verdict_from(found, passed, pairs=[meeting.source for meeting in meetings])
    return verdict.with_evidence(zone_table(where, well))


def _in_vain(snapshot: Snapshot) -> Iterator[Finding]:
    """A finding for each DestinationRule that sets a failover without outlier detection."""
    detection = {"consecutive5xxErrors": 5, "maxEjectionPercent": 100}
    change = {"spec": {"trafficPolicy": {"outlierDetection": detection}}}
    commands, kind = Commands(snapshot), "destinationrule"
    for cluster, rule, policy in _policies(snapshot):
        setting = (policy.get("loadBalancer") or {}).get("localityLbSetting") or {}
        wanted = [key for key in ("failover", "failoverPriority") if setting.get(key)]
        if wanted and "outlierDetection" not in policy and setting.get("enabled") is not False:
            name, namespace = name_of(rule), namespace_of(rule)
            yield Finding(
                f"DestinationRule {namespace}/{name} of {cluster} sets {names(wanted)}, "
                "which does nothing without outlierDetection",
                (cluster,),
                expected="outlierDetection in the same traffic policy",
                seen=f"host {rule['spec'].get('host', '')}, no outlierDetection",
                remedy=commands.merge(cluster, kind, name, change, namespace),
                fault="loc-no-outlier",
            )


def _lax(snapshot: Snapshot) -> list[str]:
    """DestinationRules whose outlier detection ejects none of a few endpoints, in words."""
    found = []
    for cluster, rule, policy in _policies(snapshot):
        detection = policy.get("outlierDetection")
        share = int((detection or {}).get("maxEjectionPercent") or 10)
        if detection is not None and share < 100:
            found.append(
                f"DestinationRule {namespace_of(rule)}/{name_of(rule)} of {cluster} ejects at most "
                f"{share} % of the endpoints, none of a few; set maxEjectionPercent: 100 where it "
                "should fail over"
            )
    return found


def _policies(snapshot: Snapshot) -> Iterator[tuple[str, Object, Mapping[str, Any]]]:
    """Every traffic policy of the mesh's own DestinationRules, with its cluster.

    - From the clusters where rules are read; those of the probe namespace are left out.
    - Policies of subsets include what they inherit.
    """
    own = snapshot.probes.namespace if snapshot.probes else ""
    for cluster in snapshot:
        if cluster.name not in snapshot.spec.config_clusters:
            continue
        for rule in cluster.objects.get("DestinationRule.networking.istio.io", ()):
            if namespace_of(rule) == own:
                continue
            inherited = rule["spec"].get("trafficPolicy") or {}
            yield cluster.name, rule, inherited
            for subset in rule["spec"].get("subsets") or ():
                if subset.get("trafficPolicy"):
                    yield cluster.name, rule, {**inherited, **subset["trafficPolicy"]}


def _met(here: Here, meeting: Unprotected) -> Iterator[Found]:
    """What is wrong with a service that has no outlier detection."""
    source = meeting.source
    if meeting.seconds is None:
        yield Gap(f"{source}: not every cluster answered for a service without outlier detection")
        return
    failed = [request for request in meeting.well if not request.succeeded]
    if failed:
        yield Finding(
            f"{source}: requests fail though all instances are well",
            (source,),
            "no failed request",
            f"{len(failed)} of {len(meeting.well)}: {failures(failed)}",
            fault="requests-fail",
        )
    clusters = {cluster.name for cluster in here.mesh.spec.data_planes}
    counted = Counter(map(answered_in, meeting.well))
    silent = sorted(clusters - set(counted))
    if silent:
        yield Finding(
            f"{source}: {names(silent)} is passed over though the service has no outlier detection",
            (source, *silent),
            expected="answers from every cluster",
            seen=", ".join(f"{cluster} {count}" for cluster, count in counted.items()),
            fault="locality-unasked",
        )
    if all(request.succeeded for request in meeting.ill):
        yield Gap(
            f"{source}: none of {len(meeting.ill)} requests met the instances that were ill in "
            f"{names(meeting.failing)}"
        )


def _kept(here: Here, split: Split, false_alarm: float) -> Iterator[Found]:
    """What is wrong with the shares that one client saw."""
    source, total = split.source, len(split.requests)
    why = likely_cause(here, source, split.host, split.view, shares=True)
    failed = [request for request in split.requests if not request.succeeded]
    if failed:
        yield Finding(
            f"{source}: {len(failed)} of {total} requests to distribute failed",
            (source,),
            expected="no failed request",
            seen=f"{failures(failed)}; {why.seen}",
            remedy=why.remedy,
            fault="requests-fail",
        )
        return
    seen = f"answers: {answer_counts(split.requests)}; {why.seen}"
    fault = why.fault or "share-not-kept"
    for group, share in split.shares.items():
        fewest, most = acceptable(total, share / 100, false_alarm)
        count = _count(split, group)
        if not fewest <= count <= most:
            yield Finding(
                f"{source}: {names(group)} answered {count} of {total} requests, "
                f"for a share of {share} %{why.words}",
                tuple(dict.fromkeys((source, *group))),
                expected=f"{fewest} to {most} (outside by chance: {false_alarm:.0e})",
                seen=seen,
                remedy=why.remedy,
                fault=fault,
            )
    listed = {cluster for group in split.shares for cluster in group}
    strangers = sorted({answered_in(request) for request in split.requests} - listed - {""})
    if strangers:
        yield Finding(
            f"{source}: {names(strangers)} answers, though its locality has no share{why.words}",
            (source, *strangers),
            expected=f"answers from {names(sorted(listed))} only",
            seen=seen,
            remedy=why.remedy,
            fault=fault,
        )


def _count(split: Split, group: Sequence[str]) -> int:
    return sum(answered_in(request) in group for request in split.requests)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none sent"
