"""The sweep: every cluster, object kind, istiod replica, proxy and remote credential, read side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import KubeError, NotInTime
from ..eventually import Timeouts, eventually
from ..mesh import Mesh
from ..progress import Progress
from ..snapshot import (
    AccessFacts,
    ClusterSnapshot,
    EndpointFacts,
    Failure,
    IstiodFacts,
    ProxyFacts,
    SecretFacts,
    Snapshot,
    is_east_west_service,
    labels_of,
    name_of,
    namespace_of,  # fmt: skip
)
from ..spec import ClusterSpec
from .access import Ask, probe_access
from .control_plane import istiod_endpoints, probe_endpoint
from .envoy import read_proxy
from .istiod import read_debug, read_istiod
from .objects import LISTINGS, Listing, kind_of, trim, wanted
from .secrets import Credential, is_remote_secret, looks_remote, reduce_secret

if TYPE_CHECKING:
    from ..kube import Kube

T = TypeVar("T")

REQUESTS_AT_ONCE = 24


def collect(
    mesh: Mesh,
    progress: Progress,
    *,
    kubes: Mapping[str, Kube] | None = None,
    ask: Ask | None = None,
    timeouts: Timeouts | None = None,
) -> Snapshot:
    """Record a snapshot of the mesh.

    ``kubes`` are open connections by cluster name (made, and closed, here where there are none); ``ask`` lets a probe pod do an
    operation, see ``collect.access``. What cannot be had is recorded as a failure; nothing is raised for it, and nothing is written
    to any cluster.
    """
    waits = timeouts or Timeouts()
    opened = {} if kubes is not None else _open(mesh, waits)
    connections = kubes if kubes is not None else opened
    try:
        with (
            progress.step(f"snapshot of {len(mesh.spec.clusters)} clusters"),
            # coordinators wait for requests, so they have a pool of their own: one shared pool could fill up with waiting ones
            ThreadPoolExecutor(max(1, len(mesh.spec.clusters)), "cluster") as coordinators,
            ThreadPoolExecutor(REQUESTS_AT_ONCE, "request") as requests,
        ):
            sweeps = [
                _ClusterSweep(mesh, cluster, connections[cluster.name], requests, ask, waits)
                for cluster in mesh.spec
            ]
            clusters = {found.name: found for found in coordinators.map(_ClusterSweep.run, sweeps)}
            clusters = _settled(clusters, {sweep.cluster.name: sweep for sweep in sweeps}, waits)
    finally:
        for kube in opened.values():
            kube.close()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Snapshot(mesh.spec, mesh.run_id, now, clusters, mesh.probes)


def _open(mesh: Mesh, waits: Timeouts) -> dict[str, Kube]:
    from ..kube import Kube

    return {
        cluster.name: Kube(
            cluster.name,
            mesh.spec.kubeconfig,
            cluster.context,
            request_timeout_seconds=waits.kube_request,
        )
        for cluster in mesh.spec
    }


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
        self._ask = (
            ask
            if mesh.probes is not None
            and any(pod.cluster == cluster.name for pod in mesh.probes.pods)
            else None
        )
        self._waits = waits
        self._failures: list[Failure] = []
        self._istiod_pods: list[dict[str, Any]] = []

    def run(self) -> ClusterSnapshot:
        """Everything recorded of this cluster."""
        try:
            version = self._kube.version()
            groups = self._kube.get_path("/apis")
        except KubeError as error:
            return ClusterSnapshot(
                self.cluster.name,
                self._kube.server,
                failures=(Failure("reach the API server", str(error), error.status),),
            )
        secrets = self._pool.submit(self._attempt, "list Secret", self._secrets)
        early = {
            listing: self._submit(listing) for listing in LISTINGS if listing.scope != "workloads"
        }
        listed = {listing: future.result() for listing, future in early.items()}
        services = next(items for listing, items in listed.items() if listing.kind == "Service")
        gateways = [service for service in services or () if is_east_west_service(service)]
        namespaces = sorted(
            {
                self._istio_namespace,
                *self._probe_namespaces,
                *(namespace_of(service) for service in gateways),
            }
        )
        late = {
            listing: [
                self._submit(listing, namespace)
                for namespace in (*namespaces, *self._extra(listing))
            ]
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
        return read_debug(
            self._getter(self._istio_namespace, istiod.pod),
            "endpointShardz",
            self._probe_namespaces,
        )

    @property
    def _istio_namespace(self) -> str:
        return self._mesh.spec.istio_namespace

    @property
    def _probe_namespaces(self) -> tuple[str, ...]:
        return (self._mesh.probes.namespace,) if self._mesh.probes else ()

    def _extra(self, listing: Listing) -> tuple[str, ...]:
        # the Kubernetes API server's own endpoints: the address that other clusters may reach it by
        return ("default",) if listing.kind.startswith("EndpointSlice") else ()

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
            if secret["metadata"]["name"] in ("cacerts", "istio-ca-secret") or looks_remote(secret)
        ]
        elsewhere = self._kube.list("Secret", None, labels="istio/multiCluster=true")
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
        found = [
            pod
            for pod in pods
            if namespace_of(pod) == self._istio_namespace
            and labels_of(pod).get("app") == "istiod"
            and _runs(pod)
        ]
        return [
            self._pool.submit(
                read_istiod,
                pod,
                self._getter(self._istio_namespace, name_of(pod)),
                self._probe_namespaces,
            )
            for pod in found
        ]

    def _proxies(
        self,
        pods: list[dict[str, Any]],
        gateways: Iterable[Mapping[str, Any]],
        services: Iterable[Mapping[str, Any]],
    ) -> list[Future[ProxyFacts]]:
        probes = self._mesh.probes
        prefix = f"{probes.service}.{probes.namespace}.svc." if probes else ""
        ports = [
            port["port"]
            for service in services
            if probes
            and (namespace_of(service), name_of(service)) == (probes.namespace, probes.service)
            for port in service["spec"].get("ports") or ()
        ]
        kinds = (
            {
                (probes.namespace, pod.name): pod.role
                for pod in probes.pods
                if pod.cluster == self.cluster.name
            }
            if probes
            else {}
        )
        for service in gateways:
            selector = (service["spec"].get("selector") or {}).items()
            for pod in pods:
                if (
                    selector
                    and namespace_of(pod) == namespace_of(service)
                    and selector <= labels_of(pod).items()
                ):
                    kinds[(namespace_of(pod), name_of(pod))] = "east-west"
        futures = []
        for pod in pods:
            kind = kinds.get((namespace_of(pod), name_of(pod)))
            if kind is not None and _runs(pod):
                known = {
                    "service_account": pod["spec"].get("serviceAccountName", ""),
                    "labels": labels_of(pod),
                }
                get = self._getter(namespace_of(pod), name_of(pod))
                futures.append(
                    self._pool.submit(
                        read_proxy,
                        namespace_of(pod),
                        name_of(pod),
                        kind,
                        get,
                        prefix,
                        ports=ports,
                        **known,
                    )
                )
        return futures

    def _access(self, credentials: Iterable[Credential]) -> list[Future[AccessFacts]]:
        # single rights are asked for one after the other: a task that waits for tasks of its own pool could wait for ever
        return [
            self._pool.submit(
                probe_access, self.cluster.name, credential, self._ask, self._waits.request
            )
            for credential in credentials
        ]

    def _control_plane(self, slices: Iterable[Mapping[str, Any]]) -> list[Future[EndpointFacts]]:
        """Handshakes with the istiod of another cluster that serves this one; none where its own does."""
        if self.cluster.control_plane in ("", self.cluster.name):
            return []
        namespace, wait = self._istio_namespace, self._waits.request
        return [
            self._pool.submit(
                probe_endpoint, self.cluster.name, address, port, namespace, self._ask, wait
            )
            for address, port in istiod_endpoints(slices, namespace)
        ]


def _settled(
    clusters: dict[str, ClusterSnapshot], sweeps: Mapping[str, _ClusterSweep], waits: Timeouts
) -> dict[str, ClusterSnapshot]:
    """The clusters, with replicas of one istiod that disagree read again until they agree, or until the budget for it is over.

    Replicas hear of an endpoint one after the other; only a difference that stays is one.
    """
    settled = dict(clusters)
    for name, cluster in clusters.items():
        replicas = [istiod for istiod in cluster.istiods if "endpointShardz" in istiod.debug]
        if len(replicas) < 2 or _agree(istiod.debug["endpointShardz"] for istiod in replicas):
            continue
        sweep = sweeps[name]
        latest: dict[str, Any] = {}

        def read_again(
            sweep: _ClusterSweep = sweep,
            replicas: list[IstiodFacts] = replicas,
            latest: dict[str, Any] = latest,
        ) -> list[Any]:
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
        settled[name] = replace(
            cluster,
            istiods=tuple(
                replace(istiod, debug={**istiod.debug, "endpointShardz": latest[istiod.pod]})
                if istiod.pod in latest
                else istiod
                for istiod in cluster.istiods
            ),
        )
    return settled


def _agree(documents: Iterable[Any]) -> bool:
    found = list(documents)
    return all(document == found[0] for document in found)


def _runs(pod: Mapping[str, Any]) -> bool:
    return bool(
        pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    )


def _unique(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(namespace_of(item), name_of(item)): item for item in items}.values())
