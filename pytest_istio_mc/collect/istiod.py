"""Debug endpoints and metrics of an istiod, reduced to what checks read.

What istiod can filter is asked filtered; all else once, and with a limit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..errors import KubeError
from ..recorded import Failure, IstiodFacts
from . import fields

DEBUG_PORTS = (8080, 15014)
"""Of istiod's ``/debug``; a port-forward comes from localhost, which needs no token there."""
MONITORING_PORT = 15014

WHOLE_ENDPOINTS = ("clusterz", "networkz", "syncz", "mesh", "endpointShardz")
"""The endpoints that are read whole, once a replica.

- ``clusterz``, ``networkz`` and ``mesh`` grow with the number of clusters only.
- ``syncz`` has a row for each proxy, and is what ``istioctl proxy-status`` asks for.
- ``endpointShardz`` has a row for each endpoint; istiod has no filter for it.
"""

ONE_PROXY = "adsz?proxyID="
"""One proxy's connection.

Never without the id: then istiod makes one document of all that all proxies have, in memory
(``adsz`` in ``pilot/pkg/xds/debug.go``).
"""

_METRICS = re.compile(
    r"^(istiod_managed_clusters|istiod_remote_cluster_sync_status"
    r"|remote_cluster_sync_timeouts_total|controller_sync_errors_total"
    r"|citadel_server_root_cert_expiry_timestamp|citadel_server_cert_chain_expiry_timestamp"
    r"|pilot_total_xds_rejects|pilot_xds|istiod_uptime_seconds)(\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
_LONGEST_ERROR = 500

_CLUSTER = {"id": None, "secretName": None, "syncStatus": None}
_NETWORK_GATEWAY = {"Network": None, "Cluster": None, "Addr": None, "Port": None, "HBONEPort": None}
_ROW = {"proxy": None, "proxy_type": None, "cluster_id": None, "istio_version": None}

Get = Callable[[int, str], bytes]
"""Fetch a path from a port of the pod; raises ``KubeError``, also where the answer is too long."""


def read_istiod(
    pod: Mapping[str, Any],
    get: Get,
    namespaces: Sequence[str],
    proxies: Collection[str] = (),
) -> IstiodFacts:
    """The facts of one replica, from its (trimmed) pod and by asking it.

    - Endpoint shards are kept in full for ``namespaces``; the others become digests.
    - ``proxies`` (``POD.NAMESPACE``) are those of which it is asked where it takes them to be,
      if they are connected to it.
    """
    name = str(pod["metadata"]["name"])
    containers: Iterable[Mapping[str, Any]] = pod["spec"].get("containers") or ()
    container = next((entry for entry in containers if entry.get("name") == "discovery"), {})
    debug: dict[str, Any] = {}
    failures: list[Failure] = []
    for endpoint in WHOLE_ENDPOINTS:
        try:
            debug[endpoint] = read_debug(get, endpoint, namespaces)
        except KubeError as error:
            failures.append(Failure(endpoint, str(error), error.status))
    connected = {row.get("proxy") for row in debug.get("syncz") or ()}
    asked = [one for one in proxies if one in connected or "syncz" not in debug]
    try:
        debug["adsz"] = [row for proxy in asked for row in read_proxy_connection(get, proxy)]
    except KubeError as error:
        failures.append(Failure("adsz", str(error), error.status))
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
    names = (endpoint, "endpointz") if endpoint == "endpointShardz" else (endpoint,)
    return _answered(get, names, lambda text: _reduced(endpoint, text, namespaces))


def read_proxy_connection(get: Get, proxy: str) -> list[dict[str, str]]:
    """The locality in which a replica takes a proxy to be.

    None where the proxy is not connected to it. It settles that when the proxy connects.
    """

    def reduced(text: str) -> list[dict[str, str]]:
        document = json.loads(text or "null") or {}
        found = list(_connected(document.get("clients") or (), {proxy}))
        if not found:
            # istiod looks for the id anywhere in the ids that it knows
            raise KubeError("istiod", f"asked for the proxy {proxy}, it named another")
        return found

    try:
        found: list[dict[str, str]] = _answered(get, (ONE_PROXY + quote(proxy, safe=""),), reduced)
    except KubeError as error:
        if error.status == 404:
            return []  # it left, or is with another replica
        raise
    return found


def _answered(get: Get, names: Iterable[str], reduce: Callable[[str], Any]) -> Any:
    """What becomes of the first of these debug endpoints that answers."""
    last: KubeError | None = None
    for name in names:
        for port in DEBUG_PORTS:
            try:
                return reduce(get(port, f"/debug/{name}").decode("utf-8", "replace"))
            except KubeError as error:
                last = error
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
                detail = f"{type(error).__name__}"
                last = KubeError(f"/debug/{name}", "does not answer with what it should", detail)
    assert last is not None
    raise last


def entries(text: str) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON object or list, read one after the other.

    A list's have no key. A document of many of them is never in memory as a whole.
    ``ValueError`` where it is neither.
    """
    decoder, place = json.JSONDecoder(), _after_space(text, 0)
    if text.startswith("null", place):
        return
    if text[place : place + 1] not in ("{", "["):
        raise ValueError("neither an object nor a list")
    keyed, end = text[place] == "{", {"{": "}", "[": "]"}[text[place]]
    place = _after_space(text, place + 1)
    while not text.startswith(end, place):
        key = ""
        if keyed:
            key, place = decoder.raw_decode(text, place)
            place = _after_space(text, place)
            if not isinstance(key, str) or text[place : place + 1] != ":":
                raise ValueError("a key without its value")
            place = _after_space(text, place + 1)
        entry, place = decoder.raw_decode(text, place)
        yield key, entry
        place = _after_space(text, place)
        if text.startswith(",", place):
            place = _after_space(text, place + 1)
        elif not text.startswith(end, place):
            raise ValueError("it ends too early")


_SPACE = re.compile(r"[ \t\r\n]*")


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def reduce_shards(
    document: Iterable[tuple[str, Mapping[str, Any]]], namespaces: Sequence[str]
) -> dict[str, Any]:
    """``endpointShardz`` by host, namespace and shard.

    - In ``namespaces``: the full endpoints.
    - Elsewhere: a count, a digest to compare replicas, and how many endpoints are of one kind:
      port, network, mutual TLS, health and identity.
    """
    reduced: dict[str, Any] = {}
    for host, by_namespace in document:
        for namespace, entry in by_namespace.items():
            shards: dict[str, Any] = {}
            for shard, endpoints in (entry.get("Shards") or {}).items():
                facts = sorted(
                    map(_endpoint, endpoints or ()),
                    key=lambda item: (item["address"], item["port"], item["name"]),
                )
                whole = namespace in namespaces
                shards[shard] = facts if whole else {**_digest(facts), "groups": _groups(facts)}
            reduced.setdefault(host, {})[namespace] = shards
    return reduced


def _digest(facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    lines = [f"{one['address']}:{one['port']}/{one['name']}/{one['network']}" for one in facts]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return {"count": len(lines), "digest": digest}


_OF_A_GROUP = ("name", "port", "network", "tls_mode", "health", "service_account")


def _groups(facts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The endpoints that are alike in all that decides who reaches them, with their number."""
    counted = Counter(tuple(one[key] for key in _OF_A_GROUP) for one in facts)
    return [
        {**dict(zip(_OF_A_GROUP, key, strict=True)), "count": count}
        for key, count in sorted(counted.items())
    ]


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
    clients: Iterable[Mapping[str, Any]], proxies: Collection[str]
) -> Iterator[dict[str, str]]:
    for client in clients:
        proxy = str(client.get("connectionId", "")).rpartition("-")[0]
        if proxy in proxies:
            place = client.get("locality") or {}
            parts = [place.get(key) for key in ("region", "zone", "subZone", "sub_zone")]
            yield {"proxy": proxy, "locality": "/".join(filter(None, parts))}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``syncz``: of what a proxy was sent, only what it has not accepted."""
    pending = {}
    for kind, one in (row.get("resources") or {}).items():
        if one.get("lastError") or one.get("sent") != one.get("acked"):
            pending[kind] = fields.keep(dict.fromkeys(("sent", "acked", "sentTime")), one) or {}
            if one.get("lastError"):
                pending[kind]["lastError"] = str(one["lastError"])[:_LONGEST_ERROR]
    return (fields.keep(_ROW, row) or {}) | ({"resources": pending} if pending else {})


def _reduced(endpoint: str, text: str, namespaces: Sequence[str]) -> Any:
    if endpoint == "endpointShardz":
        return reduce_shards(entries(text), namespaces)
    if endpoint == "mesh":
        return fields.keep(fields.MESH_CONFIG, dict(entries(text))) or {}
    rows = (row for _, row in entries(text))
    if endpoint == "syncz":
        return [_row(row) for row in rows]
    shape = _CLUSTER if endpoint == "clusterz" else _NETWORK_GATEWAY
    return [kept for row in rows if (kept := fields.keep(shape, row))]
