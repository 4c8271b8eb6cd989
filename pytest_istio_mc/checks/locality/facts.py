"""Localities: where clients and servers are, how far they are from each other for Istio, and what was seen of who answers first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...observations import Request
from ...snapshot import ProxyEndpoint, Snapshot, locality_of, name_of
from ...spec import ClusterSpec, Locality, MeshSpec, common_locality
from ...timelines import Record, Timeline, answered_in

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
        return (
            bool(self.client.region)
            and bool(self.servers)
            and all(server.region for server in self.servers)
        )


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
    """The tiers as seen from ``source``, nearest first. ``unseen`` are the clusters without a tier, each with the reason."""

    source: str
    tiers: tuple[Tier, ...]
    unseen: Mapping[str, str] = field(default_factory=dict)

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

    Since it began, the clusters in ``absent`` have no endpoints and those in ``failing`` answer with errors. Requests are sent all the
    time: those ``before`` were until the ``nearest`` others alone answered, those ``after`` from then on; ``wanted`` is how many of these
    it takes to tell. ``seconds`` is how long it took, ``None`` where it did not come about within ``budget_seconds``.
    """

    source: str
    host: str
    name: str
    nearest: tuple[str, ...]
    absent: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    before: tuple[Record, ...] = ()
    after: tuple[Record, ...] = ()
    seconds: float | None = None
    budget_seconds: float = 0.0
    wanted: int = 0
    view: ClientView = ClientView()

    @property
    def settled(self) -> tuple[Record, ...]:
        """All that was sent after the shift, or without one the last requests.

        Errors of those that are ill do not belong to it: an ejection is for a time (``baseEjectionTime``), after which Envoy tries them
        again; of several each has been ejected at a moment of its own.
        """
        if self.seconds is None:
            return self.before[-20:]
        return tuple(
            record
            for record in self.after
            if record.succeeded or record.cluster not in self.failing
        )

    @property
    def lost(self) -> tuple[Record, ...]:
        """All requests that failed, whenever that was."""
        return tuple(record for record in (*self.before, *self.after) if not record.succeeded)


@dataclass(frozen=True)
class Journey:
    """The stages that the client in ``source`` went through, its requests all the while, and the order that is right."""

    order: Order
    stages: tuple[Stage, ...] = ()
    timeline: Timeline = field(default_factory=lambda: Timeline(()))

    @property
    def source(self) -> str:
        """The cluster of the client."""
        return self.order.source

    def complete(self) -> bool:
        """Whether every stage came about, so that all were seen."""
        return bool(self.stages) and all(stage.seconds is not None for stage in self.stages)


@dataclass(frozen=True)
class Split:
    """Counted requests from the client in ``source`` to a service, and the percentage that each group of clusters should answer.

    ``seconds`` is how long it took until each group that should had answered some, ``None`` where one did not within ``budget_seconds``.
    """

    source: str
    host: str
    shares: Mapping[tuple[str, ...], int]
    requests: tuple[Request, ...] = ()
    seconds: float | None = None
    budget_seconds: float = 0.0
    view: ClientView = ClientView()


@dataclass(frozen=True)
class Unprotected:
    """A service without outlier detection, as the client in ``source`` meets it: when all is ``well``, and when the instances in the
    clusters ``failing``, the nearest, are ``ill``. Nothing was asked where not all clusters answered at first: ``seconds`` is None."""

    source: str
    host: str
    failing: tuple[str, ...]
    well: tuple[Request, ...] = ()
    ill: tuple[Request, ...] = ()
    seconds: float | None = None
    view: ClientView = ClientView()


def crosses_zones(where: Places, source: str, request: Request | Record) -> bool:
    """Whether a request of the client in ``source`` was answered in another zone or region."""
    here, target = where[source].client, where.get(answered_in(request))
    return target is not None and all(
        (there.region, there.zone) != (here.region, here.zone) for there in target.servers
    )


def places(snapshot: Snapshot) -> dict[str, Place]:
    """The place of the probes in each cluster: what the spec declares, and where it is silent what their nodes say."""
    probes = snapshot.require_probes()
    found = {}
    for cluster in snapshot.spec.data_planes:
        nodes = {
            name_of(node): locality_of(node)
            for node in snapshot.clusters[cluster.name].listed("Node")
        }
        client = declared_over(cluster, nodes.get(probes.client(cluster.name).node, Locality()))
        servers = {
            declared_over(cluster, nodes.get(pod.node, Locality()))
            for pod in probes.servers(cluster.name)
        }
        found[cluster.name] = Place(client, tuple(sorted(servers, key=str)))
    return found


