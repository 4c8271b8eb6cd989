"""Call: a request of any workload for any host, by what objects say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...errors import ObservationError, UsageProblem
from ...snapshot import Object, Snapshot, name_of, namespace_of
from ..remedies import Commands
from ..services.demands import Demands
from ..services.hosts import covers, full_name, seen_from
from ..services.pods import Pod
from ..services.reach import Reaching
from ..services.view import ROUTE, SIDECAR, Service, View
from ..services.views import views

_MESH = "mesh"


@dataclass(frozen=True)
class Caller:
    """A workload that calls: cluster, namespace, and its name or that of a pod of it."""

    cluster: str
    namespace: str
    workload: str

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.workload}"


class Call:
    """A request to a port of a host, for its instances in one cluster.

    Properties raise :class:`ObservationError` where the snapshot does not say.
    """

    def __init__(
        self, known: Mapping[str, View], caller: Caller, host: str, port: int, target: str
    ) -> None:
        self.caller = caller
        self.host = host
        self.port = port
        self.target = target
        self.view = known[caller.cluster]
        self.snapshot: Snapshot = self.view.snapshot
        self._known = known

    @property
    def commands(self) -> Commands:
        """The commands of remedies."""
        return Commands(self.snapshot)

    @property
    def crosses(self) -> bool:
        """Whether the target is on another network."""
        spec = self.snapshot.spec
        return spec.cluster(self.caller.cluster).network != spec.cluster(self.target).network

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """The pods of the caller; none where nothing of that name runs."""
        name = self.caller.workload
        here = self.view.pods(self.caller.cluster).by_namespace.get(self.caller.namespace, ())
        exact = tuple(pod for pod in here if pod.name == name)
        return exact or tuple(pod for pod in here if pod.name.startswith(f"{name}-"))

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the caller; none where no pod of it is known."""
        return self.pods[0].labels if self.pods else {}

    @property
    def service(self) -> Service | None:
        """The service behind the host, whether the caller is told of it or not."""
        return self.view.registered.get(self.host)

    @property
    def target_view(self) -> View:
        """What the control plane of the target's pods knows."""
        return self._known[self.target]

    @cached_property
    def demands(self) -> Mapping[str, tuple[View, Demands]]:
        """For each cluster the view of its control plane, and what that demands of pods."""
        return {name: (view, Demands(view)) for name, view in self._known.items()}

    @cached_property
    def reaching(self) -> Reaching:
        """What keeps the callers of the cluster from others."""
        return Reaching(self.view, self.caller.cluster, self.demands)

    @cached_property
    def sidecar(self) -> Object | None:
        """The Sidecar that decides which hosts the caller is told of; None without any.

        For its workload, else of its namespace, else of the root namespace (Istio, "Sidecar").
        """
        found = self.view.rules(SIDECAR)
        here = [one for one in found if namespace_of(one) == self.caller.namespace]
        root = [one for one in found if namespace_of(one) == self.view.root]
        mine = [one for one in here if _labels(one) and _labels(one).items() <= self.labels.items()]
        for level in (mine, *([one for one in some if not _labels(one)] for some in (here, root))):
            if len(level) > 1:
                names = ", ".join(map(name_of, level))
                raise ObservationError("Sidecars", f"several decide for {self.caller}", names)
            if level:
                return level[0]
        return None

    def is_told(self, host: str, namespace: str) -> bool:
        """Whether the caller's Sidecar has a host of a namespace."""
        item = self.sidecar
        egress = item["spec"].get("egress") if item is not None else None
        if not egress:
            return True
        for one in egress:
            for text in one.get("hosts") or ():
                where, _, pattern = text.rpartition("/")
                where = where or "*"
                fits = where in ("*", namespace) or (
                    where == "." and namespace == self.caller.namespace
                )
                if fits and covers(pattern, host):
                    return True
        return False

    @cached_property
    def routes(self) -> tuple[Object, ...]:
        """The VirtualServices that the caller follows for the host."""
        return tuple(
            item
            for item in self.view.rules(ROUTE)
            if _MESH in (item["spec"].get("gateways") or (_MESH,))
            and seen_from(item, self.caller.namespace)
            and any(
                covers(self.view.resolved(host, item), self.host)
                for host in item["spec"].get("hosts") or ()
            )
        )

    @cached_property
    def servers(self) -> tuple[Pod, ...]:
        """The pods behind the host in the target."""
        service = self.service
        if service is None or self.target not in service.copies:
            return ()
        return self.target_view.pods_of(service, self.target)

    @cached_property
    def account(self) -> str:
        """The service account of the caller; empty where its pods were recorded by labels only."""
        named = {pod.name for pod in self.pods}
        for item in self.snapshot.clusters[self.caller.cluster].objects.get("Pod", ()):
            if namespace_of(item) == self.caller.namespace and name_of(item) in named:
                return str(item["spec"].get("serviceAccountName", ""))
        return ""

    @property
    def target_ports(self) -> frozenset[int]:
        """The ports of pods behind the port, as endpoints have them; none where unknown."""
        if self.service is None:
            return frozenset()
        name = (self.service.ports.get(self.port) or {}).get("name", "")
        held = self.view.groups(self.service, self.target) or ()
        return frozenset(one.port for one in held if one.name == name)

    @property
    def endpoints(self) -> int | None:
        """How many healthy endpoints the caller's istiod holds of the target; None: unknown."""
        return self.view.count(self.service, self.target) if self.service else 0


