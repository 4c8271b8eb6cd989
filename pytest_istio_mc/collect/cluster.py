"""The sweep: all clusters, object kinds, istiods, proxies, credentials, read side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from ..errors import KubeError, NotInTime
from ..eventually import Timeouts, eventually
from ..istio_names import CA_SECRETS, REMOTE_SECRETS
from ..kube import Kube
from ..mesh import Mesh
from ..network_gateways import has_node_addresses
from ..progress import Progress
from ..recorded import AccessFacts, EndpointFacts, Failure, IstiodFacts, ProxyFacts, SecretFacts
from ..snapshot import (
    REACH,
    ClusterSnapshot,
    Snapshot,
    labels_of,
    name_of,
    namespace_of,
)
from ..spec import ClusterSpec
from ..together import for_each
from .access import Ask, probe_access
from .control_plane import istiod_endpoints, probe_endpoint
from .envoy import read_proxy
from .istiod import read_debug, read_istiod
from .objects import LISTINGS, Listing, kind_of, trim, wanted
from .resolving import gateway_services, with_names_resolved, with_outer_addresses
from .secrets import Credential, is_remote_secret, looks_remote, reduce_secret

T = TypeVar("T")

REQUESTS_AT_ONCE = 24


def collect(
    mesh: Mesh,
    progress: Progress,
    *,
    kubes: Mapping[str, Kube],
    ask: Ask | None = None,
    timeouts: Timeouts | None = None,
) -> Snapshot:
    """Record a snapshot of the mesh.

    - ``kubes``: open connections by cluster name.
    - ``ask``: lets a probe pod do an operation, see ``collect.access``.
    - What cannot be had is recorded as a failure; nothing is raised for it.
    - Nothing is written to any cluster.
    """
    waits = timeouts or Timeouts()
    with (
        progress.step(f"snapshot of {len(mesh.spec.clusters)} clusters"),
        # for requests only: what waits for requests (a sweep) could fill up a shared pool
        ThreadPoolExecutor(REQUESTS_AT_ONCE, "request") as requests,
    ):
        sweeps = [
            _ClusterSweep(mesh, cluster, kubes[cluster.name], requests, ask, waits)
            for cluster in mesh.spec
        ]
        found = for_each(_ClusterSweep.run, sweeps)
        clusters = {
            cluster.name: _settled(cluster, sweep, waits)
            for cluster, sweep in zip(found, sweeps, strict=True)
        }
        clusters = with_names_resolved(mesh, clusters, ask, waits.request)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Snapshot(mesh.spec, mesh.run_id, now, clusters, mesh.probes)


class _ClusterSweep:
    """Reads one cluster; its methods run side by side in the request pool."""

    def __init__(
        self,
        mesh: Mesh,
        cluster: ClusterSpec,
        kube: Kube,
        pool: ThreadPoolExecutor,
        ask: Ask | None,
        waits: Timeouts,
    ) -> None:
        self.cluster = cluster
        self._mesh = mesh
        self._kube = kube
        self._pool = pool
        pods = mesh.probes.pods if mesh.probes else ()
        self._ask = ask if any(pod.cluster == cluster.name for pod in pods) else None
        self._waits = waits
        self._failures: list[Failure] = []

    def run(self) -> ClusterSnapshot:
        """Everything recorded of this cluster."""
        try:
            version = self._kube.version()
            groups = self._kube.get_path("/apis")
        except KubeError as error:
            failures = (Failure(REACH, str(error), error.status),)
            return ClusterSnapshot(self.cluster.name, self._kube.server, failures=failures)
        secrets = self._pool.submit(self._attempt, "list Secret", self._secrets)
        early = {
            listing: self._submit(listing) for listing in LISTINGS if listing.scope != "workloads"
        }
        listed = {listing: future.result() for listing, future in early.items()}
        services = next(items for listing, items in listed.items() if listing.kind == "Service")
        maps = [
            item for one, items in listed.items() if one.kind == "ConfigMap" for item in items or ()
        ]
        gateways = gateway_services(services or (), maps)
        ours = {self._istio_namespace, *self._probe_namespaces}
        namespaces = sorted(ours.union(map(namespace_of, gateways)))
        late = {
            listing: [self._submit(listing, place) for place in (*namespaces, *_extra(listing))]
            for listing in LISTINGS
            if listing.scope == "workloads"
        }
        for listing, futures in late.items():
            parts = [future.result() for future in futures]
            listed[listing] = [item for part in parts for item in part or ()]
        objects: dict[str, list[dict[str, Any]]] = {}
        for listing, items in listed.items():
            objects.setdefault(kind_of(listing), []).extend(items or ())
        objects = {kind: _unique(items) for kind, items in objects.items()}
        if any(map(has_node_addresses, gateways)):
            nodes = self._attempt("list addresses of Node", lambda: self._kube.list("Node"))
            if nodes is not None:
                objects["Node"] = with_outer_addresses(objects["Node"], nodes)
        facts, credentials = secrets.result() or ((), ())
        istiods = self._istiods(objects["Pod"])
        proxies = self._proxies(objects["Pod"], gateways, services or ())
        access = self._access(credentials)
        control_plane = self._control_plane(objects["EndpointSlice"])
        return ClusterSnapshot(
            name=self.cluster.name,
            server=self._kube.server,
            version=version,
            api_groups=tuple(sorted(str(group["name"]) for group in groups.get("groups") or ())),
            objects={kind: tuple(items) for kind, items in sorted(objects.items())},
            secrets=facts,
            istiods=tuple(future.result() for future in istiods),
            proxies=tuple(future.result() for future in proxies),
            access=tuple(future.result() for future in access),
            control_plane=tuple(future.result() for future in control_plane),
            failures=tuple(self._failures),
        )

    def shards(self, istiod: IstiodFacts) -> Any:
        """Read one replica's endpoint shards again."""
        get = self._getter(self._istio_namespace, istiod.pod)
        return read_debug(get, "endpointShardz", self._probe_namespaces)

    @property
    def _istio_namespace(self) -> str:
        return self._mesh.spec.istio_namespace

    @property
    def _probe_namespaces(self) -> tuple[str, ...]:
        return (self._mesh.probes.namespace,) if self._mesh.probes else ()

    def _submit(
        self, listing: Listing, namespace: str | None = None
    ) -> Future[list[dict[str, Any]] | None]:
        if listing.scope == "mesh":
            namespace = self._istio_namespace
        kind = kind_of(listing)

        def read() -> list[dict[str, Any]]:
            found = self._kube.list(listing.kind, namespace, fields=listing.fields)
            return [trim(kind, item) for item in found if wanted(kind, item)]

        return self._pool.submit(self._attempt, f"list {kind}", read)

    def _attempt(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except KubeError as error:
            self._failures.append(Failure(what, str(error), error.status))
            return None

    def _getter(self, namespace: str, pod: str) -> Callable[[int, str], bytes]:
        return lambda port, path: self._kube.http_get(
            namespace, pod, port, path, timeout_seconds=self._waits.kube_request
        )

    def _secrets(self) -> tuple[tuple[SecretFacts, ...], tuple[Credential, ...]]:
        own = [
            secret
            for secret in self._kube.list("Secret", self._istio_namespace)
            if name_of(secret) in CA_SECRETS or looks_remote(secret)
        ]
        elsewhere = self._kube.list("Secret", None, labels=REMOTE_SECRETS)
        facts: list[SecretFacts] = []
        credentials: list[Credential] = []
        for secret in _unique([*own, *elsewhere]):
            fact, found = reduce_secret(secret)
            facts.append(fact)
            # istiod uses only what is labelled and in its own namespace, so only that is tried
            if is_remote_secret(secret) and fact.namespace == self._istio_namespace:
                credentials.extend(found)
        return tuple(facts), tuple(credentials)

    def _istiods(self, pods: Iterable[dict[str, Any]]) -> list[Future[IstiodFacts]]:
        namespace = self._istio_namespace
        found = [
            pod
            for pod in pods
            if namespace_of(pod) == namespace
            and labels_of(pod).get("app") == "istiod"
            and _runs(pod)
        ]
        return [
            self._pool.submit(read_istiod, pod, self._getter(*_key(pod)), self._probe_namespaces)
            for pod in found
        ]

    def _proxies(
        self,
        pods: list[dict[str, Any]],
        gateways: Iterable[Mapping[str, Any]],
        services: Iterable[Mapping[str, Any]],
    ) -> list[Future[ProxyFacts]]:
        prefix, ports, kinds = "", [], {}
        if probes := self._mesh.probes:
            prefix = f"{probes.service}.{probes.namespace}.svc."
            ports = [
                port["port"]
                for service in services
                if _key(service) == (probes.namespace, probes.service)
                for port in service["spec"].get("ports") or ()
            ]
            here = [pod for pod in probes.pods if pod.cluster == self.cluster.name]
            kinds = {(probes.namespace, pod.name): pod.role for pod in here}
        for service in gateways:
            selector = (service["spec"].get("selector") or {}).items()
            for pod in pods:
                beside = namespace_of(pod) == namespace_of(service)
                if selector and beside and selector <= labels_of(pod).items():
                    kinds[_key(pod)] = "east-west"
        futures = []
        for pod in pods:
            kind = kinds.get(_key(pod))
            if kind is not None and _runs(pod):
                account = pod["spec"].get("serviceAccountName", "")
                known = {"service_account": account, "labels": labels_of(pod)}
                read = partial(read_proxy, ports=ports, **known)
                get = self._getter(*_key(pod))
                futures.append(self._pool.submit(read, *_key(pod), kind, get, prefix))
        return futures

    def _access(self, credentials: Iterable[Credential]) -> list[Future[AccessFacts]]:
        # single rights are asked for one after the other: a task that waits for tasks of its own
        # pool could wait for ever
        here, ask, wait = self.cluster.name, self._ask, self._waits.request
        return [self._pool.submit(probe_access, here, one, ask, wait) for one in credentials]

    def _control_plane(self, slices: Iterable[Mapping[str, Any]]) -> list[Future[EndpointFacts]]:
        """Handshakes with an istiod elsewhere that serves this cluster."""
        here = self.cluster.name
        if self.cluster.served_from == here:
            return []
        namespace, wait = self._istio_namespace, self._waits.request
        return [
            self._pool.submit(probe_endpoint, here, *endpoint, namespace, self._ask, wait)
            for endpoint in istiod_endpoints(slices, namespace)
        ]


def _settled(cluster: ClusterSnapshot, sweep: _ClusterSweep, waits: Timeouts) -> ClusterSnapshot:
    """The cluster, its istiod replicas given time to agree.

    Replicas hear of an endpoint one after the other; only a difference that stays is one.
    """
    replicas = [istiod for istiod in cluster.istiods if "endpointShardz" in istiod.debug]
    if len(replicas) < 2 or _agree(istiod.debug["endpointShardz"] for istiod in replicas):
        return cluster
    latest: dict[str, Any] = {}

    def read_again() -> list[Any]:
        latest.update({istiod.pod: sweep.shards(istiod) for istiod in replicas})
        return list(latest.values())

    try:
        eventually(
            read_again,
            _agree,
            within_seconds=waits.endpoint_propagation,
            what="istiod replicas",
            every_seconds=0.5,
        )
    except NotInTime:
        pass  # they still disagree; that is what the snapshot then says
    istiods = (
        replace(istiod, debug={**istiod.debug, "endpointShardz": latest[istiod.pod]})
        if istiod.pod in latest
        else istiod
        for istiod in cluster.istiods
    )
    return replace(cluster, istiods=tuple(istiods))


def _extra(listing: Listing) -> tuple[str, ...]:
    # the Kubernetes API server's own endpoints: the address that other clusters may reach it by
    return ("default",) if listing.kind.startswith("EndpointSlice") else ()


def _agree(documents: Iterable[Any]) -> bool:
    found = list(documents)
    return all(document == found[0] for document in found)


def _runs(pod: Mapping[str, Any]) -> bool:
    ends = pod["metadata"].get("deletionTimestamp")
    return bool(pod["status"].get("phase") == "Running" and not ends)


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return namespace_of(item), name_of(item)


def _unique(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({_key(item): item for item in items}.values())
