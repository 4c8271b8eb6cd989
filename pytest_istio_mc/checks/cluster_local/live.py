"""Judges of cluster-local services: what settings keep within clusters, and what not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

from ... import shell
from ...errors import ObservationError
from ...rights import Permission
from ...samples import Sample
from ...shell import Command
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_ROUTES, check
from ..judging import Found, Gap, names, pair_names, verdict_from
from ..remedies import Commands
from ..replies import failures, spread
from ..site import Here
from .facts import (
    ALL_LOCAL,
    BEFORE,
    CASES,
    IN_NAMED_NAMESPACE,
    LIFTED,
    NAMED_ALONE,
    NAMED_IN_ONE,
    NEVER_NAMED,
    SOME_LOCAL,
    ClusterLocal,
    Defaults,
    ServiceEndpoints,
)
from .observe import cluster_local, kept_local

DOCS = "https://istio.io/latest/docs/"
SHARED = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)

settings = partial(
    check,
    spec_url=DOCS + "ops/configuration/traffic-management/multicluster/#keeping-traffic-in-cluster",
    sees=cluster_local,
    requires=SHARED,
    explained_by=BELOW_ROUTES,
    exclusive=True,
    quick=True,
    effect="adds `serviceSettings` for services of the run to the mesh configuration of every "
    "control plane (ConfigMap istio in its namespace, or istio-REVISION) for some seconds: each "
    "change is pushed to every proxy of the mesh",
)


@settings(
    "MC-CLUSTERLOCAL-001",
    "A service that is named cluster-local is answered within each cluster only, and no other "
    "service is.",
)
def one_service(here: Here, seen: ClusterLocal) -> Verdict:
    """Every cluster answers it before the setting, and another service all the time."""
    return _kept(here, seen, NAMED_ALONE)


@settings(
    "MC-CLUSTERLOCAL-002",
    "All services of a namespace whose pattern is cluster-local are answered within each cluster "
    "only, and no other namespace's are.",
)
def one_namespace(here: Here, seen: ClusterLocal) -> Verdict:
    """Every cluster answers them before the setting, and another namespace's all the time."""
    return _kept(here, seen, IN_NAMED_NAMESPACE)


@settings(
    "MC-CLUSTERLOCAL-003",
    'With the cluster-local pattern "*", every service is answered within each cluster only.',
    permissions=(Permission.EVERY_SERVICE,),
    effect='adds `serviceSettings` for "*" to the mesh configuration of every control plane '
    "(ConfigMap istio in its namespace, or istio-REVISION): EVERY service of the mesh, yours too, "
    "is answered within its own cluster only for some seconds, and requests for services that run "
    "elsewhere fail",
)
def every_service(here: Here, seen: ClusterLocal) -> Verdict:
    """The service that no other setting names is no exception."""
    if not seen.has(ALL_LOCAL):
        raise ObservationError("every service", "was not kept local", "it was not allowed")
    found: list[Found] = []
    for case in CASES:
        found += _local(here, seen, seen.stage(ALL_LOCAL).of(case))
    return verdict_from(found, _figures(seen, ALL_LOCAL), pairs=pair_names(here.mesh))


@settings(
    "MC-CLUSTERLOCAL-004",
    "Once cluster-local settings are lifted, services are answered by every cluster again.",
)
def lifted(here: Here, seen: ClusterLocal) -> Verdict:
    """No restart is needed. The ConfigMaps were proven restored before these requests.

    Judged are the services that were kept local last: all, or those that settings named.
    """
    found: list[Found] = []
    last = seen.stage(ALL_LOCAL if seen.has(ALL_LOCAL) else SOME_LOCAL).samples
    meant = {(one.source, one.case) for one in last if set(one.expected) == {one.source}}
    kept = [sample for sample in last if not sample.astray]
    local = {(sample.source, sample.case) for sample in kept}
    why = "although no cluster-local setting is left"
    for sample in [one for case in CASES for one in seen.stage(LIFTED).of(case)]:
        if (sample.source, sample.case) not in meant:
            continue
        if (sample.source, sample.case) not in local:
            never = f"the service {sample.case} was never cluster-local"
            found.append(Gap(f"{sample.source}: {never}, so that nothing was lifted"))
        found += _crosses(here, seen, sample, why, "cl-not-lifted")
    verdict = verdict_from(found, _figures(seen, LIFTED), pairs=pair_names(here.mesh))
    for stage in seen.stages:
        what = f"mesh configuration in force ({stage.name})"
        verdict = verdict.with_convergence(what, stage.converged)
    return verdict


