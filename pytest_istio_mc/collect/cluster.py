"""The sweep: all clusters, object kinds, istiods, proxies, credentials, read side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import sleep as pause
from typing import Any

from ..errors import KubeError
from ..eventually import Timeouts
from ..kube import Kube
from ..mesh import Mesh
from ..progress import Progress
from ..recorded import AccessFacts, EndpointFacts, Failure, IstiodFacts, ProxyFacts
from ..redact import public_url
from ..snapshot import (
    REACH,
    ClusterSnapshot,
    Object,
    Snapshot,
    labels_of,
    namespace_of,
)
from ..spec import ClusterSpec
from ..together import for_each
from .access import Ask, own_servers, probe_access
from .apiserver import ApiServerSweep, key_of
from .control_plane import istiod_endpoints, probe_endpoint
from .envoy import read_proxy
from .fitting import fitted
from .istiod import read_debug, read_istiod
from .objects import POD, PODS, SLICE, named_keys, trim
from .resolving import gateway_services, with_names_resolved
from .secrets import Credential

REQUESTS_AT_ONCE = 24

SHARDS = "endpointShardz"

SETTLING_SECONDS = 2.0
"""After it, every replica has heard of what one had heard of; they take milliseconds when idle."""


def collect(
    mesh: Mesh,
    progress: Progress,
    *,
    kubes: Mapping[str, Kube],
    ask: Ask | None = None,
    timeouts: Timeouts | None = None,
    for_upgrade: bool = False,
) -> Snapshot:
    """Record a snapshot of the mesh.

    - ``kubes``: open connections by cluster name.
    - ``ask``: lets a probe pod do an operation, see ``collect.access``.
    - ``for_upgrade``: with what only the precheck of an upgrade reads.
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
            _ClusterSweep(mesh, cluster, kubes[cluster.name], requests, ask, waits, for_upgrade)
            for cluster in mesh.spec
        ]
        found = for_each(_ClusterSweep.run, sweeps)
        clusters = {
            cluster.name: fitted(_settled(cluster, sweep))
            for cluster, sweep in zip(found, sweeps, strict=True)
        }
        clusters = with_names_resolved(mesh, clusters, ask, waits.request)
    selected = discovery_keys(clusters.values())
    chosen = named_keys(_selecting(clusters.values()))
    clusters = {
        name: _fewer_labels(_fewer_labels(one, "Namespace", selected), PODS, chosen)
        for name, one in clusters.items()
    }
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
        for_upgrade: bool,
    ) -> None:
        self.cluster = cluster
        self._mesh = mesh
        self._kube = kube
        self._pool = pool
        pods = mesh.probes.pods if mesh.probes else ()
        self._ask = ask if any(pod.cluster == cluster.name for pod in pods) else None
        self._waits = waits
        self._for_upgrade = for_upgrade

    def run(self) -> ClusterSnapshot:
        """Everything recorded of this cluster."""
        server = ""
        try:
            server = public_url(self._kube.server)
            version = self._kube.version()
            groups = self._kube.get_path("/apis")
            ahead = self._kube.now() - time.time()
        except KubeError as error:
            failures = (Failure(REACH, str(error), error.status),)
            return ClusterSnapshot(self.cluster.name, server, failures=failures)
        more = self._for_upgrade
        api = ApiServerSweep(self._mesh, self.cluster, self._kube, self._pool, for_upgrade=more)
        secrets = api.begin_secrets()
        objects = api.objects()
        gateways = gateway_services(objects["Service"], objects["ConfigMap"])
        facts, credentials = secrets.result() or ((), ())
        istiods = self._istiods(objects[POD])
        proxies = self._proxies(objects[POD], gateways, objects["Service"])
        served = api.served(groups.get("groups") or ()) if more else None
        access = self._access(credentials, objects[SLICE])
        control_plane = self._control_plane(objects[SLICE])
        return ClusterSnapshot(
            name=self.cluster.name,
            server=server,
            version=version,
            api_groups=tuple(sorted(str(group["name"]) for group in groups.get("groups") or ())),
            api_resources=served,
            objects={kind: tuple(items) for kind, items in objects.items()},
            secrets=facts,
            istiods=tuple(future.result() for future in istiods),
            proxies=tuple(future.result() for future in proxies),
            access=tuple(future.result() for future in access),
            control_plane=tuple(future.result() for future in control_plane),
            clock_ahead=round(ahead, 1),
            failures=tuple(api.failures.values()),
        )

    def shards(self, istiod: IstiodFacts) -> Any:
        """One replica's endpoint shards, read again; None where it does not answer."""
        get = self._getter(self._istio_namespace, istiod.pod)
        try:
            return read_debug(get, SHARDS, self.probe_namespaces)
        except KubeError:
            return None

    @property
    def _istio_namespace(self) -> str:
        return self._mesh.spec.istio_namespace

    @property
    def probe_namespaces(self) -> tuple[str, ...]:
        """The namespaces of this run's probes."""
        return (self._mesh.probes.namespace,) if self._mesh.probes else ()

    def _getter(self, namespace: str, pod: str) -> Callable[[int, str], bytes]:
        return lambda port, path: self._kube.http_get(
            namespace, pod, port, path, timeout_seconds=self._waits.kube_request
        )

    def _istiods(self, pods: Iterable[dict[str, Any]]) -> list[Future[IstiodFacts]]:
        namespace = self._istio_namespace
        found = [
            pod
            for pod in pods
            if namespace_of(pod) == namespace
            and labels_of(pod).get("app") == "istiod"
            and _runs(pod)
        ]
        probes = self._mesh.probes
        served = {one.name for one in self._mesh.spec.served_by(self.cluster)}
        proxies = [
            f"{pod.name}.{probes.namespace}"
            for pod in (probes.pods if probes else ())
            if probes and pod.cluster in served
        ]
        return [
            self._pool.submit(
                read_istiod, pod, self._getter(*key_of(pod)), self.probe_namespaces, proxies
            )
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
                if key_of(service) == (probes.namespace, probes.service)
                for port in service["spec"].get("ports") or ()
            ]
            here = [pod for pod in probes.pods if pod.cluster == self.cluster.name]
            kinds = {(probes.namespace, pod.name): pod.role for pod in here}
        for service in gateways:
            selector = (service["spec"].get("selector") or {}).items()
            for pod in pods:
                beside = namespace_of(pod) == namespace_of(service)
                if selector and beside and selector <= labels_of(pod).items():
                    kinds[key_of(pod)] = "east-west"
        futures = []
        for pod in pods:
            kind = kinds.get(key_of(pod))
            if kind is not None and _runs(pod):
                account = pod["spec"].get("serviceAccountName", "")
                known = {"service_account": account, "labels": labels_of(pod)}
                read = partial(read_proxy, ports=ports, **known)
                get = self._getter(*key_of(pod))
                futures.append(self._pool.submit(read, *key_of(pod), kind, get, prefix))
        return futures

    def _access(
        self, credentials: Iterable[Credential], slices: Iterable[Mapping[str, Any]]
    ) -> list[Future[AccessFacts]]:
        # single rights are asked for one after the other: a task that waits for tasks of its own
        # pool could wait for ever
        here, ask, wait = self.cluster.name, self._ask, self._waits.request
        own = own_servers(slices)
        return [self._pool.submit(probe_access, here, one, ask, wait, own) for one in credentials]

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


