"""Debug endpoints and metrics of an istiod, reduced to what checks read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import KubeError
from ..recorded import Failure, IstiodFacts

DEBUG_PORTS = (8080, 15014)
"""Of istiod's ``/debug``; a port-forward comes from localhost, which needs no token there."""
MONITORING_PORT = 15014
DEBUG_ENDPOINTS = ("clusterz", "networkz", "syncz", "mesh", "endpointShardz", "adsz")

_METRICS = re.compile(
    r"^(istiod_managed_clusters|istiod_remote_cluster_sync_status"
    r"|remote_cluster_sync_timeouts_total|controller_sync_errors_total"
    r"|citadel_server_root_cert_expiry_timestamp|citadel_server_cert_chain_expiry_timestamp"
    r"|pilot_total_xds_rejects|pilot_xds|istiod_uptime_seconds)(\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
_MESH_KEYS = (
    "trustDomain", "trustDomainAliases", "rootNamespace", "serviceSettings", "localityLbSetting",
    "enableAutoMtls", "discoverySelectors", "caCertificates", "defaultConfig",
    "outboundTrafficPolicy",
)  # fmt: skip

Get = Callable[[int, str], bytes]
"""Fetch a path from a port of the pod; raises ``KubeError``."""


def read_istiod(pod: Mapping[str, Any], get: Get, namespaces: Sequence[str]) -> IstiodFacts:
    """The facts of one replica, from its (trimmed) pod and by asking it.

    Endpoint shards are kept in full for ``namespaces``; the others become digests.
    """
    name = str(pod["metadata"]["name"])
    containers: Iterable[Mapping[str, Any]] = pod["spec"].get("containers") or ()
    container = next((entry for entry in containers if entry.get("name") == "discovery"), {})
    debug: dict[str, Any] = {}
    failures: list[Failure] = []
    for endpoint in DEBUG_ENDPOINTS:
        try:
            debug[endpoint] = read_debug(get, endpoint, namespaces)
        except KubeError as error:
            failures.append(Failure(endpoint, str(error), error.status))
    version, metrics = "", {}
    try:
        version = get(MONITORING_PORT, "/version").decode("utf-8", "replace").strip()
        metrics = read_metrics(get(MONITORING_PORT, "/metrics").decode("utf-8", "replace"))
    except KubeError as error:
        failures.append(Failure("metrics", str(error), error.status))
    conditions = {entry["type"]: entry["status"] for entry in pod["status"].get("conditions") or ()}
    return IstiodFacts(
        pod=name,
        ready=conditions.get("Ready") == "True",
        version=version,
        environment=container.get("env") or {},
        debug=debug,
        metrics=metrics,
        failures=tuple(failures),
    )


def read_debug(get: Get, endpoint: str, namespaces: Sequence[str] = ()) -> Any:
    """One debug endpoint, reduced; ``KubeError`` if none answers.

    Older builds serve it on another port or under an older name.
    """
    last: KubeError | None = None
    names = (endpoint, "endpointz") if endpoint == "endpointShardz" else (endpoint,)
    for path in names:
        for port in DEBUG_PORTS:
            try:
                document = json.loads(get(port, f"/debug/{path}") or b"null")
                return _reduced(endpoint, document, namespaces)
            except KubeError as error:
                last = error
            except ValueError as error:
                last = KubeError(f"/debug/{path}", "does not answer with JSON", str(error))
    assert last is not None
    raise last


def reduce_shards(document: Mapping[str, Any], namespaces: Sequence[str]) -> dict[str, Any]:
    """``endpointShardz`` by host, namespace and shard.

    - In ``namespaces``: the full endpoints.
    - Elsewhere: a count, and a digest to compare replicas.
    """
    reduced: dict[str, Any] = {}
    for host, by_namespace in document.items():
        for namespace, entry in by_namespace.items():
            shards: dict[str, Any] = {}
            for shard, endpoints in (entry.get("Shards") or {}).items():
                facts = sorted(
                    map(_endpoint, endpoints or ()),
                    key=lambda item: (item["address"], item["port"], item["name"]),
                )
                shards[shard] = facts if namespace in namespaces else _digest(facts)
            reduced.setdefault(host, {})[namespace] = shards
    return reduced


def _digest(facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    lines = [f"{one['address']}:{one['port']}/{one['name']}/{one['network']}" for one in facts]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return {"count": len(lines), "digest": digest}


def read_metrics(text: str) -> dict[str, float]:
    """The samples of a Prometheus page about remote clusters and the CA."""
    return {name + (labels or ""): float(value) for name, labels, value in _METRICS.findall(text)}


def _endpoint(item: Mapping[str, Any]) -> dict[str, Any]:
    addresses = item.get("Addresses") or [item.get("Address", "")]
    return {
        "address": addresses[0] if addresses else "",
        "port": item.get("EndpointPort", 0),
        "name": item.get("ServicePortName", ""),
        "network": item.get("Network", ""),
        "locality": (item.get("Locality") or {}).get("Label", ""),
        "cluster": (item.get("Locality") or {}).get("ClusterID", ""),
        "tls_mode": item.get("TLSMode", ""),
        "health": item.get("HealthStatus", 1),
        "service_account": item.get("ServiceAccount", ""),
    }


def _connected(
    clients: Iterable[Mapping[str, Any]], namespaces: Sequence[str]
) -> Iterator[dict[str, str]]:
    """The locality in which istiod takes each proxy of these namespaces to be.

    It settles that when the proxy connects.
    """
    for client in clients:
        proxy = str(client.get("connectionId", "")).rpartition("-")[0]
        if proxy.rpartition(".")[2] in namespaces:
            place = client.get("locality") or {}
            parts = [place.get(key) for key in ("region", "zone", "subZone", "sub_zone")]
            yield {"proxy": proxy, "locality": "/".join(filter(None, parts))}


def _reduced(endpoint: str, document: Any, namespaces: Sequence[str]) -> Any:
    if endpoint == "endpointShardz":
        return reduce_shards(document or {}, namespaces)
    if endpoint == "adsz":
        return list(_connected((document or {}).get("clients") or (), namespaces))
    if endpoint == "mesh":
        return {key: document[key] for key in _MESH_KEYS if key in (document or {})}
    return document or []
