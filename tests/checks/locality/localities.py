"""A mesh of regions and zones, and a healthy failover in it, for the tests of locality judges to spoil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_istio_mc.checks.locality.facts import (
    ClientView,
    Journey,
    Order,
    Place,
    Split,
    Stage,
    Unprotected,
    groups,
    order,
)
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Ending, Request
from pytest_istio_mc.snapshot import ClusterSnapshot, ProxyEndpoint, Snapshot
from pytest_istio_mc.spec import ClusterSpec, Locality, Role
from pytest_istio_mc.timelines import Record
from tests.checks.live_mesh import failed, mesh, request

HOST = "locality-x.istio-mc-test"
OUTLIER_DETECTION = {"consecutive_5xx": 3, "max_ejection_percent": 100}


def two_regions() -> Mesh:
    """East and west, each a network and a region of its own."""
    return mesh(
        ClusterSpec("east", "network1", locality=Locality("region1", "zone1"), context="k-east"),
        ClusterSpec("west", "network2", locality=Locality("region2", "zone2"), context="k-west"),
    )


def three_tiers() -> Mesh:
    """Two zones of a region on one network, and another region."""
    return mesh(
        ClusterSpec("east", "network1", locality=Locality("region1", "zone1"), context="k-east"),
        ClusterSpec(
            "middle",
            "network3",
            Role.REMOTE,
            "east",
            locality=Locality("region1", "zone2"),
            context="k-middle",
        ),
        ClusterSpec("west", "network2", locality=Locality("region2", "zone3"), context="k-west"),
    )


def three_regions() -> Mesh:
    return mesh(
        *(
            ClusterSpec(
                name,
                f"network{n}",
                locality=Locality(f"region{n}", f"zone{n}"),
                context=f"k-{name}",
            )
            for n, name in enumerate(("east", "middle", "west"), 1)
        )
    )


def snapshot(here: Mesh) -> Snapshot:
    """A snapshot of that mesh with no objects in it: where everything is, the spec says."""
    clusters = {cluster.name: ClusterSnapshot(cluster.name) for cluster in here.spec}
    return Snapshot(here.spec, here.run_id, "2026-01-01T00:00:00+00:00", clusters, here.probes)


def places(here: Mesh) -> dict[str, Place]:
    return {cluster.name: Place(cluster.locality, (cluster.locality,)) for cluster in here.spec}


def view(here: Mesh, tiers: Order) -> ClientView:
    """What the client's proxy holds: an endpoint a cluster, with the priority of its tier."""
    endpoints = [
        ProxyEndpoint(
            f"10.0.0.{priority}",
            5000,
            "HEALTHY",
            place.region,
            place.zone,
            priority=priority,
            cluster=cluster,
        )
        for priority, tier in enumerate(tiers.tiers)
        for cluster in tier.clusters
        for place in [here.spec.cluster(cluster).locality]
    ]
    return ClientView(tuple(endpoints), OUTLIER_DETECTION)


def record(cluster: str) -> Record:
    """One request of a flow that a cluster answered."""
    return Record(1.0, Ending.ANSWERED, 200, cluster=cluster, pod=f"hello-{cluster}")


def ill() -> Record:
    """One request of a flow that an instance which is ill answered with an error."""
    return Record(1.0, Ending.ANSWERED, 500, error="ill")


def answers(here: Mesh, source: str, *clusters: str, each: int = 10) -> tuple[Request, ...]:
    return tuple(request(here, source, cluster) for _ in range(each) for cluster in clusters)


def journeys(
    here: Mesh, orders: Callable[[Mesh, str], Order] | None = None, *, falls_ill: bool = True
) -> list[Journey]:
    """A healthy failover from every cluster, in the order of localities or in another one."""
    found = []
    for source in here.spec.data_planes:
        tiers = orders(here, source.name) if orders else order(here.spec, places(here), source.name)
        stages = [stage(here, tiers, "all are there")]
        for what in ("absent", "failing") if falls_ill else ("absent",):
            gone: tuple[str, ...] = ()
            for tier in tiers.tiers[:-1]:
                gone += tier.clusters
                stages.append(stage(here, tiers, f"{' and '.join(gone)} {what}", **{what: gone}))
            stages.append(
                stage(here, tiers, "all are back" if what == "absent" else "all are well again")
            )
        found.append(Journey(tiers, tuple(stages)))
    return found


def stage(
    here: Mesh,
    tiers: Order,
    name: str,
    *,
    absent: tuple[str, ...] = (),
    failing: tuple[str, ...] = (),
) -> Stage:
    nearest = tiers.nearest((*absent, *failing))
    return Stage(
        source=tiers.source,
        host=HOST,
        name=name,
        nearest=nearest,
        absent=absent,
        failing=failing,
        before=(ill(), ill(), ill()) if failing else (),
        after=tuple(record(cluster) for cluster in nearest for _ in range(20)),
        wanted=20,
        seconds=0.25,
        budget_seconds=20.0,
        view=view(here, tiers),
    )


def spoilt(found: Sequence[Journey], source: str, name: str, **changes: object) -> list[Journey]:
    """The journeys with one stage changed; a stage that did not come about ends its journey."""

    def change(journey: Journey) -> Journey:
        stages: list[Stage] = []
        for one in journey.stages:
            mine = journey.source == source and one.name == name
            stages.append(replace(one, **changes) if mine else one)  # type: ignore[arg-type]
            if stages[-1].seconds is None:
                break
        return replace(journey, stages=tuple(stages))

    return [change(journey) for journey in found]


def never(
    here: Mesh, source: str, *clusters: str, view: ClientView | None = None
) -> dict[str, object]:
    """The changes of a stage in which these went on answering."""
    going_on = tuple(record(cluster) for cluster in clusters for _ in range(10))
    return {"seconds": None, "before": going_on, "after": ()} | ({"view": view} if view else {})


def splits(here: Mesh, *, own: int = 20) -> list[Split]:
    """From every cluster, 300 requests: 20 % for its own locality, 80 % for the next."""
    found = []
    for source in here.spec.data_planes:
        mine, other = list(groups(here.spec, places(here), source.name).values())[:2]
        sent = (
            *answers(here, source.name, mine[0], each=3 * own),
            *answers(here, source.name, other[0], each=300 - 3 * own),
        )
        tiers = order(here.spec, places(here), source.name)
        found.append(
            Split(source.name, HOST, {mine: 20, other: 80}, sent, 0.3, 20.0, view(here, tiers))
        )
    return found


def meetings(here: Mesh) -> list[Unprotected]:
    """From every cluster, to a service without outlier detection: spread evenly, and half of it failing when the nearest are ill."""
    names = [cluster.name for cluster in here.spec.data_planes]
    found = []
    for source in names:
        held = view(here, order(here.spec, places(here), source))
        unprotected = ClientView(tuple(replace(one, priority=0) for one in held.endpoints), None)
        others = answers(here, source, *(name for name in names if name != source))
        sick = (*others, *(failed(here, source, 500, "ill") for _ in range(10)))
        found.append(
            Unprotected(
                source, HOST, (source,), answers(here, source, *names), sick, 0.3, unprotected
            )
        )
    return found