def _settled(cluster: ClusterSnapshot, sweep: _ClusterSweep) -> ClusterSnapshot:
    """The cluster, its istiod replicas read once more where they differ.

    - Replicas hear of an endpoint one after the other, and are read one after the other; only what
      stays different says something.
    - What changed in one of them between the two reads is left out of all.
    - Never more than twice: a replica has to write down every endpoint of the mesh for each read.
    """
    first = {one.pod: one.debug[SHARDS] for one in cluster.istiods if SHARDS in one.debug}
    if len(first) < 2 or _agree(first.values()):
        return cluster
    pause(SETTLING_SECONDS)
    again = {one.pod: sweep.shards(one) for one in cluster.istiods if one.pod in first}
    second = {pod: document for pod, document in again.items() if document is not None}
    if second.keys() != first.keys():
        return cluster  # one of them is gone: that is what the first reads say
    moving = {
        (host, namespace)
        for pod in first
        for host in {*first[pod], *second[pod]}
        for namespace in {*first[pod].get(host, ()), *second[pod].get(host, ())}
        if first[pod].get(host, {}).get(namespace) != second[pod].get(host, {}).get(namespace)
        and namespace not in sweep.probe_namespaces
    }
    istiods = tuple(
        replace(one, debug={**one.debug, SHARDS: _without(second[one.pod], moving)})
        if one.pod in second
        else one
        for one in cluster.istiods
    )
    return replace(cluster, istiods=istiods)


def _agree(documents: Iterable[Any]) -> bool:
    first, *others = documents
    return all(document == first for document in others)


def _without(document: Mapping[str, Any], moving: Collection[tuple[str, str]]) -> dict[str, Any]:
    kept = {
        host: {one: entry for one, entry in by.items() if (host, one) not in moving}
        for host, by in document.items()
    }
    return {host: by for host, by in kept.items() if by}


def discovery_keys(clusters: Iterable[ClusterSnapshot]) -> frozenset[str]:
    """The keys of labels that the discovery selectors of the mesh name."""
    meshes = [istiod.debug.get("mesh") for one in clusters for istiod in one.istiods]
    found = (selector for mesh in meshes for selector in (mesh or {}).get("discoverySelectors", ()))
    return frozenset(
        key
        for selector in found
        for key in (
            *selector.get("matchLabels", ()),
            *(one.get("key", "") for one in selector.get("matchExpressions", ())),
        )
    )


def _selecting(clusters: Iterable[ClusterSnapshot]) -> Iterator[Object]:
    """Everything in the mesh that chooses pods by labels: its rules may be in another cluster."""
    return (
        item
        for one in clusters
        for kind, items in one.objects.items()
        if kind == "Service" or kind.endswith(".istio.io")
        for item in items
    )


def _fewer_labels(
    cluster: ClusterSnapshot, kind: str, selected: Collection[str]
) -> ClusterSnapshot:
    """The cluster, its objects of a kind with the labels that matter in this mesh."""
    found = cluster.objects.get(kind, ())
    fewer = tuple(trim(kind, one, selected) for one in found)
    return replace(cluster, objects={**cluster.objects, kind: fewer}) if fewer else cluster


def _runs(pod: Mapping[str, Any]) -> bool:
    ends = pod["metadata"].get("deletionTimestamp")
    return bool(pod["status"].get("phase") == "Running" and not ends)
