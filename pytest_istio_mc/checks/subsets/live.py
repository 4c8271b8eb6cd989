"""Subsets, live: routes lead requests to the clusters, versions and shares that their rules name, from everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...mesh import Mesh
from ...samples import Sample, Stage
from ...spec import Feature
from ...statistics import acceptable, passing
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_ROUTES, Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import istioctl, kubectl
from ..replies import failures, pair_names, probes_of, spread

SUBSETS = "https://istio.io/latest/docs/ops/configuration/traffic-management/multicluster/#partitioning-services"
FALSE_ALARM = 1e-6
"""How likely a check may say that shares are wrong in a mesh that keeps them."""

_NEEDS = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)


@check(
    "MC-SUBSET-001",
    "A subset on topology.istio.io/cluster leads to the instances of that cluster and no other, from every cluster.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=SUBSETS,
    explained_by=BELOW_ROUTES,
)
def clusters_are_pinned(mesh: Mesh, seen: Stage) -> Verdict:
    """Every request for a subset was answered by its cluster."""
    return verdict_from(
        _led(mesh, seen),
        f"{_count(seen)} requests for {len(mesh.spec.data_planes)} subsets",
        pairs=pair_names(mesh),
    )


@check(
    "MC-SUBSET-002",
    "A route that matches topology.istio.io/cluster of its source leads each cluster's requests where it says: to itself, or elsewhere.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url="https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest",
    explained_by=BELOW_ROUTES,
)
def sources_are_told_apart(mesh: Mesh, seen: Stage) -> Verdict:
    """One service's requests stayed in their cluster, and the other's, by the same kind of route, all went to the next one."""
    return verdict_from(
        _led(mesh, seen),
        f"{_count(seen)} requests, half of them kept in their cluster",
        pairs=pair_names(mesh),
    )


@check(
    "MC-SUBSET-003",
    "A subset of a version in a cluster leads to that version there, and to nobody where that cluster has none of it.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url="https://istio.io/latest/docs/reference/config/networking/destination-rule/#Subset",
    explained_by=BELOW_ROUTES,
)
def versions_within_clusters(mesh: Mesh, seen: Stage) -> Verdict:
    """Both labels count: neither the same version elsewhere nor another one in that cluster answered."""
    refused = sum(len(sample.failed) for sample in seen.samples if not sample.expected)
    otherwise = f"{_count(seen) - refused} requests for {len(mesh.spec.data_planes) * 2} versions in clusters, {refused} for empty ones"
    return verdict_from(_led(mesh, seen), otherwise, pairs=pair_names(mesh))


@check(
    "MC-SUBSET-004",
    "Weights share requests among clusters as they say, from every cluster.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url="https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRouteDestination",
    explained_by=BELOW_ROUTES,
)
def weights_are_kept(mesh: Mesh, seen: Stage, weights: Mapping[str, int]) -> Verdict:
    """Every share is within the bounds that chance allows it; how improbable it is that it is not, and that even shares pass, is said."""
    shared = [sample for sample in seen.samples if len(sample.expected) == len(weights)]
    found = list(
        _led(
            mesh,
            Stage(
                seen.name,
                tuple(sample for sample in seen.samples if sample not in shared),
                seen.first_seconds,
            ),
        )
    )
    number_of_bounds = max(1, len(mesh.spec.data_planes) * len(weights))
    for cluster in mesh.spec.data_planes:
        own = next((sample for sample in shared if sample.source == cluster.name), None)
        if own is None or not own.requests:
            found.append(Gap(f"{cluster.name}: no request was sent"))
            continue
        found += _shares(mesh, own, weights, FALSE_ALARM / number_of_bounds, _late(seen))
    size = min((len(sample.requests) for sample in shared), default=0)
    return verdict_from(
        found,
        _fairly(shared, weights, size, FALSE_ALARM / number_of_bounds),
        pairs=pair_names(mesh),
    )


def _fairly(
    shared: Iterable[Sample], weights: Mapping[str, int], size: int, false_alarm: float
) -> str:
    seen = "; ".join(f"{sample.source}: {spread(sample)}" for sample in shared)
    wanted = ", ".join(f"{cluster} {weight} %" for cluster, weight in weights.items())
    first = next(iter(weights))
    even = passing(size, 1 / len(weights), *acceptable(size, weights[first] / 100, false_alarm))
    return (
        f"of {size} requests from each cluster ({wanted}), {seen}; false alarm at most {FALSE_ALARM:.0e} (exact binomial bounds), even "
        f"shares would pass with {even:.0e}"
    )


def _shares(
    mesh: Mesh, sample: Sample, weights: Mapping[str, int], false_alarm: float, late: str
) -> Iterator[Found]:
    yield from _lost(mesh, sample, tuple(weights), late)
    count, answered = len(sample.requests), sample.answered
    for target, weight in weights.items():
        fewest, most = acceptable(count, weight / 100, false_alarm)
        if not fewest <= answered.get(target, 0) <= most and not sample.failed:
            yield Finding(
                f"{sample.source}: {target} gets {answered.get(target, 0)} of {count} requests, with a weight of {weight} %",
                clusters=(sample.source, target),
                expected=f"{fewest} to {most} of {count}",
                seen=spread(sample) + late,
                remedy=_routes(mesh, sample),
                fault="weights-not-kept",
            )


def _led(mesh: Mesh, seen: Stage) -> Iterator[Found]:
    """What is wrong with samples that each should be answered by one cluster, or by nobody."""
    for sample in seen.samples:
        if not sample.requests:
            yield Gap(f"{sample.source}: no request was sent for {sample.case}")
            continue
        if not sample.expected:
            yield from _refused(mesh, sample)
            continue
        yield from _lost(mesh, sample, sample.expected, _late(seen))
        if sample.astray:
            wrong = sample.astray[0].answer
            assert wrong is not None
            yield Finding(
                f"{sample.source}: {len(sample.astray)} of {len(sample.requests)} requests for {sample.case} are answered elsewhere",
                clusters=(sample.source, *sample.expected),
                expected=f"answers from {names(sample.expected)}"
                + (f", by a {sample.role}" if sample.role else "")
                + " only",
                seen=f"{spread(sample)}; first by {wrong.role} {wrong.pod} in {wrong.cluster}{_late(seen)}",
                remedy=_routes(mesh, sample),
                fault="subset-not-heeded",
            )


def _refused(mesh: Mesh, sample: Sample) -> Iterator[Found]:
    if sample.astray:
        yield Finding(
            f"{sample.source}: {len(sample.astray)} of {len(sample.requests)} requests for an empty subset ({sample.case}) are answered",
            clusters=(sample.source,),
            expected="503 no healthy upstream",
            seen=spread(sample),
            remedy=_routes(mesh, sample),
            fault="subset-not-heeded",
        )
    other = [request for request in sample.failed if request.status != 503]
    if other:
        yield Gap(
            f"{sample.source}: a request for an empty subset ({sample.case}) was to get 503, and got: {other[0].failure}"
        )


def _lost(mesh: Mesh, sample: Sample, targets: tuple[str, ...], late: str) -> Iterator[Found]:
    """Requests that nobody answered. Where all for another network were cut off, its gateway has no filter chain for the subset."""
    if not sample.failed:
        return
    spec = mesh.spec
    far = [
        target
        for target in targets
        if spec.cluster(target).network != spec.cluster(sample.source).network
    ]
    cut_off = all(request.status == 503 and "reset" in request.error for request in sample.failed)
    no_way = (
        len(targets) == 1 and bool(far) and cut_off and len(sample.failed) == len(sample.requests)
    )
    # of several, those that answered are not the ones that requests are lost on the way to
    failing = targets if len(targets) == 1 else sample.missing
    looked_at = istioctl(
        mesh,
        targets[0],
        f"proxy-config listeners deploy/istio-eastwestgateway.{spec.istio_namespace} --port 15443",
    )
    yield Finding(
        f"{sample.source}: {len(sample.failed)} of {len(sample.requests)} requests for {sample.case} fail",
        clusters=(sample.source, *failing),
        expected=f"every request answered by {names(targets)}",
        seen=f"{failures(sample.requests)}; answers: {spread(sample)}{late}",
        remedy=f"{looked_at} | grep {sample.host}  # no line: apply the DestinationRule in {targets[0]}, too"
        if no_way
        else _routes(mesh, sample),
        fault="dr-subset-at-destination" if no_way else "subset-requests-fail",
    )


def _routes(mesh: Mesh, sample: Sample) -> str:
    client = f"{probes_of(mesh).client(sample.source).name}.{probes_of(mesh).namespace}"
    plane = mesh.spec.cluster(sample.source).control_plane or sample.source
    if not mesh.spec.cluster(plane).runs_istiod:
        return kubectl(
            mesh,
            sample.source,
            f"-n {probes_of(mesh).namespace} get virtualservices,destinationrules -o yaml",
        )
    return (
        istioctl(mesh, sample.source, f"proxy-config all {client} -o json")
        + f"  # routes, clusters and endpoints of {sample.host}"
    )


def _late(seen: Stage) -> str:
    """What is to be said of samples that were taken although not all was as it should be: there was no more time to wait for it."""
    return (
        ""
        if seen.first_seconds is not None
        else "; not everything was in force within the time that configuration may take"
    )


def _count(seen: Stage) -> int:
    return sum(len(sample.requests) for sample in seen.samples)
