"""Cluster-local services, live: what ``serviceSettings`` of the mesh configuration keep within clusters, and what they do not."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ...mesh import Mesh
from ...samples import Sample
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_ROUTES, Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import istioctl, kubectl
from ..replies import failures, pair_names, probes_of, spread
from .facts import (
    ALL,
    BEFORE,
    LIFTED,
    NAMESPACE,
    ONE,
    OTHER,
    SOLO,
    SOME,
    ClusterLocal,
    Defaults,
    Held,
)

SETTINGS = "https://istio.io/latest/docs/ops/configuration/traffic-management/multicluster/#keeping-traffic-in-cluster"
_NEEDS = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)


@check(
    "MC-CLUSTERLOCAL-001",
    "A service that is named cluster-local is answered within each cluster only, and no other service is.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=SETTINGS,
    explained_by=BELOW_ROUTES,
    exclusive=True,
)
def one_service(mesh: Mesh, seen: ClusterLocal) -> Verdict:
    """Before, it was answered by every cluster; another service, never named, was all the time."""
    return _kept(mesh, seen, SOME, ONE)


@check(
    "MC-CLUSTERLOCAL-002",
    "All services of a namespace whose pattern is cluster-local are answered within each cluster only, and no other namespace's are.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=SETTINGS,
    explained_by=BELOW_ROUTES,
    exclusive=True,
)
def one_namespace(mesh: Mesh, seen: ClusterLocal) -> Verdict:
    """Before, they were answered by every cluster; a service of another namespace was all the time."""
    return _kept(mesh, seen, SOME, NAMESPACE)


@check(
    "MC-CLUSTERLOCAL-003",
    'With the cluster-local pattern "*", every service is answered within each cluster only.',
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=SETTINGS,
    explained_by=BELOW_ROUTES,
    exclusive=True,
)
def every_service(mesh: Mesh, seen: ClusterLocal) -> Verdict:
    """So is the one that was answered by every cluster a moment before."""
    found: list[Found] = []
    for case in (ONE, NAMESPACE, SOLO, OTHER):
        found += _local(mesh, seen, seen.stage(ALL).of(case))
    return verdict_from(found, _figures(seen, ALL), pairs=pair_names(mesh))


@check(
    "MC-CLUSTERLOCAL-004",
    "Once cluster-local settings are lifted, services are answered by every cluster again.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url=SETTINGS,
    explained_by=BELOW_ROUTES,
    exclusive=True,
)
def lifted(mesh: Mesh, seen: ClusterLocal) -> Verdict:
    """No restart is needed for that. That the ConfigMaps are what they were was proven before these requests were sent."""
    found: list[Found] = []
    local = {
        (sample.source, sample.case) for sample in seen.stage(ALL).samples if not sample.astray
    }
    for case in (ONE, NAMESPACE, SOLO, OTHER):
        for sample in seen.stage(LIFTED).of(case):
            if (sample.source, sample.case) not in local:
                found.append(
                    Gap(
                        f"{sample.source}: the service {case} was never cluster-local, so that nothing was lifted"
                    )
                )
            found += _crosses(
                mesh, seen, sample, "although no cluster-local setting is left", "cl-not-lifted"
            )
    return verdict_from(found, _figures(seen, LIFTED), pairs=pair_names(mesh))


@check(
    "MC-CLUSTERLOCAL-005",
    "Each control plane heeds its own cluster-local settings: what one of them is told keeps traffic of its own clusters only.",
    kind=Kind.LIVE,
    requires=(*_NEEDS, Feature.MULTI_PRIMARY),
    spec_url=SETTINGS,
    explained_by=BELOW_ROUTES,
    exclusive=True,
)
def one_control_plane(mesh: Mesh, seen: ClusterLocal) -> Verdict:
    """The settings are not shared: a mesh that needs them everywhere needs them in every primary."""
    found: list[Found] = []
    told = {cluster.name for cluster in mesh.spec.served_by(mesh.spec.cluster(seen.only_in))}
    samples = seen.stage(SOME).of(SOLO)
    found += _local(mesh, seen, [sample for sample in samples if sample.source in told])
    for sample in samples:
        if sample.source not in told:
            found += _crosses(
                mesh,
                seen,
                sample,
                f"although only {seen.only_in} was told to keep it local",
                "cl-one-primary",
            )
    otherwise = f"kept local in {names(sorted(told))}, served by {seen.only_in}, only; {_figures(seen, SOME)}"
    return verdict_from(found, otherwise, pairs=pair_names(mesh))


@check(
    "MC-CLUSTERLOCAL-006",
    "What Istio keeps local unasked stays local: the services of kube-system, kubernetes.default and istiod's own.",
    kind=Kind.LIVE,
    requires=_NEEDS,
    spec_url="https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ServiceSettings-Settings",
    explained_by=BELOW_ROUTES,
)
def defaults(mesh: Mesh, seen: Defaults) -> Verdict:
    """No client's proxy has another cluster's endpoint for them, though it has for the probe service; and a service of ours in
    kube-system was answered within each cluster only, while its twin in another namespace was answered by every cluster."""
    found: list[Found] = []
    for cluster in mesh.spec.data_planes:
        own = [held for held in seen.held if held.source == cluster.name]
        if not any(held.addresses for held in own):
            found.append(
                Gap(
                    f"{cluster.name}: the client's proxy has no endpoint of any service that is kept local"
                )
            )
        if not any(held.foreign for held in seen.twins if held.source == cluster.name):
            found.append(
                Gap(
                    f"{cluster.name}: the client's proxy has no other cluster's endpoints at all, so that it says nothing"
                )
            )
        found += [_foreign(mesh, held) for held in own if held.foreign]
    for sample in seen.stage.samples if seen.stage is not None else ():
        found += _by_default(mesh, sample)
    services = len({held.service for held in seen.held})
    asked = (
        f"{sum(len(sample.requests) for sample in seen.stage.samples)} requests"
        if seen.stage
        else "no request sent (--mesh-disruptive)"
    )
    return verdict_from(
        found,
        f"{services} services have endpoints of the own cluster only; {asked}",
        pairs=pair_names(mesh),
    )


def _foreign(mesh: Mesh, held: Held) -> Finding:
    client = f"{probes_of(mesh).client(held.source).name}.{probes_of(mesh).namespace}"
    return Finding(
        f"{held.source}: the client's proxy has endpoints of other clusters for {held.service}, which Istio keeps local unasked",
        clusters=(held.source,),
        expected=f"{held.service}:{held.port} at {names(held.own)}",
        seen=names(held.foreign),
        remedy=_exceptions(mesh, held.source)
        + f" && {istioctl(mesh, held.source, f'proxy-config endpoints {client}')} | grep {held.service}",
        fault="default-cluster-local-lost",
    )


def _by_default(mesh: Mesh, sample: Sample) -> Iterator[Found]:
    if not sample.requests or sample.missing:
        yield Gap(
            f"{sample.source}: {names(sample.missing)} did not answer the service {sample.case}"
        )
    if sample.astray:
        yield Finding(
            f"{sample.source}: a service {sample.case} is answered by {names(sorted(set(sample.answered) - {sample.source}))}",
            clusters=(sample.source,),
            expected=f"answers from {sample.source} only",
            seen=spread(sample),
            remedy=_exceptions(mesh, sample.source),
            fault="default-cluster-local-lost",
        )
    if sample.failed and not sample.missing:
        yield Gap(
            f"{sample.source}: requests for the service {sample.case} failed: {failures(sample.requests)}"
        )


def _exceptions(mesh: Mesh, source: str) -> str:
    """Show the settings that may take a service out of the defaults."""
    spec = mesh.spec
    plane = spec.cluster(spec.cluster(source).control_plane or source)
    config = spec.config_cluster(plane).name
    return (
        kubectl(mesh, config, f"-n {spec.istio_namespace} get configmap istio -o yaml")
        + " | grep -A4 'clusterLocal: false'"
    )


def _kept(mesh: Mesh, seen: ClusterLocal, stage: str, case: str) -> Verdict:
    """The services of a case stayed within each cluster in that stage, those never named did not."""
    found = list(_local(mesh, seen, seen.stage(stage).of(case)))
    for sample in seen.stage(stage).of(OTHER):
        found += _crosses(mesh, seen, sample, "although no setting names it", "cl-overbroad")
    return verdict_from(found, _figures(seen, stage), pairs=pair_names(mesh))


def _local(mesh: Mesh, seen: ClusterLocal, samples: Collection[Sample]) -> Iterator[Found]:
    """What is wrong with services that should be answered within their cluster only."""
    if not samples:
        yield Gap("no request was sent for a service that should be cluster-local")
    for sample in samples:
        was = next(
            (one for one in seen.stage(BEFORE).of(sample.case) if one.source == sample.source), None
        )
        if was is None or len(was.answered) < 2:
            yield Gap(
                f"{sample.source}: the service {sample.case} was answered by one cluster before, too, so that staying there says nothing"
            )
        elsewhere = {
            cluster: count for cluster, count in sample.answered.items() if cluster != sample.source
        }
        if elsewhere:
            yield Finding(
                f"{sample.source}: a cluster-local service ({sample.case}) is answered by {names(sorted(elsewhere))}",
                clusters=(sample.source, *sorted(elsewhere)),
                expected=f"answers from {sample.source} only",
                seen=spread(sample),
                remedy=_settings(mesh, seen, sample.source),
                fault="cluster-local-not-heeded",
            )
        yield from _fails(mesh, sample)


def _crosses(
    mesh: Mesh, seen: ClusterLocal, sample: Sample, why: str, fault: str
) -> Iterator[Found]:
    """What is wrong with a service that should be answered by every cluster."""
    was = next(
        (one for one in seen.stage(BEFORE).of(sample.case) if one.source == sample.source), None
    )
    silent_before = set(was.missing) if was is not None else set(sample.expected)
    missing = [cluster for cluster in sample.missing if cluster not in silent_before]
    if was is None or not was.answered:
        yield Gap(f"{sample.source}: the service {sample.case} was not answered before, either")
    elif was.missing:
        yield Gap(
            f"{sample.source}: {names(was.missing)} did not answer the service {sample.case} before any setting, either"
        )
    if missing:
        yield Finding(
            f"{sample.source}: a service ({sample.case}) is not answered by {names(missing)}, {why}",
            clusters=(sample.source, *missing),
            expected=f"answers from {names(sample.expected)}",
            seen=spread(sample),
            remedy=_settings(mesh, seen, sample.source),
            fault=fault,
        )
    yield from _fails(mesh, sample)


def _fails(mesh: Mesh, sample: Sample) -> Iterator[Found]:
    if sample.failed:
        client = f"{probes_of(mesh).client(sample.source).name}.{probes_of(mesh).namespace}"
        yield Finding(
            f"{sample.source}: {len(sample.failed)} of {len(sample.requests)} requests for a service ({sample.case}) fail",
            clusters=tuple(dict.fromkeys((sample.source, *sample.missing))),
            expected="every request answered",
            seen=f"{failures(sample.requests)}; answers: {spread(sample)}",
            remedy=istioctl(
                mesh, sample.source, f"proxy-config endpoints {client} | grep {sample.host}"
            ),
            fault="cluster-local-requests-fail",
        )


def _settings(mesh: Mesh, seen: ClusterLocal, source: str) -> str:
    """Show what the control plane of a cluster should have been told, and what it knows."""
    spec = mesh.spec
    plane = spec.cluster(spec.cluster(source).control_plane or source)
    config = spec.config_cluster(plane).name
    namespace, _, name = seen.changed.get(config, f"{spec.istio_namespace}/istio").partition("/")
    told = kubectl(mesh, config, f"-n {namespace} get configmap {name} -o yaml")
    istiod = "istiod" + name.removeprefix("istio")
    return f"{told} && {kubectl(mesh, plane.name, f'-n {namespace} exec deploy/{istiod} -- pilot-discovery request GET /debug/mesh')}"


def _figures(seen: ClusterLocal, stage: str) -> str:
    found = seen.stage(stage)
    number = sum(len(sample.requests) for sample in found.samples)
    took = (
        f"in force {found.first_seconds:.1f} s after the change"
        if found.first_seconds is not None
        else "never as it should be everywhere"
    )
    return f"{number} requests, {took} of {', '.join(f'{place} in {cluster}' for cluster, place in seen.changed.items())}"