@settings(
    "MC-CLUSTERLOCAL-005",
    "Each control plane heeds its own cluster-local settings: what one of them is told keeps "
    "traffic of its own clusters only.",
    requires=(*SHARED, Feature.MULTI_PRIMARY),
)
def one_control_plane(here: Here, seen: ClusterLocal) -> Verdict:
    """A mesh that needs the settings everywhere needs them in every primary."""
    spec = here.mesh.spec
    told = {cluster.name for cluster in spec.served_by(spec.cluster(seen.only_in))}
    samples = seen.stage(SOME_LOCAL).of(NAMED_IN_ONE)
    found = list(_local(here, seen, [sample for sample in samples if sample.source in told]))
    why = f"although only {seen.only_in} was told to keep it local"
    for sample in samples:
        if sample.source not in told:
            found += _crosses(here, seen, sample, why, "cl-one-primary")
    kept = f"kept local in {names(sorted(told))}, served by {seen.only_in}, only"
    passed = f"{kept}; {_figures(seen, SOME_LOCAL)}"
    return verdict_from(found, passed, pairs=pair_names(here.mesh))


@check(
    "MC-CLUSTERLOCAL-006",
    "What Istio keeps local unasked stays local: the services of kube-system, kubernetes.default "
    "and istiod's own.",
    spec_url=DOCS + "reference/config/istio.mesh.v1alpha1/#MeshConfig-ServiceSettings-Settings",
    sees=kept_local,
    requires=SHARED,
    explained_by=BELOW_ROUTES,
)
def defaults(here: Here, seen: Defaults) -> Verdict:
    """No client's proxy has another cluster's endpoint for them.

    - It has such endpoints for the probe service: that shows that it could.
    - A service of ours in kube-system is answered within each cluster only, its twin in another
      namespace by every cluster.
    """
    found: list[Found] = []
    for cluster in here.mesh.spec.data_planes:
        proxy = f"{cluster.name}: the client's proxy"
        own = [held for held in seen.held if held.source == cluster.name]
        if not any(held.addresses for held in own):
            found.append(Gap(f"{proxy} has no endpoint of any service that is kept local"))
        if not any(held.foreign for held in seen.twins if held.source == cluster.name):
            lonely = "has no other cluster's endpoints at all, so that it says nothing"
            found.append(Gap(f"{proxy} {lonely}"))
        found += [_foreign(here, held) for held in own if held.foreign]
    samples = seen.stage.samples if seen.stage is not None else ()
    for sample in samples:
        found += _by_default(here, sample)
    services = len({held.service for held in seen.held})
    asked = f"{sum(len(sample.requests) for sample in samples)} requests"
    if not seen.stage:
        asked = "no request sent (--mesh-disruptive)"
    passed = f"{services} services have endpoints of the own cluster only; {asked}"
    return verdict_from(found, passed, pairs=pair_names(here.mesh))


def _foreign(here: Here, held: ServiceEndpoints) -> Finding:
    client = here.mesh.require_probes().client_pod(held.source)
    look = Commands(here.snapshot).proxy_config(held.source, "endpoints", client)
    return Finding(
        f"{held.source}: the client's proxy has endpoints of other clusters for {held.service}, "
        "which Istio keeps local unasked",
        clusters=(held.source,),
        expected=f"{held.service}:{held.port} at {names(held.own)}",
        seen=names(held.foreign),
        remedy=shell.then(_exceptions(here, held.source), shell.matching(held.service, look)),
        fault="default-cluster-local-lost",
    )


def _by_default(here: Here, sample: Sample) -> Iterator[Found]:
    source, service = sample.source, f"service {sample.case}"
    if not sample.requests or sample.missing:
        yield Gap(f"{source}: {names(sample.missing)} did not answer the {service}")
    if sample.astray:
        others = names(sorted(set(sample.answered) - {source}))
        yield Finding(
            f"{source}: a {service} is answered by {others}",
            clusters=(source,),
            expected=f"answers from {source} only",
            seen=spread(sample),
            remedy=_exceptions(here, source),
            fault="default-cluster-local-lost",
        )
    if sample.failed and not sample.missing:
        yield Gap(f"{source}: requests for the {service} failed: {failures(sample.requests)}")


def _exceptions(here: Here, source: str) -> Command:
    """Show the settings that may take a service out of the defaults."""
    config = here.mesh.spec.config_cluster(here.mesh.spec.control_plane_of(source))
    shown = Commands(here.snapshot).istio(config.name, "get configmap istio -o yaml")
    return shell.piped(shown, shell.command("grep -A4", "clusterLocal: false"))


