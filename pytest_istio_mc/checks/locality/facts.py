"""Facts of locality: where clients and servers are, and who answered first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...observations import Request
from ...recorded import ProxyEndpoint
from ...snapshot import Snapshot, locality_of, name_of
from ...spec import ClusterSpec, Locality, MeshSpec, common_locality
from ...timelines import Record, Timeline, answered_in

SAME_SUBZONE, SAME_ZONE, SAME_REGION, OTHER_REGION = range(4)

FAILURES_TO_EJECT = 3
"""So many errors in a row eject an instance, by the rules that the checks make."""

EJECTION_SECONDS = 2.0
"""For how long at least, by the same rules."""


@dataclass(frozen=True)
class ProbeLocalities:
    """Where the client and the servers of one cluster are, perhaps in several zones."""

    client: Locality
    servers: tuple[Locality, ...]

    @property
    def known(self) -> bool:
        """Whether the client and all servers have a region."""
        return bool(self.servers) and all(one.region for one in (self.client, *self.servers))


Where = Mapping[str, ProbeLocalities]
"""By cluster with workloads."""


@dataclass(frozen=True)
class Tier:
    """The clusters at one distance from a client: ``SAME_SUBZONE`` to ``OTHER_REGION``."""

    distance: int
    clusters: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """The tiers as seen from ``source``, nearest first.

    ``unseen`` are the clusters without a tier, each with the reason.
    """

    source: str
    tiers: tuple[Tier, ...]
    unseen: Mapping[str, str] = field(default_factory=dict)

    @property
    def clusters(self) -> tuple[str, ...]:
        """Every cluster that has a tier."""
        return tuple(cluster for tier in self.tiers for cluster in tier.clusters)

    def nearest(self, without: Collection[str] = ()) -> tuple[str, ...]:
        """The clusters that must answer where those in ``without`` cannot.

        These are what is left of the first tier of which anything is left.
        """
        for tier in self.tiers:
            left = tuple(cluster for cluster in tier.clusters if cluster not in without)
            if left:
                return left
        return ()


@dataclass(frozen=True)
class ClientView:
    """What the proxy of a client holds for one service.

    - ``outlier_detection`` is that of its Envoy cluster; None where it has none.
    - ``error`` says why the proxy could not be read.
    """

    endpoints: tuple[ProxyEndpoint, ...] = ()
    outlier_detection: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def max_ejection_percent(self) -> int:
        """How much of the endpoints may be ejected; by default 10 (Envoy, "Outlier detection")."""
        return int((self.outlier_detection or {}).get("max_ejection_percent", 10))


@dataclass(frozen=True)
class FailoverStage:
    """One stage of a client's way through a failover.

    - From its beginning the clusters in ``absent`` have no endpoints, and those in ``failing``
      answer with errors. Requests are sent all the time.
    - ``before``: the requests until the ``nearest`` others alone answered; ``after``: the rest.
    - ``wanted``: how many of these it takes to tell.
    - ``seconds``: how long the shift took, None where it did not come within ``budget_seconds``.
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

        Errors of those that are ill do not belong to it: an ejection is for a time
        (``baseEjectionTime``), after which Envoy tries them again, each at a moment of its own.
        """
        if self.seconds is None:
            return self.before[-20:]
        return tuple(one for one in self.after if one.succeeded or one.cluster not in self.failing)

    @property
    def lost(self) -> tuple[Record, ...]:
        """All requests that failed, whenever that was."""
        return tuple(record for record in (*self.before, *self.after) if not record.succeeded)


@dataclass(frozen=True)
class Journey:
    """One client's way through stages, with all its requests and the right order."""

    order: Order
    stages: tuple[FailoverStage, ...] = ()
    timeline: Timeline = field(default_factory=lambda: Timeline(()))

    @property
    def source(self) -> str:
        """The cluster of the client."""
        return self.order.source

    @property
    def is_complete(self) -> bool:
        """Whether every stage came about, so that all were seen."""
        return bool(self.stages) and all(stage.seconds is not None for stage in self.stages)


@dataclass(frozen=True)
class Split:
    """Counted requests to a service that is shared among groups of clusters.

    - ``shares``: the percentage that each group should answer.
    - ``seconds``: how long it took until each had answered some, None where one did not within
      ``budget_seconds``.
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
    """A service without outlier detection, as the client in ``source`` meets it.

    - ``well``: requests when all instances are well.
    - ``ill``: requests while those in ``failing``, the nearest, are ill.
    - ``seconds``: how long it took until all clusters answered; None where they did not, and
      nothing more was asked.
    """

    source: str
    host: str
    failing: tuple[str, ...]
    well: tuple[Request, ...] = ()
    ill: tuple[Request, ...] = ()
    seconds: float | None = None
    view: ClientView = ClientView()


def crosses_zones(where: Where, source: str, request: Request | Record) -> bool:
    """Whether a request from ``source`` was answered in another zone or region."""
    here, target = where[source].client, where.get(answered_in(request))
    return target is not None and all(
        (there.region, there.zone) != (here.region, here.zone) for there in target.servers
    )


def localities(snapshot: Snapshot) -> dict[str, ProbeLocalities]:
    """Where each cluster's probes are, by the spec, else by their nodes."""
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
        found[cluster.name] = ProbeLocalities(client, tuple(sorted(servers, key=str)))
    return found