def declared_over(cluster: ClusterSpec, node: Locality) -> Locality:
    """The locality of a node of that cluster as it should be: what the spec declares goes before what the node says."""
    said = cluster.locality
    return Locality(
        said.region or node.region, said.zone or node.zone, said.subzone or node.subzone
    )


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
    unseen: dict[str, str] = {}
    for cluster in spec.data_planes:
        reached = _distances(where, source, (cluster.name,))
        if len(reached) > 1:
            unseen[cluster.name] = f"its servers are at several distances from {source}"
        elif len(_distances(where, source, spec.behind_one_gateway(cluster.name, source))) > 1:
            unseen[cluster.name] = (
                f"the gateway of {cluster.network} leads to clusters at several distances from {source}"
            )
        else:
            near.setdefault(reached.pop(), []).append(cluster.name)
    return Order(source, tuple(Tier(far, tuple(near[far])) for far in sorted(near)), unseen)


def failover_order(spec: MeshSpec, where: Places, source: str) -> tuple[Order, str]:
    """The order when one of the other regions is named as the next one for the region of ``source``, and that region: the last of those
    that can be told apart. Empty where there are not two such regions."""
    plain = order(spec, where, source)
    near = tuple(tier for tier in plain.tiers if tier.distance != ELSEWHERE)
    regions: dict[str, list[str]] = {}
    for tier in plain.tiers:
        for cluster in tier.clusters if tier.distance == ELSEWHERE else ():
            found = {
                server.region
                for name in spec.behind_one_gateway(cluster, source)
                for server in where[name].servers
            }
            regions.setdefault(found.pop() if len(found) == 1 else "", []).append(cluster)
    regions.pop("", None)
    if len(regions) < 2 or not near:
        return plain, ""
    chosen = list(regions)[-1]
    first, rest = (
        tuple(regions.pop(chosen)),
        tuple(cluster for clusters in regions.values() for cluster in clusters),
    )
    unseen = {
        **plain.unseen,
        **{
            name: "its region cannot be told"
            for name in plain.clusters
            if name not in _names(near, first, rest)
        },
    }
    return Order(source, (*near, Tier(ELSEWHERE, first), Tier(ELSEWHERE, rest)), unseen), chosen


def groups(spec: MeshSpec, where: Places, source: str) -> dict[str, tuple[str, ...]]:
    """The clusters that shares can be given to from ``source``, by the pattern that names their locality (``region1/zone1/*``).

    Clusters in one locality, and those behind one gateway, are one group. The group of ``source`` itself comes first. One pattern never
    covers another's clusters: where it would, the groups are one.
    """
    found: list[set[str]] = []
    for cluster in spec.data_planes:
        mine = {cluster.name, *spec.behind_one_gateway(cluster.name, source)}
        found = [
            *(group for group in found if not group & mine),
            mine.union(*(group for group in found if group & mine)),
        ]
    merged = True
    while merged:
        merged = False
        for group in found:
            covered = {
                name
                for name in where
                if any(_covers(_pattern(where, group), server) for server in where[name].servers)
            }
            if not covered <= group:
                found = [other for other in found if not other & covered and other is not group] + [
                    group.union(*(other for other in found if other & covered))
                ]
                merged = True
                break
    names = [cluster.name for cluster in spec.data_planes]
    ordered = sorted(
        found,
        key=lambda group: (
            source not in group,
            (min(map(names.index, group)) - names.index(source)) % len(names),
        ),
    )
    return {
        written(_pattern(where, group)): tuple(sorted(group, key=names.index)) for group in ordered
    }


def _distances(where: Places, source: str, targets: Iterable[str]) -> set[int]:
    return {
        distance(where[source].client, server)
        for target in targets
        for server in where[target].servers
    }


def _names(tiers: Iterable[Tier], *more: Iterable[str]) -> set[str]:
    return {cluster for tier in tiers for cluster in tier.clusters}.union(*more)


def _pattern(where: Places, group: Iterable[str]) -> Locality:
    return common_locality(server for name in group for server in where[name].servers)


def _covers(pattern: Locality, locality: Locality) -> bool:
    parts = (
        (pattern.region, locality.region),
        (pattern.zone, locality.zone),
        (pattern.subzone, locality.subzone),
    )
    return all(wanted in ("", has) for wanted, has in parts)


def written(locality: Locality) -> str:
    """A locality as ``distribute`` names it: with a star for what is below it."""
    parts = [part for part in (locality.region, locality.zone, locality.subzone) if part]
    return "/".join(parts if len(parts) == 3 else [*parts, "*"])
