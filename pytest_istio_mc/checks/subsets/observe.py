"""Subsets: services whose rules lead requests to clusters of their choice, each made for one check, and what came of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...probes import manifests, objects
from ...probes.sampling import by_name_alone, settled, taken
from ...probes.traffic import Traffic
from ...samples import Sample, Stage
from ...statistics import MISS_PROBABILITY, sample_size

if TYPE_CHECKING:
    from ...kube import Kube

CLUSTER_LABEL = "topology.istio.io/cluster"
"""The label that Istio gives every endpoint and every proxy (istio.io, "Partitioning Services")."""

HEADER = "x-istio-mc-subset"
WEIGHTED_REQUESTS = 200
READY_REQUESTS = 5
"""How many of the requests whose only purpose is to know when configuration is in force have to be led right, of each kind."""

PINNED, OWN, NEXT, MIXED, WEIGHTED = "subset", "own cluster", "next cluster", "mixed", "weights"


def pinned(traffic: Traffic, kubes: Mapping[str, Kube]) -> Stage:
    """A subset for each cluster, chosen by a header; every one asked for from every cluster."""
    names = _clusters(traffic)
    name = objects.unique("subset")
    wanted = _pins(traffic, name)
    with objects.present(
        kubes, traffic.probes.namespace, _everywhere(traffic, name, _by_header(name, names))
    ):
        return settled(
            traffic,
            PINNED,
            wanted,
            sample_size(len(names), MISS_PROBABILITY / len(wanted)),
            headers=_pin_headers(names),
        )


def by_source(traffic: Traffic, kubes: Mapping[str, Kube]) -> Stage:
    """Two services whose routes look at where the request comes from: one leads it to its own cluster, the other to the next one."""
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
            {
                "match": [{"sourceLabels": {CLUSTER_LABEL: source}}],
                "route": [_to(name, goals[case][source])],
            }
            for source in names
        ]
        # whoever matches none goes anywhere, and is seen by that
        routes = [*_by_header(name, names), *routes, {"route": [{"destination": {"host": name}}]}]
        for cluster, manifest in _everywhere(traffic, name, routes).items():
            made.setdefault(cluster, []).extend(manifest)
    with objects.present(kubes, traffic.probes.namespace, made):
        ready = _ready(traffic, *services.values())
        return _judged(
            traffic, OWN, ready, wanted, sample_size(len(names), MISS_PROBABILITY / len(wanted))
        )


def mixed(traffic: Traffic, kubes: Mapping[str, Kube]) -> Stage:
    """Subsets of a role within a cluster, each of the two kinds of probe pods being one version of the service, and subsets that are
    empty, because that version is in another cluster."""
    names = _clusters(traffic)
    versions = {pod.cluster: pod.version for pod in traffic.probes.pods}
    name = objects.unique("mixed")
    subsets: dict[str, dict[str, str]] = {}
    wanted: list[Sample] = []
    headers: dict[str, dict[str, str]] = {}
    host = traffic.host(name)
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
    made = {
        cluster: [
            *([_both_roles(name, versions[cluster])] if cluster in versions else ()),
            *configuration,
        ]
        for cluster, configuration in objects.everywhere(traffic.mesh, [], rules).items()
    }
    with objects.present(kubes, traffic.probes.namespace, made):
        size = math.ceil(math.log(MISS_PROBABILITY / len(wanted)) / math.log(1 / (2 * len(names))))
        return settled(traffic, MIXED, wanted, size, headers=headers)


def weighted(traffic: Traffic, kubes: Mapping[str, Kube]) -> tuple[Stage, Mapping[str, int]]:
    """Shares for the clusters, and ``WEIGHTED_REQUESTS`` from every cluster; the shares by cluster, in percent."""
    names = _clusters(traffic)
    name = objects.unique("weights")
    weights = shares(names)
    routes = [
        *_by_header(name, names),
        {"route": [{**_to(name, target), "weight": weight} for target, weight in weights.items()]},
    ]
    wanted = [Sample(source, WEIGHTED, traffic.host(name), tuple(names)) for source in names]
    with objects.present(kubes, traffic.probes.namespace, _everywhere(traffic, name, routes)):
        return _judged(traffic, WEIGHTED, _ready(traffic, name), wanted, WEIGHTED_REQUESTS), weights


def shares(clusters: Sequence[str]) -> dict[str, int]:
    """Percentages far from even ones: 80 for the first cluster, the rest for the others alike."""
    rest = 20 // max(1, len(clusters) - 1)
    return {
        cluster: rest if place else 100 - rest * (len(clusters) - 1)
        for place, cluster in enumerate(clusters)
    }


def _ready(traffic: Traffic, *services: str) -> Stage:
    """Wait until every cluster reaches every subset by its header: then the routes of these services are in force, and every gateway
    knows their subsets."""
    wanted = [sample for name in services for sample in _pins(traffic, name)]
    return settled(
        traffic, PINNED, wanted, READY_REQUESTS, headers=_pin_headers(_clusters(traffic))
    )


def _judged(
    traffic: Traffic, name: str, ready: Stage, wanted: Sequence[Sample], size: int
) -> Stage:
    """Samples that are sent once, and the ones by which it was known that they can be, where those did not come out well."""
    addresses = by_name_alone(traffic)
    sent = traffic.from_each(
        wanted, lambda sample: taken(traffic, sample, size, addresses=addresses)
    )
    astray = (
        ()
        if ready.first_seconds is not None
        else tuple(sample for sample in ready.samples if not sample.as_expected)
    )
    return Stage(name, (*sent, *astray), ready.first_seconds)


def _pins(traffic: Traffic, service: str) -> list[Sample]:
    """Every cluster's subset, from everywhere."""
    names = _clusters(traffic)
    return [
        Sample(source, f"{PINNED} {target}", traffic.host(service), (target,))
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
    """A Service that leads to the servers, its subset for each cluster, and its routes."""
    subsets = {cluster: {CLUSTER_LABEL: cluster} for cluster in _clusters(traffic)}
    rules = [
        objects.destination_rule(traffic.mesh.spec, name, subsets=subsets),
        objects.virtual_service(name, routes),
    ]
    return objects.everywhere(
        traffic.mesh, [manifests.extra_service(name, traffic.probes.service)], rules
    )


def _by_header(name: str, subsets: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {"match": [{"headers": {HEADER: {"exact": subset}}}], "route": [_to(name, subset)]}
        for subset in subsets
    ]


def _to(name: str, subset: str) -> dict[str, Any]:
    return {"destination": {"host": name, "subset": subset}}


def _both_roles(name: str, version: str) -> manifests.Manifest:
    """A Service that leads to both probe pods of a cluster, which share nothing but their version."""
    service = manifests.extra_service(name, "")
    service["spec"]["selector"] = {"version": version}
    return service
