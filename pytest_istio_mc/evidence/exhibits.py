"""Exhibits: the facts behind static checks, short and without secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..istio_names import NETWORK_LABEL
from ..plain import to_plain
from ..recorded import ProxyFacts
from ..snapshot import ClusterSnapshot, Snapshot, labels_of, name_of
from ..verdicts import Evidence


def exhibits(snapshot: Snapshot, area: str) -> tuple[Evidence, ...]:
    """The facts for one area's checks (``TRUST``, …), one text a cluster."""
    write = _WRITERS.get(area)
    if write is None:
        return ()
    texts = ((cluster.name, "\n".join(write(cluster, snapshot))) for cluster in snapshot)
    return tuple(Evidence(f"{area.lower()} facts of {name}", text) for name, text in texts if text)


def _trust(cluster: ClusterSnapshot, snapshot: Snapshot) -> Iterator[str]:
    for secret in cluster.secrets:
        for key, pem in secret.certificates.items():
            yield f"secret {secret.namespace}/{secret.name}, {key}: {_certificate(pem)}"
    for proxy in cluster.proxies:
        shown, trusted = _certificate(proxy.certificate_chain), _certificate(proxy.roots)
        yield f"{_named(proxy)}: presents {shown}; trusts {trusted}"


def _named(proxy: ProxyFacts) -> str:
    return f"proxy {proxy.pod}.{proxy.namespace}"


def _certificate(pem: str) -> str:
    from ..certificates import facts, split_pem

    blocks = split_pem(pem)
    try:
        first = facts(blocks[0])
    except (IndexError, ValueError):
        return "nothing that can be read"
    names = f", names {', '.join(first.names)}" if first.names else ""
    more = f" (and {len(blocks) - 1} more certificates)" if len(blocks) > 1 else ""
    return (
        f"subject {first.subject or '(none)'}, issuer {first.issuer}{names}, "
        f"valid until {first.not_after:%Y-%m-%d %H:%M}, sha256 {first.sha256[:16]}{more}"
    )


def _access(cluster: ClusterSnapshot, snapshot: Snapshot) -> Iterator[str]:
    for secret in cluster.secrets:
        for key, kubeconfig in secret.kubeconfigs.items():
            token = f", token of {kubeconfig.token.subject}" if kubeconfig.token else ""
            problem = f", problem: {kubeconfig.problem}" if kubeconfig.problem else ""
            used = f"{key} at {kubeconfig.server}, by {kubeconfig.auth}{token}{problem}"
            yield f"secret {secret.namespace}/{secret.name}: {used}"
    for use in cluster.access:
        answer = f"HTTP {use.status} after {use.seconds:.3f} s {use.message}".rstrip()
        how = use.unprobed or use.connect_error or use.tls_error or answer
        refused = ", ".join(str(review) for review in use.reviews if not review.allowed)
        rights = f"; may not {refused}" if refused else ""
        yield f"used {use.secret}, {use.key} at {use.server}: {how}{rights}"
    for istiod in cluster.istiods:
        for entry in istiod.debug.get("clusterz") or ():
            told = f"{entry['id']} {entry.get('syncStatus', '')} {entry.get('secretName', '')}"
            yield f"istiod {istiod.pod}: {told}".rstrip()


def _control(cluster: ClusterSnapshot, snapshot: Snapshot) -> Iterator[str]:
    for namespace in cluster.objects.get("Namespace", ()):
        if name_of(namespace) == snapshot.spec.istio_namespace:
            network = labels_of(namespace).get(NETWORK_LABEL, "(not set)")
            yield f"namespace {name_of(namespace)}: {NETWORK_LABEL}={network}"
    for istiod in cluster.istiods:
        version, own = istiod.version, istiod.own_cluster
        yield f"istiod {istiod.pod}: version {version}, calls its cluster {own}"
    for proxy in cluster.proxies:
        known = [key for key in ("CLUSTER_ID", "NETWORK", "MESH_ID") if key in proxy.metadata]
        told = ", ".join(f"{key}={proxy.metadata[key]}" for key in known)
        yield f"{_named(proxy)}: version {proxy.version}, {told}"


def _discovery(cluster: ClusterSnapshot, snapshot: Snapshot) -> Iterator[str]:
    for proxy in cluster.proxies:
        for target, endpoints in proxy.endpoints.items():
            yield f"{_named(proxy)}, {target}:"
            for endpoint in endpoints:
                place = endpoint.locality or "no locality"
                yield (
                    f"  {endpoint.address}:{endpoint.port} {endpoint.health}, {place}, "
                    f"priority {endpoint.priority}, tls {endpoint.tls_mode or 'off'}"
                )


def _east_west(cluster: ClusterSnapshot, snapshot: Snapshot) -> Iterator[str]:
    for service in cluster.objects.get("Service", ()):
        if NETWORK_LABEL in labels_of(service) or "eastwest" in name_of(service):
            yield f"Service {name_of(service)}: labels {dict(labels_of(service))}"
            yield f"  status {_compact(service.get('status', {}))}"
            yield f"  ports {_compact(service.get('spec', {}).get('ports', []))}"
    for gateway in cluster.objects.get("Gateway.networking.istio.io", ()):
        yield f"Gateway {name_of(gateway)}: {_compact(gateway.get('spec', {}))}"
    for proxy in cluster.proxies:
        for port, chains in proxy.chains.items():
            yield f"{_named(proxy)}, port {port}: {len(chains)} filter chains"


def _compact(value: Any) -> str:
    import json

    return json.dumps(to_plain(value), sort_keys=True)


_WRITERS: dict[str, Callable[[ClusterSnapshot, Snapshot], Iterator[str]]] = {
    "TRUST": _trust,
    "ACCESS": _access,
    "CONTROL": _control,
    "DISCOVERY": _discovery,
    "EASTWEST": _east_west,
}
