"""A service of our own, as one client meets it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import ObservationError
from ...observations import Request
from ...probes import manifests, objects
from ...probes.client_proxy import CLUSTERS, ENDPOINTS, dumped, endpoints
from ...probes.traffic import Traffic
from ...together import for_each
from ..site import Site
from .facts import ClientView

if TYPE_CHECKING:
    from ...kube import Kube

_NOBODY = "nobody"


@contextmanager
def own_service(
    site: Site, source: str, purpose: str, policy: Mapping[str, Any]
) -> Iterator[OwnService]:
    """A Service with a traffic policy, for one client, until the end.

    It leads to the probe servers in every cluster.
    """
    traffic, kubes = site.traffic(), site.kubes()
    mesh, probes = traffic.mesh, traffic.probes
    name = objects.unique(f"locality-{purpose}")
    rule = objects.destination_rule(mesh.spec, name, policy=policy)
    service = manifests.extra_service(name, probes.service)
    # the rule first, so that no proxy learns of the service without it
    with (
        objects.present(mesh, kubes, probes.namespace, objects.everywhere(mesh, [], [rule])),
        objects.present(mesh, kubes, probes.namespace, objects.everywhere(mesh, [service], [])),
    ):
        yield OwnService(traffic, kubes, source, name, _detour(traffic, source))


def _detour(traffic: Traffic, source: str) -> str:
    """An address in the mesh for requests to a new Service.

    The resolver may remember its own name as unknown. The sidecar looks at the name in the request
    alone; until it knows that, the clients answer, whose address this is, and say so.
    """
    return next(iter(traffic.resolve(source, traffic.host(manifests.CLIENT))), "")


@dataclass(frozen=True)
class OwnService:
    """The Service of that name; the client in ``source`` sends to ``address``."""

    traffic: Traffic
    kubes: Mapping[str, Kube]
    source: str
    name: str
    address: str

    @property
    def host(self) -> str:
        """The name that clients call."""
        return self.traffic.host(self.name)

    def ask(self, count: int, concurrency: int) -> tuple[Request, ...]:
        """So many requests of the client."""
        return self.traffic.requests(
            self.source,
            self.host,
            manifests.HTTP,
            count=count,
            concurrency=concurrency,
            address=self.address,
        )

    def take_endpoints(self, clusters: Collection[str]) -> None:
        """Let it lead to nobody in these clusters."""
        self._select(clusters, _NOBODY)

    def give_endpoints(self, clusters: Collection[str]) -> None:
        """Let it lead to the probe servers in these clusters again."""
        self._select(clusters, self.traffic.probes.service)

    def _select(self, clusters: Collection[str], app: str) -> None:
        namespace, change = self.traffic.probes.namespace, {"spec": {"selector": {"app": app}}}
        for_each(
            lambda cluster: self.kubes[cluster].merge("Service", self.name, namespace, change),
            clusters,
        )

    def make_ill(self, clusters: Collection[str], *, begins: bool = True) -> None:
        """Let the servers of these clusters fail its requests, or no more."""
        probes, command = self.traffic.probes, manifests.illness(self.host, begins=begins)
        pods = [pod for cluster in clusters for pod in probes.servers(cluster)]
        self.traffic.from_each(
            pods,
            lambda pod: self.kubes[pod.cluster].exec(
                probes.namespace, pod.name, manifests.CONTAINER, command
            ),
        )

    def view(self) -> ClientView:
        """What the client's proxy holds for it."""
        mesh, kube = self.traffic.mesh, self.kubes[self.source]
        host = f"{self.name}.{self.traffic.probes.namespace}.svc."
        try:
            clusters = dumped(mesh, kube, self.source, CLUSTERS, host)
            held = dumped(mesh, kube, self.source, ENDPOINTS, host)
        except ObservationError as error:
            return ClientView(error=str(error))
        policies = [(entry.get("cluster") or {}).get("outlier_detection") for entry in clusters]
        return ClientView(
            tuple(one for ones in endpoints(held, host).values() for one in ones),
            next(iter(policies), None),
        )
