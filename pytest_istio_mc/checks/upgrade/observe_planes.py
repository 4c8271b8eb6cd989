"""Samples injection, istiods and proxies at a bounded rate while a change goes on."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...certificates import facts, split_pem
from ...collect.envoy import ADMIN_PORT, read_proxy
from ...collect.istiod import MONITORING_PORT, read_debug
from ...errors import GivenUp, KubeError, MeshError
from ...istio_names import ISTIOD_PODS
from ...mesh import ProbePod
from ...probes import manifests, workloads
from ...probes.causes import refused_by_admission
from ...probes.counted_services import pairs, service_of
from ...together import for_each
from ..site import Site
from .facts import Admission, EndpointLook, IstiodLook, IstiodPod, ProxyLook, Unread

if TYPE_CHECKING:
    from ...kube import Kube

INJECTION_EVERY = 2.0
"""Seconds between two pods that each cluster is asked to admit, in a dry run."""

LOOK_EVERY = 5.0
"""Seconds between two looks at each istiod (three requests) and each client's proxy (one)."""

LOOK_SECONDS = 5.0
_COUNTERS = re.compile(
    r"^(pilot_total_xds_rejects|pilot_xds_pushes)(\{[^}]*\})? (\S+)$", re.MULTILINE
)


MOST_LOOKS = 2000
"""Of one kind at one thing; what flaps more often is told up to there."""


