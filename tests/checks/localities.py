"""A mesh of regions and zones, and a healthy failover in it, for the tests of locality judges to spoil."""

from __future__ import annotations

from collections import defaultdict

from pytest_istio_mc.localities import ClientView, Order, Place, Stage, order
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Request
from pytest_istio_mc.snapshot import ClusterSnapshot, ProxyEndpoint, Snapshot
from pytest_istio_mc.spec import ClusterSpec, Locality, Role

from .live_mesh import failed, mesh, request

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
        ClusterSpec("middle", "network1", Role.REMOTE, "east", locality=Locality("region1", "zone2"), context="k-middle"),
        ClusterSpec("west", "network2", locality=Locality("region2", "zone3"), context="k-west"),
    )


def snapshot(here: Mesh) -> Snapshot:
    """A snapshot of that mesh with no objects in it: where everything is, the spec says."""
    clusters = {cluster.name: ClusterSnapshot(cluster.name) for cluster in here.spec}
    return Snapshot(here.spec, here.run_id, "2026-01-01T00:00:00+00:00", clusters, here.probes)


def places(here: Mesh) -> dict[str, Place]:
    return {cluster.name: Place(cluster.locality, (cluster.locality,)) for cluster in here.spec}


def view(here: Mesh, tiers: Order) -> ClientView:
    """What the client's proxy holds: an endpoint a cluster, with the priority of its tier."""
    endpoints = []
    for priority, tier in enumerate(tiers.tiers):
        for cluster in tier.clusters:
            place = here.spec.cluster(cluster).locality
            endpoints.append(
                ProxyEndpoint(f"10.0.0.{len(endpoints)}", 5000, "HEALTHY", place.region, place.zone, priority=priority, cluster=cluster)
            )
    return ClientView(tuple(endpoints), OUTLIER_DETECTION)


def answers(here: Mesh, source: str, *clusters: str, each: int = 10) -> tuple[Request, ...]:
    return tuple(request(here, source, cluster) for _ in range(each) for cluster in clusters)


def ill(here: Mesh, source: str, count: int = 3) -> tuple[Request, ...]:
    """Requests that an instance which is ill answers with an error."""
    return tuple(failed(here, source, 500, "ill") for _ in range(count))


def stages(here: Mesh) -> list[Stage]:
    """A healthy failover from every cluster."""
    found: list[Stage] = []
    for source in here.spec.data_planes:
        tiers = order(here.spec, places(here), source.name)
        found.append(stage(here, tiers, "all are there"))
        gone: tuple[str, ...] = ()
        for tier in tiers.tiers[:-1]:
            gone += tier.clusters
            found.append(stage(here, tiers, f"without endpoints of {' and '.join(gone)}", absent=gone))
        found.append(stage(here, tiers, "all are back"))
        failing: tuple[str, ...] = ()
        for tier in tiers.tiers[:-1]:
            failing += tier.clusters
            found.append(stage(here, tiers, f"while {' and '.join(failing)} fail", failing=failing))
        found.append(stage(here, tiers, "all are well again"))
    return found


def stage(here: Mesh, tiers: Order, name: str, *, absent: tuple[str, ...] = (), failing: tuple[str, ...] = ()) -> Stage:
    nearest = tiers.nearest((*absent, *failing))
    sent = (*(ill(here, tiers.source) if failing else ()), *answers(here, tiers.source, *nearest, each=5))
    sample = answers(here, tiers.source, *nearest)
    return Stage(tiers.source, "locality-x.istio-mc-test", name, nearest, absent, failing, sent, sample, 0.2, 20.0, view(here, tiers))


def by_source(found: list[Stage]) -> dict[str, list[Stage]]:
    grouped: dict[str, list[Stage]] = defaultdict(list)
    for one in found:
        grouped[one.source].append(one)
    return grouped
