"""View: the services of the mesh and its rules, as one control plane sees them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...errors import ObservationError
from ...istio_names import DATAPLANE_LABEL, EXPORT_TO, KUBE_SYSTEM, REVISION_LABEL
from ...selectors import matches, matches_any
from ...snapshot import (
    ClusterSnapshot,
    Object,
    Snapshot,
    annotations_of,
    is_east_west_service,
    is_injected,
    labels_of,
    name_of,
    namespace_of,
)
from ...spec import ClusterSpec
from ..cluster_domain import cluster_domain
from .hosts import covers, exported, full_name, seen_from
from .pods import Pod, Pods

ROUTE = "VirtualService.networking.istio.io"
RULE = "DestinationRule.networking.istio.io"
ENTRY = "ServiceEntry.networking.istio.io"
WORKLOAD = "WorkloadEntry.networking.istio.io"
SIDECAR = "Sidecar.networking.istio.io"
GATEWAY = "Gateway.networking.istio.io"
DEMAND = "PeerAuthentication.security.istio.io"
POLICY = "AuthorizationPolicy.security.istio.io"

_SYSTEM = (KUBE_SYSTEM, "kube-public", "kube-node-lease")


def kind_of(kind: str) -> str:
    """A kind without its group."""
    return kind.partition(".")[0]


def plural(kind: str) -> str:
    """``virtualservices.networking.istio.io``, as kubectl takes it."""
    name, _, group = kind.partition(".")
    lower = name.lower()
    ends = lower.endswith("y") and not lower.endswith("way")
    return (f"{lower[:-1]}ies" if ends else f"{lower}s") + f".{group}"


@dataclass(frozen=True)
class Group:
    """Endpoints of a service in one cluster that are alike, as an istiod holds them."""

    count: int
    name: str
    port: int
    network: str
    tls: bool
    healthy: bool
    service_account: str


@dataclass(frozen=True)
class Service:
    """A Kubernetes service of the mesh: its full name, and its object in each cluster."""

    host: str
    namespace: str
    name: str
    copies: Mapping[str, Object]

    @property
    def ports(self) -> dict[int, Mapping[str, Any]]:
        """Its ports by number, of all clusters together."""
        return {
            port["port"]: port
            for item in self.copies.values()
            for port in item["spec"].get("ports") or ()
        }

    def selector(self, cluster: str) -> Mapping[str, str]:
        """The labels by which it chooses pods in a cluster."""
        found: Mapping[str, str] = self.copies[cluster]["spec"].get("selector") or {}
        return found

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class View:
    """What one control plane knows; :class:`ObservationError` where a part was not recorded.

    - ``served``: the clusters whose proxies it tells; ``clusters``: those whose services it knows.
    - ``config``: the cluster whose rules it reads.
    """

    def __init__(
        self, snapshot: Snapshot, plane: ClusterSpec, pods: dict[str, Pods] | None = None
    ) -> None:
        spec = snapshot.spec
        self.snapshot = snapshot
        self.plane = plane
        self.config: ClusterSnapshot = snapshot.clusters[spec.config_cluster(plane).name]
        self.served = tuple(one.name for one in spec.served_by(plane))
        known = (*self.served, *(one.name for one in spec.watched_by(plane)))
        self.clusters = tuple(dict.fromkeys(known))
        self.domain = cluster_domain(snapshot, plane)
        self._namespaces: dict[str, frozenset[str]] = {}
        self._injected: dict[str, frozenset[str]] = {}
        self._ambient: dict[str, frozenset[str]] = {}
        self._pods: dict[str, Pods] = {} if pods is None else pods
        self._chosen: dict[tuple[str, str], tuple[Pod, ...]] = {}

    @cached_property
    def mesh(self) -> Mapping[str, Any]:
        """The mesh configuration of its istiods."""
        for istiod in self.snapshot.clusters[self.plane.name].istiods:
            found: Mapping[str, Any] = istiod.debugged("mesh") or {}
            return found
        step = "no istiod was recorded"
        raise ObservationError(f'cluster "{self.plane.name}"', step, "its mesh configuration")

    @property
    def root(self) -> str:
        """The namespace whose policies and rules are everybody's."""
        return str(self.mesh.get("rootNamespace") or self.snapshot.spec.istio_namespace)

    @cached_property
    def registered(self) -> Mapping[str, Service]:
        """Every service of its clusters by full name, those of unselected namespaces, too."""
        copies: dict[tuple[str, str], dict[str, Object]] = defaultdict(dict)
        for name in self.clusters:
            for item in self.snapshot.clusters[name].listed("Service"):
                copies[namespace_of(item), name_of(item)][name] = item
        return {
            (host := f"{name}.{namespace}.svc.{self.domain}"): Service(host, namespace, name, found)
            for (namespace, name), found in copies.items()
        }

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """The services that it tells its proxies of."""
        return {
            host: one
            for host, one in self.registered.items()
            if any(self.discovers(cluster, one.namespace) for cluster in one.copies)
        }

    def discovers(self, cluster: str, namespace: str) -> bool:
        """Whether its ``discoverySelectors`` have a namespace of a cluster."""
        selectors = self.mesh.get("discoverySelectors") or ()
        return not selectors or namespace in self._selected(cluster)

    def _selected(self, cluster: str) -> frozenset[str]:
        if cluster not in self._namespaces:
            selectors = self.mesh.get("discoverySelectors") or ()
            namespaces = self.snapshot.clusters[cluster].listed("Namespace")
            self._namespaces[cluster] = frozenset(
                name_of(one) for one in namespaces if matches_any(selectors, labels_of(one))
            )
        return self._namespaces[cluster]

    @cached_property
    def entries(self) -> tuple[tuple[str, Object], ...]:
        """The hosts of its ServiceEntries, each with its object; patterns, too."""
        return tuple(
            (host, item) for item in self.rules(ENTRY) for host in item["spec"].get("hosts") or ()
        )

    @cached_property
    def _entry_hosts(self) -> frozenset[str]:
        return frozenset(host for host, _ in self.entries)

    def knows(self, host: str) -> bool:
        """Whether a full name is of a service or ServiceEntry, or may be of something else."""
        return (
            host in self.services
            or (host in self._shards and host not in self.registered)
            or host in self._entry_hosts
            or host.endswith(".clusterset.local")
            or any(one.startswith("*") and covers(one, host) for one in self._entry_hosts)
        )

    def rules(self, kind: str) -> tuple[Object, ...]:
        """The objects of a kind that it reads."""
        return self.config.listed(kind)

    @cached_property
    def _rules_by_host(self) -> Mapping[str, Sequence[Object]]:
        found: dict[str, list[Object]] = defaultdict(list)
        for item in self.rules(RULE):
            found[self.resolved(str(item["spec"].get("host", "")), item)].append(item)
        return found

    @cached_property
    def _wide_hosts(self) -> Sequence[str]:
        """The patterns of DestinationRules, the longest first."""
        wide = (one for one in self._rules_by_host if one.startswith("*"))
        return sorted(wide, key=len, reverse=True)

    def rules_for(self, host: str) -> list[Object]:
        """The DestinationRules that cover a full name, those that name it most exactly first."""
        by_host = self._rules_by_host
        patterns = [host, *(one for one in self._wide_hosts if covers(one, host))]
        return [item for pattern in patterns for item in by_host.get(pattern, ())]

    def rule_of(
        self, host: str, service: Service, caller: str, labels: Mapping[str, str] | None = None
    ) -> Object | None:
        """The DestinationRule that callers of a namespace follow for a service; None without any.

        That of their own namespace, else of the service's, else of the root namespace; in each the
        one that names the host most exactly (``destinationRule`` in istio/istio,
        pilot/pkg/model/push_context.go).
        """
        found = self.rules_for(host)
        default = self.mesh.get("defaultDestinationRuleExportTo") or ()
        for namespace in dict.fromkeys((caller, service.namespace, self.root)):
            for item in found:
                selector = item["spec"].get("workloadSelector")
                if selector and (labels is None or not matches(selector, labels)):
                    continue
                if namespace_of(item) == namespace and seen_from(item, caller, default):
                    return item
        return None

    def users(self, kind: str) -> Iterator[Object]:
        """Those of them that are the users' own and that count for it.

        - The root namespace's are users', too.
        - Those for another revision do not count, nor those of namespaces that are not discovered.
        """
        return (
            one
            for one in self.rules(kind)
            if not is_ours(self.snapshot, namespace_of(one))
            and labels_of(one).get(REVISION_LABEL, self.revision) == self.revision
            and self.discovers(self.config.name, namespace_of(one))
        )

    @cached_property
    def revision(self) -> str:
        """The revision of its istiods."""
        istiods = self.snapshot.clusters[self.plane.name].istiods
        found = (one.environment.get("REVISION", "default") or "default" for one in istiods)
        return next(found, "default")

    @cached_property
    def unseen(self) -> frozenset[str]:
        """The clusters that its istiods watch and the snapshot does not have."""
        return frozenset(
            str(row["id"])
            for istiod in self.snapshot.clusters[self.plane.name].istiods
            for row in istiod.debug.get("clusterz") or ()
            if row.get("secretName") and row["id"] not in self.snapshot.clusters
        )

    def has_workload_entries(self, service: Service) -> bool:
        """Whether WorkloadEntries are among the instances of a service, beside its pods."""
        selectors = [service.selector(cluster) for cluster in service.copies]
        return any(
            namespace_of(one) == service.namespace
            and any(wanted.items() <= labels.items() for wanted in selectors)
            for one in self.rules(WORKLOAD)
            for labels in ({**labels_of(one), **(one["spec"].get("labels") or {})},)
        )

    @cached_property
    def of_users(self) -> tuple[Service, ...]:
        """The services of users, in order."""
        return tuple(
            one for _, one in sorted(self.services.items()) if is_users(self.snapshot, one)
        )

    @cached_property
    def _by_namespace(self) -> Mapping[str, Sequence[Service]]:
        found: dict[str, list[Service]] = defaultdict(list)
        for one in self.services.values():
            found[one.namespace].append(one)
        return found

    def of_namespace(self, namespace: str) -> Sequence[Service]:
        """The services of a namespace."""
        return self._by_namespace.get(namespace, ())

    def sees(self, service: Service, namespace: str) -> bool:
        """Whether proxies of a namespace are told of a service: its ``exportTo``."""
        said = {
            text.strip()
            for item in service.copies.values()
            for text in annotations_of(item).get(EXPORT_TO, "").split(",")
            if text.strip()
        }
        default = self.mesh.get("defaultServiceExportTo") or ()
        return exported(said or default, service.namespace, namespace)

    def groups(self, service: Service, cluster: str) -> tuple[Group, ...] | None:
        """The endpoints that its istiods hold of a service in a cluster; None where unknown."""
        found = self._shards.get(service.host, {}).get(service.namespace)
        if found is None:
            return () if self._shards else None
        held = found.get(f"Kubernetes/{cluster}", ())
        if isinstance(held, Mapping):
            if held.get("count") and "groups" not in held:
                return None
            held = held.get("groups") or ()
        return tuple(
            Group(
                one.get("count", 1),
                one["name"],
                one["port"],
                one.get("network", ""),
                one.get("tls_mode") == "istio",
                one.get("health", 1) == 1,
                one.get("service_account", ""),
            )
            for one in held
        )

    @cached_property
    def _shards(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        for istiod in self.snapshot.clusters[self.plane.name].istiods:
            if "endpointShardz" in istiod.debug:
                found: Mapping[str, Mapping[str, Mapping[str, Any]]]
                found = istiod.debug["endpointShardz"] or {}
                return found
        return {}

    def count(self, service: Service, cluster: str) -> int | None:
        """How many healthy endpoints there are, of the port that has most; None where unknown."""
        held = self.groups(service, cluster)
        if held is None:
            return None
        by_port: dict[tuple[str, int], int] = defaultdict(int)
        for one in held:
            if one.healthy:
                by_port[one.name, one.port] += one.count
        return max(by_port.values(), default=0)

    def pods(self, cluster: str) -> Pods:
        """The pods of a cluster."""
        if cluster not in self._pods:
            self._pods[cluster] = Pods(self.snapshot.clusters[cluster])
        return self._pods[cluster]

    def injected(self, cluster: str) -> frozenset[str]:
        """The namespaces of a cluster whose pods get sidecars."""
        if cluster not in self._injected:
            listed = self.snapshot.clusters[cluster].listed("Namespace")
            self._injected[cluster] = frozenset(name_of(one) for one in listed if is_injected(one))
        return self._injected[cluster]

    def ambient(self, cluster: str) -> frozenset[str]:
        """The namespaces of a cluster whose pods are in the mesh without sidecars."""
        if cluster not in self._ambient:
            listed = self.snapshot.clusters[cluster].listed("Namespace")
            found = (one for one in listed if labels_of(one).get(DATAPLANE_LABEL) == "ambient")
            self._ambient[cluster] = frozenset(map(name_of, found))
        return self._ambient[cluster]

    def pods_of(self, service: Service, cluster: str) -> tuple[Pod, ...]:
        """The pods that a service chooses in a cluster; none where it has no selector."""
        key = (service.host, cluster)
        if key not in self._chosen:
            selector = service.selector(cluster)
            pods = self.pods(cluster).selected(service.namespace, selector) if selector else ()
            self._chosen[key] = pods
        return self._chosen[key]

    def resolved(self, host: str, rule: Object) -> str:
        """A host of a rule in full."""
        return full_name(host, namespace_of(rule), self.domain)

    def where(self, kind: str, item: Object) -> str:
        """An object in words: ``VirtualService shop/reviews of east``."""
        return f"{kind_of(kind)} {namespace_of(item)}/{name_of(item)} of {self.config.name}"


def is_ours(snapshot: Snapshot, namespace: str) -> bool:
    """Whether a namespace is a run's own, this one's or that of a run beside it."""
    own = snapshot.probes.namespace if snapshot.probes else ""
    return namespace == own or namespace.startswith(f"istio-mc-{snapshot.run_id}")


def is_users(snapshot: Snapshot, service: Service) -> bool:
    """Whether a service is neither Kubernetes' nor Istio's nor a run's own."""
    return not (
        service.namespace in (*_SYSTEM, snapshot.spec.istio_namespace)
        or (service.namespace, service.name) == ("default", "kubernetes")
        or is_ours(snapshot, service.namespace)
        or any(is_east_west_service(item) for item in service.copies.values())
    )
