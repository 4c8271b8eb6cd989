"""Moves: what shows everywhere in a mesh where a gateway is reached otherwise, or there are two."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

from tests.checks.unusual.case import Draft, Json

GATEWAY = "istio-eastwestgateway"
SYSTEM = "istio-system"

Place = tuple[str, int]


def gateways(mesh: Draft) -> Iterator[tuple[str, Json]]:
    """Cluster and Service of every recorded east-west gateway."""
    for name, _ in mesh:
        for service in mesh.listed(name, "Service"):
            if service["metadata"]["name"] == GATEWAY:
                yield name, service


def address_of(service: Json) -> str:
    """The recorded address of a gateway: that of its load balancer."""
    found: str = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    return found


def lead_to(mesh: Draft, old: str, new: Sequence[Place], **row: object) -> None:
    """Lead istiods, and through them all proxies, to ``new`` instead of the gateway at ``old``.

    ``row``: fields of the rows of ``networkz``.
    """
    for istiod in mesh.istiods():
        rows = istiod["debug"]["networkz"]
        rows[:] = [
            copy.deepcopy(one) | {"Addr": address, "Port": port} | row
            for one in rows
            for address, port in (new if one["Addr"] == old else [(one["Addr"], one["Port"])])
        ]
    lead_proxies_to(mesh, old, new)
    # remote clusters look for their istiod at the same gateway
    for name, cluster in mesh if new else ():
        for one in cluster.get("control_plane", ()):
            one["address"] = new[0][0] if one["address"] == old else one["address"]
        for piece in mesh.listed(name, "EndpointSlice"):
            for endpoint in piece["endpoints"]:
                there = [new[0][0] if one == old else one for one in endpoint["addresses"]]
                endpoint["addresses"] = there


def lead_proxies_to(mesh: Draft, old: str, new: Sequence[Place]) -> None:
    """Lead all proxies to ``new`` instead of the gateway at ``old``, their istiods not."""

    def moved(one: Json) -> list[Json]:
        if one["address"] != old:
            return [one]
        return [one | {"address": address, "port": port} for address, port in new]

    change_endpoints(mesh, lambda held: [new for one in held for new in moved(one)])


def change_endpoints(mesh: Draft, change: Callable[[list[Json]], list[Json]]) -> None:
    """Change what proxies hold of the probe service."""
    for _, proxy in mesh.proxies():
        for name, held in proxy.get("endpoints", {}).items():
            proxy["endpoints"][name] = change(held)


def second_gateway(mesh: Draft, cluster: str, name: str, address: str) -> Json:
    """Give a cluster another gateway like its first, with pods of its own, and return its Service.

    Nobody knows it as a gateway yet.
    """
    service = copy.deepcopy(mesh.find(cluster, "Service", GATEWAY))
    labels = {"app": name, "istio": name}
    kept = {
        key: value
        for key, value in service["metadata"]["labels"].items()
        if key not in ("app", "istio", "topology.istio.io/network")
    }
    service["metadata"] |= {"name": name, "uid": f"uid-{name}", "labels": kept | labels}
    service["spec"] |= {"selector": dict(labels)}
    service["status"] = {"loadBalancer": {"ingress": [{"ip": address}]}}
    mesh.listed(cluster, "Service").append(service)
    _pods(mesh, cluster, name, labels)
    return service


def _pods(mesh: Draft, cluster: str, name: str, labels: Json) -> None:
    first = next(
        one for one in mesh.listed(cluster, "Pod") if one["metadata"]["name"].startswith(GATEWAY)
    )
    recorded, pod_name = first["metadata"]["name"], f"{name}-abc"
    pod = copy.deepcopy(first)
    kept = {
        key: value
        for key, value in pod["metadata"]["labels"].items()
        if key not in ("app", "istio", "topology.istio.io/network")
    }
    pod["metadata"] |= {"name": pod_name, "uid": f"uid-{pod_name}"}
    pod["metadata"]["labels"] = kept | labels
    mesh.listed(cluster, "Pod").append(pod)
    [piece] = [
        copy.deepcopy(one)
        for one in mesh.listed(cluster, "EndpointSlice")
        if one["metadata"]["labels"].get("kubernetes.io/service-name") == GATEWAY
    ]
    piece["metadata"] |= {"name": f"{name}-xyz"}
    piece["metadata"]["labels"] = {"kubernetes.io/service-name": name}
    for endpoint in piece["endpoints"]:
        endpoint["target"] = pod_name
    mesh.listed(cluster, "EndpointSlice").append(piece)
    own = mesh.clusters[cluster]["proxies"]
    [proxy] = [copy.deepcopy(one) for one in own if one["pod"] == recorded]
    proxy |= {"pod": pod_name, "labels": dict(pod["metadata"]["labels"])}
    own.append(proxy)
    for istiod in mesh.istiods():
        rows = istiod["debug"]["syncz"]
        known = [one for one in rows if one["proxy"] == f"{recorded}.{SYSTEM}"]
        rows += [copy.deepcopy(one) | {"proxy": f"{pod_name}.{SYSTEM}"} for one in known]


def without_passing(mesh: Draft, cluster: str, name: str) -> None:
    """Make a gateway's Envoy one that nothing is passed through: it is another kind of gateway."""
    for where, proxy in mesh.proxies("east-west"):
        if where == cluster and proxy["pod"].startswith(name):
            proxy["chains"] = {"8080": [{}]}
            proxy["metadata"].pop("REQUESTED_NETWORK_VIEW", None)
            for key in [key for key in proxy["endpoints"] if "_." in key]:
                del proxy["endpoints"][key]
            proxy["clusters"] = [key for key in proxy["clusters"] if "_." not in key]