def _labels(sidecar: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = (sidecar["spec"].get("workloadSelector") or {}).get("labels") or {}
    return found


def known_views(snapshot: Snapshot) -> dict[str, View]:
    """For each cluster with workloads, what the control plane of its proxies knows."""
    return {name: view for view in views(snapshot) for name in view.served}


def calls(snapshot: Snapshot, caller: Caller, host: str, port: int = 0) -> tuple[Call, ...]:
    """The calls of a request: one for each cluster with instances of the service.

    - ``host`` as a resolver in the caller's pod completes it: ``cart``, ``cart.shop``, in full.
    - :class:`UsageProblem` where the cluster, the workload or the port is none of the snapshot.
    """
    known = known_views(snapshot)
    if caller.cluster not in known:
        advice = f"known clusters: {', '.join(known)}"
        raise UsageProblem(f"--from {caller}", "names no cluster with workloads", advice=advice)
    view = known[caller.cluster]
    full = _completed(view, caller, host)
    service = view.registered.get(full)
    if service is None:
        return (Call(known, caller, full, port or 80, caller.cluster),)
    if port and port not in service.ports:
        there = ", ".join(map(str, sorted(service.ports)))
        raise UsageProblem(f"--to {host}", f"has no port {port}", f"it has {there}")
    number = port or min(service.ports, default=0)
    ordered = sorted(service.copies, key=lambda name: name != caller.cluster)
    with_instances = [name for name in ordered if view.count(service, name) != 0]
    meant = {tuple(sorted(service.selector(name).items())) for name in with_instances}
    found = tuple(
        Call(known, caller, full, number, name)
        for name in ordered
        # where nothing runs, others answer; another selector than theirs is a mistake
        if name in with_instances
        or not meant
        or view.pods_of(service, name)
        or tuple(sorted(service.selector(name).items())) not in meant
    )
    if not found[0].pods:
        here = view.pods(caller.cluster).by_namespace.get(caller.namespace, ())
        some = ", ".join(sorted(pod.name for pod in here)[:5]) or "none"
        advice = f"name a Deployment or a pod; of {caller.namespace} the snapshot has: {some}"
        raise UsageProblem(f"--from {caller}", "is no workload of the snapshot", advice=advice)
    return found


def _completed(view: View, caller: Caller, host: str) -> str:
    host = host.rstrip(".").lower()
    short = full_name(host, caller.namespace, view.domain)
    for one in (short, f"{host}.svc.{view.domain}", f"{host}.{view.domain}"):
        if one in view.registered or view.knows(one):
            return one
    return short
