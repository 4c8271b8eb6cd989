"""Localities: where clients and servers are, how far they are from each other for Istio, and what was seen of who answers first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .observations import Request
from .snapshot import ProxyEndpoint, Snapshot, labels_of, name_of
from .spec import ClusterSpec, Locality, MeshSpec

LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
"""The node labels that Istio takes region, zone and subzone from (Istio, "Locality Load Balancing")."""

SAME_SUBZONE, SAME_ZONE, SAME_REGION, ELSEWHERE = range(4)
_WORDS = ("the same subzone", "the same zone", "the same region", "other regions")


@dataclass(frozen=True)
class Place:
    """Where the probes of one cluster are: its client, and its servers (more than one place where they are spread over zones)."""

    client: Locality
    servers: tuple[Locality, ...]

    @property
    def known(self) -> bool:
        """Whether the client and all servers have a region."""
        return bool(self.client.region) and bool(self.servers) and all(server.region for server in self.servers)


Places = Mapping[str, Place]
"""The place of each cluster with workloads."""


@dataclass(frozen=True)
class Tier:
    """The clusters that are equally near to a client: how near (``SAME_SUBZONE`` to ``ELSEWHERE``), and their names."""

    distance: int
    clusters: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.clusters)} ({_WORDS[self.distance]})"


@dataclass(frozen=True)
class Order:
    """The tiers as seen from ``source``, nearest first. ``unseen`` are the clusters that no answer can be told from, and why."""

    source: str
    tiers: tuple[Tier, ...]
    unseen: tuple[str, ...] = ()

    @property
    def clusters(self) -> tuple[str, ...]:
        """Every cluster that has a tier."""
        return tuple(cluster for tier in self.tiers for cluster in tier.clusters)

    def nearest(self, without: Collection[str] = ()) -> tuple[str, ...]:
        """The clusters that must answer where those in ``without`` cannot: what is left of the first tier of which anything is."""
        for tier in self.tiers:
            left = tuple(cluster for cluster in tier.clusters if cluster not in without)
            if left:
                return left
        return ()


@dataclass(frozen=True)
class ClientView:
    """What the proxy of a client holds for one service: its endpoints, and the outlier detection of its Envoy cluster (None: none).

    ``error`` says why it could not be read.
    """

    endpoints: tuple[ProxyEndpoint, ...] = ()
    outlier_detection: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def max_ejection_percent(self) -> int:
        """How much of the endpoints may be ejected; 10 where that is not set (Envoy, "Outlier detection")."""
        return int((self.outlier_detection or {}).get("max_ejection_percent", 10))


@dataclass(frozen=True)
class Stage:
    """One stage of a client's way through a failover.

    Since it began, the clusters in ``absent`` have no endpoints and those in ``failing`` answer with errors. ``requests`` are all that
    were sent until only the ``nearest`` others had answered a few in a row, ``sample`` those sent after that. ``seconds`` is how long
    that took, ``None`` where it did not come about within ``budget_seconds``.
    """

    source: str
    host: str
    name: str
    nearest: tuple[str, ...]
    absent: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    sample: tuple[Request, ...] = ()
    seconds: float | None = None
    budget_seconds: float = 0.0
    view: ClientView = ClientView()


def answered_in(request: Request) -> str:
    """The cluster whose server answered this request well; empty where none did."""
    answer = request.answer
    return answer.cluster if request.succeeded and answer is not None and answer.role == "server" else ""


def locality_of(node: Mapping[str, Any]) -> Locality:
    """Region, zone and subzone of a Kubernetes Node, as its labels say."""
    return Locality(*(labels_of(node).get(label, "") for label in LABELS))


def common(localities: Iterable[Locality]) -> Locality:
    """What all of these have in common: a region, perhaps a zone in it, perhaps a subzone in that."""
    found = list(localities)
    kept: list[str] = []
    for part in ("region", "zone", "subzone"):
        values = {getattr(locality, part) for locality in found}
        if len(values) != 1:
            break
        kept.append(values.pop())
    return Locality(*kept)


def places(snapshot: Snapshot) -> dict[str, Place]:
    """The place of the probes in each cluster: what the spec declares, and where it is silent what their nodes say."""
    probes = snapshot.require_probes()
    found = {}
    for cluster in snapshot.spec.data_planes:
        nodes = {name_of(node): locality_of(node) for node in snapshot.clusters[cluster.name].listed("Node")}
        client = declared_over(cluster, nodes.get(probes.client(cluster.name).node, Locality()))
        servers = {declared_over(cluster, nodes.get(pod.node, Locality())) for pod in probes.servers(cluster.name)}
        found[cluster.name] = Place(client, tuple(sorted(servers, key=str)))
    return found


def declared_over(cluster: ClusterSpec, node: Locality) -> Locality:
    """The locality of a node of that cluster as it should be: what the spec declares goes before what the node says."""
    said = cluster.locality
    return Locality(said.region or node.region, said.zone or node.zone, said.subzone or node.subzone)


def distance(client: Locality, server: Locality) -> int:
    """How far a server is from a client for Istio (pilot/pkg/networking/util, ``LbPriority``): 0 is next to it, 3 in another region."""
    if client.region != server.region:
        return ELSEWHERE
    if client.zone != server.zone:
        return SAME_REGION
    return SAME_SUBZONE if client.subzone == server.subzone else SAME_ZONE


def order(spec: MeshSpec, where: Places, source: str) -> Order:
    """The clusters by their distance from the client in ``source``.

    A cluster whose servers are at several distances has no tier, nor has one behind a gateway that also leads to clusters at another
    distance: Envoy knows the gateway's address once, so that nobody can say which of them a request was meant for.
    """
    near: dict[int, list[str]] = {}
    unseen: list[str] = []
    for cluster in spec.data_planes:
        reached = _distances(where, source, cluster.name)
        behind = _distances(where, source, *(other.name for other in sharing_a_gateway(spec, source, cluster)))
        if len(reached) > 1:
            unseen.append(f"{cluster.name}: its servers are at several distances from {source}")
        elif len(behind) > 1:
            unseen.append(f"{cluster.name}: the gateway of {cluster.network} leads to clusters at several distances from {source}")
        else:
            near.setdefault(reached.pop(), []).append(cluster.name)
    return Order(source, tuple(Tier(far, tuple(near[far])) for far in sorted(near)), tuple(unseen))


def sharing_a_gateway(spec: MeshSpec, source: str, cluster: ClusterSpec) -> Iterator[ClusterSpec]:
    """The clusters that ``source`` reaches by the same gateways as ``cluster``, that one included; none where pods are reached directly."""
    if cluster.network != spec.cluster(source).network:
        yield from (other for other in spec.data_planes if other.network == cluster.network)


def _distances(where: Places, source: str, *targets: str) -> set[int]:
    return {distance(where[source].client, server) for target in targets for server in where[target].servers}
