"""Localities, live: services whose nearest servers go away, fail and come back, and who answers meanwhile."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..collect.envoy import ADMIN_PORT, reduce_dump
from ..errors import KubeError, NotInTime
from ..eventually import consistently, eventually
from ..localities import ClientView, Order, Places, Stage, answered_in, order
from ..observations import Request
from . import manifests
from .traffic import Traffic, sample_size
from .workloads import side_by_side

if TYPE_CHECKING:
    from ..kube import Kube

FAILURES_TO_EJECT = 3
EJECTION_SECONDS = 1.0
OUTLIER_DETECTION: Mapping[str, Any] = {
    "consecutive5xxErrors": FAILURES_TO_EJECT,
    "interval": "100ms",
    "baseEjectionTime": f"{EJECTION_SECONDS:g}s",
    # the default, 10 %, ejects none of a few endpoints, whatever they do
    "maxEjectionPercent": 100,
}
"""Without outlier detection Istio fails over to nobody; this one is quick, so that a check is, too."""

SETTLED_SECONDS = 1.05
"""Envoy tells its workers about endpoints that fail or recover at most once a second (``update_merge_window``), so that an ejection right
after another change is late; with a rest of that long before it, the requests that fail are those that it takes to eject."""

_BATCH = 5
_NOBODY = "nobody"


@contextmanager
def own_service(traffic: Traffic, kubes: Mapping[str, Kube], purpose: str, policy: Mapping[str, Any]) -> Iterator[str]:
    """A Service of that purpose, which leads to the probe servers in every cluster, with a traffic policy wherever configuration is
    read; yields its name. Both are gone at the end."""
    spec, probes = traffic.mesh.spec, traffic.probes
    name = f"locality-{purpose}-{uuid.uuid4().hex[:6]}"
    clusters = [cluster.name for cluster in spec.data_planes]
    config_clusters = {spec.config_cluster(plane).name for plane in spec.control_planes}
    rule = destination_rule(name, policy)

    def install(cluster: str) -> None:
        if cluster in config_clusters:
            kubes[cluster].apply(rule, namespace=probes.namespace)
        kubes[cluster].apply(manifests.extra_service(name, probes.service), namespace=probes.namespace)

    def remove(cluster: str) -> None:
        kubes[cluster].delete("Service", name, probes.namespace)
        if cluster in config_clusters:
            kubes[cluster].delete("DestinationRule.networking.istio.io", name, probes.namespace)

    try:
        side_by_side(install, clusters)
        yield name
    finally:
        side_by_side(remove, clusters)


def destination_rule(name: str, policy: Mapping[str, Any]) -> manifests.Manifest:
    """A DestinationRule with a traffic policy for the Service of the same name."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name},
        "spec": {"host": name, "trafficPolicy": dict(policy)},
    }


def failovers(traffic: Traffic, kubes: Mapping[str, Kube], where: Places) -> tuple[Stage, ...]:
    """From every cluster at the same time: who answers when all are there, when the nearest have no endpoints, tier by tier, when all
    are back, when the nearest fail, tier by tier, and when they do no more."""
    spec = traffic.mesh.spec
    sources = [cluster.name for cluster in spec.data_planes]
    found = traffic.from_each(sources, lambda source: _journey(traffic, kubes, order(spec, where, source)))
    return tuple(stage for stages in found for stage in stages)


def _journey(traffic: Traffic, kubes: Mapping[str, Kube], tiers: Order) -> list[Stage]:
    stages: list[Stage] = []
    with own_service(traffic, kubes, f"from-{tiers.source}", {"outlierDetection": OUTLIER_DETECTION}) as service:
        for cluster in tiers.unseen:
            select(traffic, kubes, service, cluster.partition(":")[0], _NOBODY)

        def go(name: str, **change: Any) -> bool:
            stages.append(observe_stage(traffic, kubes, tiers, service, name, **change))
            return stages[-1].seconds is not None

        if not go("all are there"):
            return stages
        gone: tuple[str, ...] = ()
        for tier in tiers.tiers[:-1]:
            side_by_side(lambda cluster: select(traffic, kubes, service, cluster, _NOBODY), tier.clusters)
            gone += tier.clusters
            if not go(f"without endpoints of {' and '.join(gone)}", absent=gone):
                break
        if gone:
            side_by_side(lambda cluster: select(traffic, kubes, service, cluster, traffic.probes.service), gone)
            if not go("all are back", rest_seconds=SETTLED_SECONDS):
                return stages
        failing: tuple[str, ...] = ()
        for tier in tiers.tiers[:-1]:
            failing += tier.clusters
            if not go(f"while {' and '.join(failing)} fail", failing=failing):
                break
        if failing:
            go("all are well again")
    return stages