def declared_over(cluster: ClusterSpec, node: Locality) -> Locality:
    """The locality that a node should have: the spec goes before its labels."""
    said = cluster.locality
    return Locality(
        said.region or node.region, said.zone or node.zone, said.subzone or node.subzone
    )


def distance(client: Locality, server: Locality) -> int:
    """How far a server is from a client for Istio.

    0 is next to it, 3 in another region, as in ``LbPriority`` (Istio, pilot/pkg/networking/util).
    """
    if client.region != server.region:
        return OTHER_REGION
    if client.zone != server.zone:
        return SAME_REGION
    return SAME_SUBZONE if client.subzone == server.subzone else SAME_ZONE


def order(spec: MeshSpec, where: Where, source: str) -> Order:
    """The clusters by their distance from the client in ``source``.

    No tier has

    - a cluster whose servers are at several distances;
    - a cluster behind a gateway that also leads to clusters at another distance: Envoy knows the
      gateway's address once, so nobody can say which of them a request was meant for.
    """
    near: dict[int, list[str]] = {}
    unseen: dict[str, str] = {}
    for cluster in spec.data_planes:
        reached = _distances(where, source, (cluster.name,))
        if len(reached) > 1:
            unseen[cluster.name] = f"its servers are at several distances from {source}"
        elif len(_distances(where, source, spec.behind_one_gateway(cluster.name, source))) > 1:
            leads = f"leads to clusters at several distances from {source}"
            unseen[cluster.name] = f"the gateway of {cluster.network} {leads}"
        else:
            near.setdefault(reached.pop(), []).append(cluster.name)
    return Order(source, tuple(Tier(far, tuple(near[far])) for far in sorted(near)), unseen)


def failover_order(spec: MeshSpec, where: Where, source: str) -> tuple[Order, str]:
    """The order by a failover map for ``source``, and the region that it names.

    - The region is the last of the other regions that can be told apart.
    - It is empty where there are not two such regions; the order is the plain one then.
    """
    plain = order(spec, where, source)
    near = tuple(tier for tier in plain.tiers if tier.distance != OTHER_REGION)
    far = [name for tier in plain.tiers if tier.distance == OTHER_REGION for name in tier.clusters]
    regions: dict[str, list[str]] = {}
    for cluster in far:
        behind = spec.behind_one_gateway(cluster, source)
        found = {server.region for name in behind for server in where[name].servers}
        regions.setdefault(found.pop() if len(found) == 1 else "", []).append(cluster)
    untold = regions.pop("", [])
    if len(regions) < 2 or not near:
        return plain, ""
    chosen = list(regions)[-1]
    first = tuple(regions.pop(chosen))
    rest = tuple(cluster for clusters in regions.values() for cluster in clusters)
    unseen = {**plain.unseen, **dict.fromkeys(untold, "its region cannot be told")}
    tiers = (*near, Tier(OTHER_REGION, first), Tier(OTHER_REGION, rest))
    return Order(source, tiers, unseen), chosen


def groups(spec: MeshSpec, where: Where, source: str) -> dict[str, tuple[str, ...]]:
    """The groups of clusters that can have shares, by the pattern of their locality.

    - A pattern is ``region1/zone1/*``.
    - Clusters in one locality, and those behind one gateway, are one group.
    - The group of ``source`` itself comes first.
    - No pattern covers another's clusters: where it would, the groups are one.
    """
    found: list[set[str]] = []
    for cluster in spec.data_planes:
        mine = {cluster.name, *spec.behind_one_gateway(cluster.name, source)}
        found = _merged(found, mine)
    merged = True
    while merged:
        merged = False
        for group in found:
            pattern = _pattern(where, group)
            covered = {
                name
                for name in where
                if any(_covers(pattern, server) for server in where[name].servers)
            }
            if not covered <= group:
                found = _merged(found, covered | group)
                merged = True
                break
    names = [cluster.name for cluster in spec.data_planes]

    def place(group: set[str]) -> tuple[bool, int]:
        first = min(map(names.index, group))
        return source not in group, (first - names.index(source)) % len(names)

    return {
        written(_pattern(where, group)): tuple(sorted(group, key=names.index))
        for group in sorted(found, key=place)
    }


def _merged(found: list[set[str]], members: set[str]) -> list[set[str]]:
    """The groups, with those that have any of these members made one with them."""
    apart = [group for group in found if not group & members]
    return [*apart, members.union(*(group for group in found if group & members))]


def _distances(where: Where, source: str, targets: Iterable[str]) -> set[int]:
    client = where[source].client
    return {distance(client, server) for target in targets for server in where[target].servers}


def _pattern(where: Where, group: Iterable[str]) -> Locality:
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
