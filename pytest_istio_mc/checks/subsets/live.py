"""Judges of subsets: routes lead to the clusters, versions and shares they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from ... import shell
from ...istio_names import EAST_WEST_PORT
from ...samples import Sample, Stage
from ...shell import Remedy
from ...spec import Feature
from ...statistics import acceptable, passing
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_ROUTES, check
from ..judging import Found, Gap, names, pair_names, verdict_from
from ..remedies import Commands
from ..replies import failures, spread
from ..site import Here
from .observe import by_source, mixed, pinned, weighted

DOCS = "https://istio.io/latest/docs/"
SUBSETS = DOCS + "ops/configuration/traffic-management/multicluster/#partitioning-services"
REFERENCE = DOCS + "reference/config/networking/"
FALSE_ALARM = 1e-6
"""How likely a check may say that shares are wrong in a mesh that keeps them."""

subset = partial(
    check,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    explained_by=BELOW_ROUTES,
)


@subset(
    "MC-SUBSET-001",
    "A subset on topology.istio.io/cluster leads to the instances of that cluster and no other, "
    "from every cluster.",
    spec_url=SUBSETS,
    sees=pinned,
)
def clusters_are_pinned(here: Here, seen: Stage) -> Verdict:
    """Every request for a subset was answered by its cluster."""
    passed = f"{_count(seen)} requests for {len(here.mesh.spec.data_planes)} subsets"
    return _judged(here, seen, _led(here, seen), passed)


@subset(
    "MC-SUBSET-002",
    "A route that matches topology.istio.io/cluster of its source leads each cluster's requests "
    "where it says: to itself, or elsewhere.",
    spec_url=REFERENCE + "virtual-service/#HTTPMatchRequest",
    sees=by_source,
)
def sources_are_told_apart(here: Here, seen: Stage) -> Verdict:
    """One route keeps every request in its cluster, its twin sends all away."""
    passed = f"{_count(seen)} requests, half of them kept in their cluster"
    return _judged(here, seen, _led(here, seen), passed)


@subset(
    "MC-SUBSET-003",
    "A subset of a version in a cluster leads to that version there, and to nobody where that "
    "cluster has none of it.",
    spec_url=REFERENCE + "destination-rule/#Subset",
    sees=mixed,
)
def versions_within_clusters(here: Here, seen: Stage) -> Verdict:
    """Both labels count: the same version elsewhere does not answer, nor another one there."""
    refused = sum(len(sample.failed) for sample in seen.samples if not sample.expected)
    versions = len(here.mesh.spec.data_planes) * 2
    passed = (
        f"{_count(seen) - refused} requests for {versions} versions in clusters, "
        f"{refused} for empty ones"
    )
    return _judged(here, seen, _led(here, seen), passed)


@subset(
    "MC-SUBSET-004",
    "Weights share requests among clusters as they say, from every cluster.",
    spec_url=REFERENCE + "virtual-service/#HTTPRouteDestination",
    sees=weighted,
)
def weights_are_kept(here: Here, observed: tuple[Stage, Mapping[str, int]]) -> Verdict:
    """Every share is within the bounds that chance allows it.

    The verdict says how likely a false alarm is, and how likely even shares would pass.
    """
    clusters, (seen, weights) = here.mesh.spec.data_planes, observed
    shared = [sample for sample in seen.samples if len(sample.expected) == len(weights)]
    led = tuple(sample for sample in seen.samples if sample not in shared)
    found = list(_led(here, replace(seen, samples=led)))
    false_alarm = FALSE_ALARM / max(1, len(clusters) * len(weights))
    for cluster in clusters:
        own = next((sample for sample in shared if sample.source == cluster.name), None)
        if own is None or not own.requests:
            found.append(Gap(f"{cluster.name}: no request was sent"))
            continue
        found += _shares(here, own, weights, false_alarm, _late(seen))
    return _judged(here, seen, found, _figures(shared, weights, false_alarm))


def _judged(here: Here, seen: Stage, found: Iterable[Found], passed: str) -> Verdict:
    verdict = verdict_from(found, passed, pairs=pair_names(here.mesh))
    return verdict.with_convergence("routes and subsets in force everywhere", seen.converged)


def _figures(shared: list[Sample], weights: Mapping[str, int], false_alarm: float) -> str:
    size = min((len(sample.requests) for sample in shared), default=0)
    seen = "; ".join(f"{sample.source}: {spread(sample)}" for sample in shared)
    wanted = ", ".join(f"{cluster} {weight} %" for cluster, weight in weights.items())
    first = next(iter(weights))
    even = passing(size, 1 / len(weights), *acceptable(size, weights[first] / 100, false_alarm))
    return (
        f"of {size} requests from each cluster ({wanted}), {seen}; false alarm at most "
        f"{FALSE_ALARM:.0e} (exact binomial bounds), even shares would pass with {even:.0e}"
    )


def _shares(
    here: Here, sample: Sample, weights: Mapping[str, int], false_alarm: float, late: str
) -> Iterator[Found]:
    yield from _lost(here, sample, tuple(weights), late)
    count, answered = len(sample.requests), sample.answered
    for target, weight in weights.items():
        fewest, most = acceptable(count, weight / 100, false_alarm)
        got = answered.get(target, 0)
        if not fewest <= got <= most and not sample.failed:
            yield Finding(
                f"{sample.source}: {target} gets {got} of {count} requests, "
                f"with a weight of {weight} %",
                clusters=(sample.source, target),
                expected=f"{fewest} to {most} of {count}",
                seen=spread(sample) + late,
                remedy=_routes(here, sample),
                fault="weights-not-kept",
            )


def _led(here: Here, seen: Stage) -> Iterator[Found]:
    """What is wrong with samples that one cluster should answer each, or nobody."""
    late = _late(seen)
    for sample in seen.samples:
        if not sample.requests:
            yield Gap(f"{sample.source}: no request was sent for {sample.case}")
            continue
        if not sample.expected:
            yield from _refused(here, sample)
            continue
        yield from _lost(here, sample, sample.expected, late)
        if sample.astray:
            wrong = sample.astray[0].answer
            assert wrong is not None
            by = f", by a {sample.role}" if sample.role else ""
            first = f"first by {wrong.role} {wrong.pod} in {wrong.cluster}"
            yield Finding(
                f"{sample.source}: {len(sample.astray)} of {len(sample.requests)} requests "
                f"for {sample.case} are answered elsewhere",
                clusters=(sample.source, *sample.expected),
                expected=f"answers from {names(sample.expected)}{by} only",
                seen=f"{spread(sample)}; {first}{late}",
                remedy=_routes(here, sample),
                fault="subset-not-heeded",
            )


def _refused(here: Here, sample: Sample) -> Iterator[Found]:
    what = f"an empty subset ({sample.case})"
    if sample.astray:
        yield Finding(
            f"{sample.source}: {len(sample.astray)} of {len(sample.requests)} requests "
            f"for {what} are answered",
            clusters=(sample.source,),
            expected="503 no healthy upstream",
            seen=spread(sample),
            remedy=_routes(here, sample),
            fault="subset-not-heeded",
        )
    other = [request for request in sample.failed if request.status != 503]
    if other:
        got = other[0].failure
        yield Gap(f"{sample.source}: a request for {what} was to get 503, and got: {got}")


def _lost(here: Here, sample: Sample, targets: tuple[str, ...], late: str) -> Iterator[Found]:
    """Requests that nobody answered.

    Where all for another network are cut off, its gateway has no filter chain for the subset.
    """
    if not sample.failed:
        return
    commands, spec = Commands(here.snapshot), here.mesh.spec
    network = spec.cluster(sample.source).network
    no_way = (
        len(targets) == 1
        and spec.cluster(targets[0]).network != network
        and all(request.status == 503 and "reset" in request.error for request in sample.failed)
        and len(sample.failed) == len(sample.requests)
    )
    # of several, those that answered are not the ones that requests are lost on the way to
    failing = targets if len(targets) == 1 else sample.missing
    remedy = _routes(here, sample)
    if no_way:
        gateway = f"deploy/istio-eastwestgateway.{spec.istio_namespace}"
        port = f"--port={EAST_WEST_PORT}"
        listeners = commands.proxy_config(targets[0], "listeners", gateway, port)
        advice = f"no line: apply the DestinationRule in {targets[0]}, too"
        remedy = shell.with_note(shell.matching(sample.host, listeners), advice)
    yield Finding(
        f"{sample.source}: {len(sample.failed)} of {len(sample.requests)} requests "
        f"for {sample.case} fail",
        clusters=(sample.source, *failing),
        expected=f"every request answered by {names(targets)}",
        seen=f"{failures(sample.requests)}; answers: {spread(sample)}{late}",
        remedy=remedy,
        fault="dr-subset-at-destination" if no_way else "subset-requests-fail",
    )


def _routes(here: Here, sample: Sample) -> Remedy:
    commands, probes = Commands(here.snapshot), here.mesh.require_probes()
    if not here.mesh.spec.control_plane_of(sample.source).runs_istiod:
        return commands.kubectl(
            sample.source,
            "get virtualservices,destinationrules -o yaml",
            namespace=probes.namespace,
        )
    client = probes.client_pod(sample.source)
    everything = commands.proxy_config(sample.source, "all", client, "-o", "json")
    return shell.with_note(everything, f"routes, clusters and endpoints of {sample.host}")


def _late(seen: Stage) -> str:
    """What to add about samples that were taken too early; empty for others."""
    if seen.first_seconds is not None:
        return ""
    return "; not everything was in force within the time that configuration may take"


def _count(seen: Stage) -> int:
    return sum(len(sample.requests) for sample in seen.samples)
