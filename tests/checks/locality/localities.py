"""Meshes of regions and zones, and healthy failovers, for tests to spoil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_istio_mc.checks.locality.facts import (
    ClientView,
    FailoverStage,
    Journey,
    Order,
    ProbeLocalities,
    Split,
    Unprotected,
    groups,
    order,
)
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Ending, Request
from pytest_istio_mc.recorded import ProxyEndpoint
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec, Role
from pytest_istio_mc.timelines import Record
from tests.checks.live_mesh import failed, mesh, request

HOST = "locality-x.istio-mc-test"
OUTLIER_DETECTION = {"consecutive_5xx": 3, "max_ejection_percent": 100}


def cluster(name: str, number: int, locality: Locality, plane: str = "") -> ClusterSpec:
    role = Role.REMOTE if plane else Role.PRIMARY
    network, context = f"network{number}", f"k-{name}"
    return ClusterSpec(name, network, role, plane, locality=locality, context=context)


def two_regions() -> Mesh:
    """East and west, each a network and a region of its own."""
    return mesh(
        cluster("east", 1, Locality("region1", "zone1")),
        cluster("west", 2, Locality("region2", "zone2")),
    )


def three_tiers() -> Mesh:
    """Two zones of a region, and another region."""
    return mesh(
        cluster("east", 1, Locality("region1", "zone1")),
        cluster("middle", 3, Locality("region1", "zone2"), "east"),
        cluster("west", 2, Locality("region2", "zone3")),
    )


def three_regions() -> Mesh:
    return mesh(
        *(
            cluster(name, number, Locality(f"region{number}", f"zone{number}"))
            for number, name in enumerate(("east", "middle", "west"), 1)
        )
    )


def sharing_a_gateway() -> Mesh:
    """Three regions, of which the last two are on one network."""
    of = three_regions()
    first, second, third = of.spec
    clusters = (first, second, replace(third, network=second.network))
    return replace(of, spec=replace(of.spec, clusters=clusters))


def where(spec: MeshSpec) -> dict[str, ProbeLocalities]:
    return {one.name: ProbeLocalities(one.locality, (one.locality,)) for one in spec}


def nearest_first(of: Mesh, source: str) -> Order:
    return order(of.spec, where(of.spec), source)


def view(of: Mesh, tiers: Order) -> ClientView:
    """What a client's proxy holds: an endpoint a cluster, by tier."""
    endpoints = []
    for priority, tier in enumerate(tiers.tiers):
        for name in tier.clusters:
            at, address = of.spec.cluster(name).locality, f"10.0.0.{priority}"
            endpoint = ProxyEndpoint(address, 5000, "HEALTHY", at.region, at.zone)
            endpoints.append(replace(endpoint, priority=priority, cluster=name))
    return ClientView(tuple(endpoints), OUTLIER_DETECTION)


def record(cluster: str) -> Record:
    """One request of a flow that a cluster answered."""
    return Record(1.0, Ending.ANSWERED, 200, cluster=cluster, pod=f"hello-{cluster}")


def records(*clusters: str, each: int = 10) -> tuple[Record, ...]:
    return tuple(record(cluster) for cluster in clusters for _ in range(each))


def ill() -> Record:
    """One request of a flow that an ill instance answered."""
    return Record(1.0, Ending.ANSWERED, 500, error="ill")


def answers(of: Mesh, source: str, *clusters: str, each: int = 10) -> tuple[Request, ...]:
    return tuple(request(of, source, cluster) for _ in range(each) for cluster in clusters)


def journeys(
    of: Mesh, orders: Callable[[Mesh, str], Order] = nearest_first, *, falls_ill: bool = True
) -> tuple[Journey, ...]:
    """A healthy failover from every cluster, by default in the order of localities."""
    found = []
    for source in of.spec.data_planes:
        tiers = orders(of, source.name)
        stages = [stage(of, tiers, "all are there")]
        for what in ("absent", "failing") if falls_ill else ("absent",):
            gone: tuple[str, ...] = ()
            for tier in tiers.tiers[:-1]:
                gone += tier.clusters
                stages.append(stage(of, tiers, f"{' and '.join(gone)} {what}", **{what: gone}))
            back = "all are back" if what == "absent" else "all are well again"
            stages.append(stage(of, tiers, back))
        found.append(Journey(tiers, tuple(stages)))
    return tuple(found)


def stage(
    of: Mesh,
    tiers: Order,
    name: str,
    *,
    absent: tuple[str, ...] = (),
    failing: tuple[str, ...] = (),
) -> FailoverStage:
    nearest = tiers.nearest((*absent, *failing))
    return FailoverStage(
        source=tiers.source,
        host=HOST,
        name=name,
        nearest=nearest,
        absent=absent,
        failing=failing,
        before=(ill(), ill(), ill()) if failing else (),
        after=records(*nearest, each=20),
        wanted=20,
        seconds=0.25,
        budget_seconds=20.0,
        view=view(of, tiers),
    )


def spoilt(
    found: Sequence[Journey], source: str, name: str, **changes: object
) -> tuple[Journey, ...]:
    """The journeys with one stage changed, up to one that did not come about."""

    def change(journey: Journey) -> Journey:
        stages: list[FailoverStage] = []
        for one in journey.stages:
            mine = journey.source == source and one.name == name
            stages.append(replace(one, **changes) if mine else one)  # type: ignore[arg-type]
            if stages[-1].seconds is None:
                break
        return replace(journey, stages=tuple(stages))

    return tuple(change(journey) for journey in found)


def never(*clusters: str, view: ClientView | None = None) -> dict[str, object]:
    """The changes of a stage in which these went on answering."""
    going_on = {"seconds": None, "before": records(*clusters), "after": ()}
    return going_on | ({"view": view} if view else {})


def splits(of: Mesh, *, own: int = 20) -> tuple[Split, ...]:
    """From every cluster, 300 requests: 20 % own locality, 80 % next."""
    found = []
    for source in (cluster.name for cluster in of.spec.data_planes):
        mine, other = list(groups(of.spec, where(of.spec), source).values())[:2]
        sent = answers(of, source, mine[0], each=3 * own)
        sent += answers(of, source, other[0], each=300 - 3 * own)
        held = view(of, nearest_first(of, source))
        found.append(Split(source, HOST, {mine: 20, other: 80}, sent, 0.3, 20.0, held))
    return tuple(found)


def meetings(of: Mesh) -> tuple[Unprotected, ...]:
    """From every cluster, to a service without outlier detection.

    Requests are spread evenly, and half of them fail when the nearest are ill.
    """
    names = [cluster.name for cluster in of.spec.data_planes]
    found = []
    for source in names:
        held = view(of, nearest_first(of, source)).endpoints
        unprotected = ClientView(tuple(replace(one, priority=0) for one in held), None)
        others = answers(of, source, *(name for name in names if name != source))
        sick = (*others, *[failed(of, source, 500, "ill")] * 10)
        well = answers(of, source, *names)
        found.append(Unprotected(source, HOST, (source,), well, sick, 0.3, unprotected))
    return tuple(found)
