"""Observes subsets: services whose rules lead requests to clusters, and who answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...istio_names import CLUSTER_LABEL
from ...probes import manifests, objects
from ...probes.sampling import by_name_alone, settled, taken
from ...probes.traffic import Traffic
from ...rights import ROUTES, RULES, SERVICES, uses
from ...samples import Sample, Stage
from ...statistics import MISS_PROBABILITY, sample_size
from ..site import Site

HEADER = "x-istio-mc-subset"
WEIGHTED_REQUESTS = 200
READY_REQUESTS = 5
"""How many requests by each header must be led right before configuration counts as in force."""

PINNED, OWN, NEXT, MIXED, WEIGHTED = "subset", "own cluster", "next cluster", "mixed", "weights"


@uses(SERVICES, RULES, ROUTES)
def pinned(site: Site) -> Stage:
    """A subset for each cluster, asked for from every cluster by a header."""
    traffic, name = site.traffic(), objects.unique("subset")
    names = _clusters(traffic)
    wanted = _pins(traffic, name)
    size = sample_size(len(names), MISS_PROBABILITY / len(wanted))
    made = _everywhere(traffic, name, _by_header(name, names))
    with objects.present(traffic.mesh, site.kubes(), traffic.probes.namespace, made):
        return settled(traffic, PINNED, wanted, size, headers=_pin_headers(names))


@uses(SERVICES, RULES, ROUTES)
def by_source(site: Site) -> Stage:
    """Routes by source: one service's to the own cluster, another's to the next."""
    traffic = site.traffic()
    names = _clusters(traffic)
    services = {OWN: objects.unique("source"), NEXT: objects.unique("source")}
    goals = {
        OWN: dict(zip(names, names, strict=True)),
        NEXT: dict(zip(names, [*names[1:], names[0]], strict=True)),
    }
    wanted = [
        Sample(source, case, traffic.host(services[case]), (goals[case][source],))
        for case in services
        for source in names
    ]
    made: dict[str, list[manifests.Manifest]] = {}
    for case, name in services.items():
        routes = [
            {"match": [{"sourceLabels": {CLUSTER_LABEL: source}}], "route": [_to(name, goal)]}
            for source, goal in goals[case].items()
        ]
        # a source that matches none goes anywhere, and is seen by that
        routes = [*_by_header(name, names), *routes, {"route": [{"destination": {"host": name}}]}]
        for cluster, manifest in _everywhere(traffic, name, routes).items():
            made.setdefault(cluster, []).extend(manifest)
    size = sample_size(len(names), MISS_PROBABILITY / len(wanted))
    with objects.present(traffic.mesh, site.kubes(), traffic.probes.namespace, made):
        ready = _ready(traffic, *services.values())
        return _judged(traffic, OWN, ready, wanted, size)


@uses(SERVICES, RULES, ROUTES)
def mixed(site: Site) -> Stage:
    """Subsets of a role within a cluster, and empty ones.

    Empty are those of another cluster's version. The service leads to both probe pods of every
    cluster, which share its version.
    """
    traffic, name = site.traffic(), objects.unique("mixed")
    names, host = _clusters(traffic), traffic.host(name)
    versions = {pod.cluster: pod.version for pod in traffic.probes.pods}
    subsets: dict[str, dict[str, str]] = {}
    wanted: list[Sample] = []
    headers: dict[str, dict[str, str]] = {}
    for place, target in enumerate(names):
        for role in ("server", "client"):
            subset, case = f"{role}-{place}", f"{role} in {target}"
            subsets[subset] = {manifests.ROLE_LABEL: role, CLUSTER_LABEL: target}
            headers[case] = {HEADER: subset}
            wanted += [Sample(source, case, host, (target,), role=role) for source in names]
        other = versions[names[(place + 1) % len(names)]]
        subset, case = f"none-{place}", f"{other} in {target}"
        subsets[subset] = {"version": other, CLUSTER_LABEL: target}
        headers[case] = {HEADER: subset}
        wanted += [Sample(source, case, host, ()) for source in names]
    rules = [
        objects.destination_rule(traffic.mesh.spec, name, subsets=subsets),
        objects.virtual_service(name, _by_header(name, subsets)),
    ]
    made = objects.everywhere(traffic.mesh, [], rules)
    for cluster in versions.keys() & made.keys():
        made[cluster].insert(0, _both_roles(name, versions[cluster]))
    size = math.ceil(math.log(MISS_PROBABILITY / len(wanted)) / math.log(1 / (2 * len(names))))
    with objects.present(traffic.mesh, site.kubes(), traffic.probes.namespace, made):
        return settled(traffic, MIXED, wanted, size, headers=headers)


@uses(SERVICES, RULES, ROUTES)
def weighted(site: Site) -> tuple[Stage, Mapping[str, int]]:
    """Shares for the clusters, and ``WEIGHTED_REQUESTS`` from each; the shares in percent."""
    traffic, name = site.traffic(), objects.unique("weights")
    names = _clusters(traffic)
    weights = shares(names)
    split = [{**_to(name, target), "weight": weight} for target, weight in weights.items()]
    made = _everywhere(traffic, name, [*_by_header(name, names), {"route": split}])
    wanted = [Sample(source, WEIGHTED, traffic.host(name), tuple(names)) for source in names]
    with objects.present(traffic.mesh, site.kubes(), traffic.probes.namespace, made):
        ready = _ready(traffic, name)
        return _judged(traffic, WEIGHTED, ready, wanted, WEIGHTED_REQUESTS), weights


def shares(clusters: Sequence[str]) -> dict[str, int]:
    """Percentages far from even ones: 80 for the first cluster, or a little more."""
    rest = 20 // max(1, len(clusters) - 1)
    return dict.fromkeys(clusters, rest) | {clusters[0]: 100 - rest * (len(clusters) - 1)}


def _ready(traffic: Traffic, *services: str) -> Stage:
    """Wait until every cluster reaches every subset of these services by its header.

    Then their routes are in force, and every gateway knows their subsets.
    """
    wanted = [sample for name in services for sample in _pins(traffic, name)]
    headers = _pin_headers(_clusters(traffic))
    return settled(traffic, PINNED, wanted, READY_REQUESTS, headers=headers)


def _judged(
    traffic: Traffic, name: str, ready: Stage, wanted: Sequence[Sample], size: int
) -> Stage:
    """Samples that are sent once, and those that were not ready in time."""
    addresses = by_name_alone(traffic)
    sent = traffic.from_each(
        wanted, lambda sample: taken(traffic, sample, size, addresses=addresses)
    )
    late = ready.samples if ready.first_seconds is None else ()
    astray = (sample for sample in late if not sample.as_expected)
    return Stage(name, (*sent, *astray), ready.first_seconds)


def _pins(traffic: Traffic, service: str) -> list[Sample]:
    """Every cluster's subset, from everywhere."""
    names, host = _clusters(traffic), traffic.host(service)
    return [
        Sample(source, f"{PINNED} {target}", host, (target,))
        for source in names
        for target in names
    ]