class Samples:
    """What was seen: the first and the last look of each state.

    So states have a length, and a long change takes no more memory than a short one.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kubes = site.kubes()
        self._mesh = site.here.mesh
        self._namespace = self._mesh.require_probes().namespace
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._seen: dict[tuple[str, ...], list[tuple[Any, Any]]] = {}
        self._unread: dict[str, Unread] = {}
        self._like: dict[str, Any] = {}
        self._phase = 0

    def next_phase(self) -> None:
        """Something begins or ends: the next looks are kept, whatever they see."""
        with self._lock:
            self._phase += 1

    @property
    def admissions(self) -> tuple[Admission, ...]:
        """Pods that were to be admitted."""
        return self._all("admission")

    @property
    def istiods(self) -> tuple[IstiodLook, ...]:
        """What istiods said."""
        return self._all("istiod")

    @property
    def pods(self) -> tuple[IstiodPod, ...]:
        """The pods of istiods."""
        return self._all("pod")

    @property
    def endpoints(self) -> tuple[EndpointLook, ...]:
        """The endpoints that clients' proxies had."""
        return self._all("endpoint")

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What could not be read."""
        return tuple(self._unread.values())

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Sample in threads until the block ends."""
        spec = self._mesh.spec
        there = {pod.cluster for pod in self._mesh.require_probes().pods}
        looks: list[tuple[float, Callable[[str], None], str]] = []
        for cluster in (one.name for one in spec.data_planes if one.name in there):
            looks.append((INJECTION_EVERY, self._admit, cluster))
            looks.append((LOOK_EVERY, self._look_at_client, cluster))
        looks += [(LOOK_EVERY, self._look_at_istiods, one.name) for one in spec.control_planes]
        threads = [
            threading.Thread(target=self._repeat, args=look, name="gate sample", daemon=True)
            for look in looks
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(3 * LOOK_SECONDS)

    def _all(self, kind: str) -> tuple[Any, ...]:
        with self._lock:
            found = [look for key, seen in self._seen.items() if key[0] == kind for _, look in seen]
        return tuple(sorted(found, key=lambda look: float(look.when)))

    def _saw(self, key: tuple[str, ...], state: Any, look: Any) -> None:
        """Keep a look; of several of one state in a row the first and the last."""
        with self._lock:
            state = (self._phase, state)
            seen = self._seen.setdefault(key, [])
            if len(seen) > 1 and (seen[-1][0] == seen[-2][0] == state or len(seen) > MOST_LOOKS):
                seen.pop()
            seen.append((state, look))

    def _repeat(self, every: float, look: Callable[[str], None], cluster: str) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                look(cluster)
            except GivenUp as error:
                self._failed(f"cluster {cluster}", error)
                return
            except MeshError as error:
                self._failed(f"cluster {cluster}", error)
            self._ended.wait(max(0.2, every - (time.monotonic() - began)))

    def _failed(self, what: str, error: Exception) -> None:
        why = str(error).partition("\n")[0]
        with self._lock:
            before = self._unread.get(what)
            self._unread[what] = Unread(what, before.times + 1 if before else 1, why)

    def _admit(self, cluster: str) -> None:
        """Have a pod like the client's admitted in a dry run, which makes none."""
        kube, namespace, now = self._kubes[cluster], self._namespace, time.time()
        try:
            if cluster not in self._like:
                self._like[cluster] = kube.read("Deployment", manifests.CLIENT, namespace)
            if self._like[cluster] is None:
                del self._like[cluster]
                step = "is not there: a pod like its pods is to be admitted"
                raise KubeError(f"Deployment {manifests.CLIENT} in {namespace}", step)
            pod = manifests.dry_run_pod("gate-admission", self._like[cluster])
            pod["metadata"]["namespace"] = namespace
            look = Admission(cluster, now, injected=_has_proxy(kube.create(pod, dry_run=True)))
        except KubeError as error:
            if error.status in (0, 401, 403, 404) and not refused_by_admission(error.detail):
                self._failed(f"injection in {cluster}", error)
                return
            look = Admission(cluster, now, error=error.detail[:_LONGEST_ERROR])
        here = (self._mesh, self._kubes, cluster, self._namespace)
        if look.accepted or not workloads.follow_revision(*here):
            self._saw(("admission", cluster), (look.injected, bool(look.error)), look)

    def _look_at_client(self, cluster: str) -> None:
        """How many endpoints the client's proxy has for each target."""
        pod, now = self._mesh.require_probes().client(cluster), time.time()
        path = f"/clusters?format=json&filter={quote(f'^outbound.{manifests.HTTP}..count-')}"
        what = f"endpoints of the client's proxy in {cluster}"
        try:
            found = _endpoints(self._get(cluster, self._namespace, pod.name, ADMIN_PORT, path))
        except (MeshError, ValueError, TypeError, AttributeError, KeyError) as error:
            self._failed(what, error)
            return
        for source, target in pairs(self._mesh):
            if source == cluster:
                name = service_of(self._mesh, target, retried=True)
                number = found.get(name, 0)
                look = EndpointLook(source, target, now, number)
                self._saw(("endpoint", source, target), number, look)

    def _look_at_istiods(self, cluster: str) -> None:
        namespace = self._mesh.spec.istio_namespace
        pods = self._kubes[cluster].list("Pod", namespace, labels=ISTIOD_PODS)
        for pod in pods:
            seen = _pod(cluster, pod)
            self._saw(("pod", cluster, seen.pod), (seen.ready, seen.restarts), seen)
        for name in (
            seen.pod
            for pod in pods
            if (seen := _pod(cluster, pod)).ready and not pod["metadata"].get("deletionTimestamp")
        ):
            self._look_at_istiod(cluster, namespace, name)

    def _look_at_istiod(self, cluster: str, namespace: str, pod: str) -> None:
        def get(port: int, path: str) -> bytes:
            return self._get(cluster, namespace, pod, port, path)

        now, unread = time.time(), list[str]()
        networks: dict[str, list[str]] = {}
        remotes: dict[str, str] = {}
        counters: dict[str, float] = {}
        try:
            for row in read_debug(get, "networkz"):
                address = f"{row.get('Addr')}:{row.get('Port')}"
                networks.setdefault(str(row.get("Network", "")), []).append(address)
        except MeshError as error:
            unread.append("networkz")
            self._failed(f"networkz of istiod in {cluster}", error)
        try:
            found = read_debug(get, "clusterz")
            remotes = {str(row.get("id")): str(row.get("syncStatus", "")) for row in found}
        except MeshError as error:
            unread.append("clusterz")
            self._failed(f"clusterz of istiod in {cluster}", error)
        try:
            page = get(MONITORING_PORT, "/metrics").decode("utf-8", "replace")
            counters = dict.fromkeys(("pilot_total_xds_rejects", "pilot_xds_pushes"), 0.0)
            for name, _, value in _COUNTERS.findall(page):
                counters[name] += float(value)
        except (MeshError, ValueError) as error:
            unread.append("metrics")
            self._failed(f"metrics of istiod in {cluster}", error)
        look = IstiodLook(
            cluster,
            pod,
            now,
            {network: tuple(sorted(found)) for network, found in networks.items()},
            remotes,
            counters.get("pilot_total_xds_rejects"),
            counters.get("pilot_xds_pushes"),
            tuple(unread),
        )
        state = (look.gateways, look.remotes, look.rejects, look.unread)
        self._saw(("istiod", cluster, pod), state, look)

    def _get(self, cluster: str, namespace: str, pod: str, port: int, path: str) -> bytes:
        return self._kubes[cluster].http_get(
            namespace, pod, port, path, timeout_seconds=LOOK_SECONDS
        )


_LONGEST_ERROR = 500


def proxies(site: Site) -> tuple[tuple[ProxyLook, ...], tuple[tuple[str, str], ...]]:
    """What the probes' proxies have now; the pods of which that cannot be read, and why."""
    probes, kubes = site.here.mesh.require_probes(), site.kubes()

    def look(pod: ProbePod) -> ProxyLook | tuple[str, str]:
        try:
            return _proxy(kubes[pod.cluster], probes.namespace, pod)
        except (MeshError, ValueError, TypeError, AttributeError, KeyError) as error:
            return f"{pod.cluster}/{pod.name}", str(error).partition("\n")[0]

    found = for_each(look, probes.pods, 8)
    looks = tuple(one for one in found if isinstance(one, ProxyLook))
    return looks, tuple(one for one in found if not isinstance(one, ProxyLook))


def _proxy(kube: Kube, namespace: str, pod: ProbePod) -> ProxyLook:
    def get(port: int, path: str) -> bytes:
        return kube.http_get(namespace, pod.name, port, path, timeout_seconds=LOOK_SECONDS)

    path = "/config_dump?resource=dynamic_active_clusters&mask=cluster.name"
    listed = json.loads(get(ADMIN_PORT, path)).get("configs") or ()
    names = sorted(str((entry.get("cluster") or {}).get("name", "")) for entry in listed)
    known = read_proxy(namespace, pod.name, pod.role, get, "")
    if known.failures:
        raise KubeError(f"pod {pod.name}", known.failures[0].error)
    return ProxyLook(
        pod.cluster,
        pod.name,
        pod.role,
        tuple(name for name in names if name.startswith("inbound|")),
        tuple(name for name in names if name.startswith("outbound|")),
        tuple(sorted(facts(pem).sha256 for pem in split_pem(known.roots))),
    )


def _has_proxy(pod: Any) -> bool:
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return any(one["name"] == "istio-proxy" for one in containers)


def _endpoints(body: bytes) -> dict[str, int]:
    """How many usable endpoints Envoy clusters have, by the first label of their host."""
    found: dict[str, int] = {}
    for status in json.loads(body).get("cluster_statuses") or ():
        service = str(status.get("name", "")).rpartition("|")[2].partition(".")[0]
        hosts = status.get("host_statuses") or ()
        usable = [
            host
            for host in hosts
            if ((host.get("health_status") or {}).get("eds_health_status") or "HEALTHY")
            in ("HEALTHY", "UNKNOWN", "DEGRADED")
        ]
        found[service] = found.get(service, 0) + len(usable)
    return found


def _pod(cluster: str, pod: Any) -> IstiodPod:
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or ()
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    last = [
        ended
        for one in containers
        if (ended := (one.get("lastState") or {}).get("terminated")) is not None
    ]
    told = (
        f"{last[-1].get('reason', '')}, exit code {last[-1].get('exitCode', '?')}" if last else ""
    )
    return IstiodPod(
        cluster,
        str(pod["metadata"]["name"]),
        time.time(),
        conditions.get("Ready") == "True",
        sum(int(one.get("restartCount", 0)) for one in containers),
        told,
    )