def _kept(here: Here, seen: ClusterLocal, case: str) -> Verdict:
    """The services of a case stay in each cluster, those never named do not."""
    found = list(_local(here, seen, seen.stage(SOME_LOCAL).of(case)))
    for sample in seen.stage(SOME_LOCAL).of(NEVER_NAMED):
        found += _crosses(here, seen, sample, "although no setting names it", "cl-overbroad")
    return verdict_from(found, _figures(seen, SOME_LOCAL), pairs=pair_names(here.mesh))


def _before(seen: ClusterLocal, sample: Sample) -> Sample | None:
    """What the same client got from the same service before any setting."""
    samples = seen.stage(BEFORE).of(sample.case)
    return next((one for one in samples if one.source == sample.source), None)


def _local(here: Here, seen: ClusterLocal, samples: Collection[Sample]) -> Iterator[Found]:
    """What is wrong with services that should be answered within their cluster only."""
    if not samples:
        yield Gap("no request was sent for a service that should be cluster-local")
    for sample in samples:
        source, was = sample.source, _before(seen, sample)
        if was is None or len(was.answered) < 2:
            yield Gap(
                f"{source}: the service {sample.case} was answered by one cluster before, too, "
                "so that staying there says nothing"
            )
        elsewhere = sorted(set(sample.answered) - {source})
        if elsewhere:
            others = names(elsewhere)
            yield Finding(
                f"{source}: a cluster-local service ({sample.case}) is answered by {others}",
                clusters=(source, *elsewhere),
                expected=f"answers from {source} only",
                seen=spread(sample),
                remedy=_settings(here, seen, source),
                fault="cluster-local-not-heeded",
            )
        yield from _fails(here, sample)


def _crosses(
    here: Here, seen: ClusterLocal, sample: Sample, why: str, fault: str
) -> Iterator[Found]:
    """What is wrong with a service that should be answered by every cluster."""
    source, was = sample.source, _before(seen, sample)
    silent_before = set(was.missing) if was is not None else set(sample.expected)
    missing = [cluster for cluster in sample.missing if cluster not in silent_before]
    if was is None or not was.answered:
        yield Gap(f"{source}: the service {sample.case} was not answered before, either")
    elif was.missing:
        yield Gap(
            f"{source}: {names(was.missing)} did not answer the service {sample.case} "
            "before any setting, either"
        )
    if missing:
        yield Finding(
            f"{source}: a service ({sample.case}) is not answered by {names(missing)}, {why}",
            clusters=(source, *missing),
            expected=f"answers from {names(sample.expected)}",
            seen=spread(sample),
            remedy=_settings(here, seen, source),
            fault=fault,
        )
    yield from _fails(here, sample)


def _fails(here: Here, sample: Sample) -> Iterator[Found]:
    if not sample.failed:
        return
    source, client = sample.source, here.mesh.require_probes().client_pod(sample.source)
    held = Commands(here.snapshot).proxy_config(source, "endpoints", client)
    yield Finding(
        f"{source}: {len(sample.failed)} of {len(sample.requests)} requests "
        f"for a service ({sample.case}) fail",
        clusters=tuple(dict.fromkeys((source, *sample.missing))),
        expected="every request answered",
        seen=f"{failures(sample.requests)}; answers: {spread(sample)}",
        remedy=shell.matching(sample.host, held),
        fault="cluster-local-requests-fail",
    )


def _settings(here: Here, seen: ClusterLocal, source: str) -> Command:
    """Show what a cluster's control plane should have been told, and what it knows."""
    spec, commands = here.mesh.spec, Commands(here.snapshot)
    plane = spec.control_plane_of(source)
    config = spec.config_cluster(plane).name
    namespace, _, name = seen.changed.get(config, f"{spec.istio_namespace}/istio").partition("/")
    told = commands.kubectl(config, "get", f"configmap/{name}", "-o", "yaml", namespace=namespace)
    istiod = "istiod" + name.removeprefix("istio")
    asked = (f"deploy/{istiod}", *["--", "pilot-discovery", "request", "GET", "/debug/mesh"])
    return shell.then(told, commands.kubectl(plane.name, "exec", *asked, namespace=namespace))


def _figures(seen: ClusterLocal, stage: str) -> str:
    found = seen.stage(stage)
    number = sum(len(sample.requests) for sample in found.samples)
    took = "never as it should be everywhere"
    if found.first_seconds is not None:
        took = f"in force {found.first_seconds:.1f} s after the change"
    changed = ", ".join(f"{place} in {cluster}" for cluster, place in seen.changed.items())
    return f"{number} requests, {took} of {changed}"