def _pin_headers(names: Sequence[str]) -> dict[str, dict[str, str]]:
    return {f"{PINNED} {target}": {HEADER: target} for target in names}


def _clusters(traffic: Traffic) -> list[str]:
    return [cluster.name for cluster in traffic.mesh.spec.data_planes]


def _everywhere(
    traffic: Traffic, name: str, routes: Sequence[Mapping[str, Any]]
) -> dict[str, list[manifests.Manifest]]:
    """A Service for the servers, its subset for each cluster, and its routes."""
    subsets = {cluster: {CLUSTER_LABEL: cluster} for cluster in _clusters(traffic)}
    service = manifests.extra_service(name, traffic.probes.service)
    rules = [
        objects.destination_rule(traffic.mesh.spec, name, subsets=subsets),
        objects.virtual_service(name, routes),
    ]
    return objects.everywhere(traffic.mesh, [service], rules)


def _by_header(name: str, subsets: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {"match": [{"headers": {HEADER: {"exact": subset}}}], "route": [_to(name, subset)]}
        for subset in subsets
    ]


def _to(name: str, subset: str) -> dict[str, Any]:
    return {"destination": {"host": name, "subset": subset}}


def _both_roles(name: str, version: str) -> manifests.Manifest:
    """A Service for both probe pods of a cluster, which share only their version."""
    service = manifests.extra_service(name, "")
    service["spec"]["selector"] = {"version": version}
    return service