def select(traffic: Traffic, kubes: Mapping[str, Kube], service: str, cluster: str, app: str) -> None:
    """Let the Service of that name in ``cluster`` lead to the pods of ``app``."""
    kubes[cluster].merge("Service", service, traffic.probes.namespace, {"spec": {"selector": {"app": app}}})


def observe_stage(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    tiers: Order,
    service: str,
    name: str,
    *,
    absent: tuple[str, ...] = (),
    failing: tuple[str, ...] = (),
    rest_seconds: float = 0.0,
) -> Stage:
    """Ask until only the nearest that can answer have done so a few times in a row, then for the sample; go on for ``rest_seconds``."""
    source, nearest = tiers.source, tiers.nearest((*absent, *failing))
    host, address = traffic.host(service), detour(traffic, source)
    budget = traffic.timeouts.endpoint_propagation + (0 if failing else EJECTION_SECONDS)
    headers = {manifests.FAIL_IN: ",".join(failing)} if failing else {}
    sent: list[Request] = []
    sample: list[Request] = []
    seconds: float | None = None

    def ask(into: list[Request], count: int = _BATCH) -> tuple[Request, ...]:
        batch = traffic.requests(source, host, manifests.HTTP, count=count, headers=headers, address=address)
        into.extend(batch)
        return batch

    try:
        met = eventually(lambda: ask(sent), lambda batch: answered_by(batch, nearest), within_seconds=budget, what=name, every_seconds=0.01)
        seconds = met.first_seconds
        ask(sample, sample_size(len(tiers.clusters)))
        if rest_seconds:
            consistently(lambda: ask(sample), lambda _: True, for_seconds=rest_seconds, what=name, every_seconds=0.05)
    except NotInTime:
        pass  # seconds says so
    return Stage(
        source=source,
        host=host,
        name=name,
        nearest=nearest,
        absent=absent,
        failing=failing,
        requests=tuple(sent),
        sample=tuple(sample),
        seconds=seconds,
        budget_seconds=budget,
        view=client_view(traffic, kubes, source, service),
    )


def detour(traffic: Traffic, source: str) -> str:
    """An address in the mesh to send requests to for a new Service, whose own name may be remembered as unknown by the resolver.

    The sidecar looks at the name in the request alone. Until it knows that, whoever has the address answers: the clients, who say so.
    """
    return next(iter(traffic.resolve(source, traffic.host(manifests.CLIENT))), "")


def answered_by(batch: Collection[Request], clusters: Collection[str]) -> bool:
    """Whether every one of these requests was answered by a server, and of these clusters only."""
    return all(answered_in(request) in clusters for request in batch)


def client_view(traffic: Traffic, kubes: Mapping[str, Kube], source: str, service: str) -> ClientView:
    """What the client's proxy in ``source`` holds for a service of ours."""
    probes = traffic.probes
    pod, host = probes.client(source).name, f"{service}.{probes.namespace}.svc."
    pattern = f".*{host.replace('.', '[.]')}.*"

    def dump(resource: str) -> list[dict[str, Any]]:
        query = f"/config_dump?include_eds&resource={resource}&name_regex={pattern}"
        return json.loads(kubes[source].http_get(probes.namespace, pod, ADMIN_PORT, query)).get("configs") or []

    try:
        clusters, endpoints = dump("dynamic_active_clusters"), dump("dynamic_endpoint_configs")
    except (KubeError, ValueError) as error:
        return ClientView(error=str(error))
    section = {"@type": "EndpointsConfigDump", "dynamic_endpoint_configs": endpoints}
    held = reduce_dump(probes.namespace, pod, "client", {"configs": [section]}, host).endpoints
    policies = [(entry.get("cluster") or {}).get("outlier_detection") for entry in clusters]
    return ClientView(tuple(one for ones in held.values() for one in ones), next(iter(policies), None))
