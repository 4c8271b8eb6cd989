"""The cluster domain: what the full names of Services end in, mostly "cluster.local"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..snapshot import Snapshot
from ..spec import ClusterSpec

USUAL = "cluster.local"
_CLUSTER_SET = "clusterset.local"
"""Of Kubernetes' Multi-Cluster Services, beside any cluster domain."""


def cluster_domain(snapshot: Snapshot, plane: ClusterSpec) -> str:
    """The domain that a control plane gives to the Services of all clusters that it watches.

    Read in the names that it and its proxies have for Services, since it says it nowhere else.
    """
    domains = (host.partition(".svc.")[2] for host in _hosts(snapshot, plane) if ".svc." in host)
    found = Counter(domain for domain in domains if domain and domain != _CLUSTER_SET)
    return found.most_common(1)[0][0] if found else USUAL


def _hosts(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[str]:
    """Hosts of the probe service; those of all services where it was recorded without probes."""
    for istiod in snapshot.clusters[plane.name].istiods:
        for host, namespaces in (istiod.debug.get("endpointShardz") or {}).items():
            if snapshot.probes is None or snapshot.probes.namespace in namespaces:
                yield host
    for cluster in snapshot.spec.served_by(plane):
        for proxy in snapshot.clusters[cluster.name].proxies:
            for name in proxy.endpoints:
                yield name.rpartition("|" if "|" in name else "_.")[2]
