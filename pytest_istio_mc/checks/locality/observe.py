"""Observes localities: who answers when the nearest servers go, fall ill and return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ...errors import NotInTime
from ...eventually import eventually
from ...istio_names import CLUSTER_LABEL
from ...observations import Request
from ...rights import RULES, SERVICES, uses
from ...statistics import least_share, sample_size
from ...timelines import answered_in
from ..site import Site
from .facts import (
    OTHER_REGION,
    SAME_SUBZONE,
    Journey,
    Order,
    Split,
    Tier,
    Unprotected,
    Where,
    failover_order,
    groups,
    localities,
    order,
    written,
)
from .observe_journey import OUTLIER_DETECTION, journey
from .observe_service import OwnService, own_service

COUNTED_REQUESTS = 300
UNPROTECTED_REQUESTS = 60  # and more where there are many clusters

T = TypeVar("T")


@uses(SERVICES, RULES)
def failovers(site: Site) -> tuple[Journey, ...]:
    """From every cluster: who answers while the nearest instances go and return.

    They lose their endpoints first, tier by tier, and fall ill later.
    """
    spec, where = site.here.mesh.spec, localities(site.here.snapshot)
    policy = {"outlierDetection": OUTLIER_DETECTION}
    return _from_each(
        site, lambda source: journey(site, order(spec, where, source), "nearest", policy)
    )


@uses(SERVICES, RULES)
def failover_maps(site: Site) -> tuple[Journey, ...]:
    """From every cluster: who answers by a failover map, tier by tier.

    Only clusters that see two or more other regions count: the map names one of these as the next.
    """
    spec, where = site.here.mesh.spec, localities(site.here.snapshot)

    def go(source: str) -> Journey | None:
        tiers, region = failover_order(spec, where, source)
        if not region:
            return None
        named = {"from": where[source].client.region, "to": region}
        setting = {"enabled": True, "failover": [named]}
        policy = {
            "outlierDetection": OUTLIER_DETECTION,
            "loadBalancer": {"localityLbSetting": setting},
        }
        return journey(site, tiers, "map", policy, ill=False)

    return _from_each(site, go)


@uses(SERVICES, RULES)
def cluster_first(site: Site) -> tuple[Journey, ...]:
    """From every cluster: who answers when ``failoverPriority`` names the cluster alone.

    Every other cluster is equally far then.
    """
    names = [cluster.name for cluster in site.here.mesh.spec.data_planes]
    setting = {"enabled": True, "failoverPriority": [CLUSTER_LABEL]}
    policy = {"outlierDetection": OUTLIER_DETECTION, "loadBalancer": {"localityLbSetting": setting}}

    def go(source: str) -> Journey:
        others = tuple(name for name in names if name != source)
        tiers = (Tier(SAME_SUBZONE, (source,)), Tier(OTHER_REGION, others))
        return journey(site, Order(source, tiers), "own", policy, ill=False)

    return _from_each(site, go)


@uses(SERVICES, RULES)
def distributions(site: Site) -> tuple[Split, ...]:
    """From every cluster: counted requests for two localities.

    A fifth is for its own locality, the rest for one other. None where several clusters are behind
    one gateway; the judge says why.
    """
    spec, where = site.here.mesh.spec, localities(site.here.snapshot)
    if spec.several_behind_a_gateway:
        return ()

    def go(source: str) -> Split | None:
        found = groups(spec, where, source)
        if len(found) < 2:
            return None
        own, other = list(found)[:2]
        return _split(site, where, source, {own: 20, other: 80}, found)

    return _from_each(site, go)


@uses(SERVICES, RULES)
def by_subzone(site: Site) -> tuple[Split, ...]:
    """From every cluster: all requests for the subzone of another cluster.

    - Only where every cluster is a subzone of its own.
    - None where several clusters are behind one gateway; the judge says why.
    """
    spec, where = site.here.mesh.spec, localities(site.here.snapshot)
    if spec.several_behind_a_gateway:
        return ()

    def go(source: str) -> Split | None:
        for pattern, clusters in groups(spec, where, source).items():
            if source not in clusters and len(clusters) == 1 and not pattern.endswith("*"):
                return _split(site, where, source, {pattern: 100}, {pattern: clusters})
        return None

    return _from_each(site, go)


def _split(
    site: Site,
    where: Where,
    source: str,
    weights: Mapping[str, int],
    named: Mapping[str, tuple[str, ...]],
) -> Split:
    """Requests with ``distribute`` by these weights; ``named`` are the clusters of each pattern."""
    shared = {"from": written(where[source].client), "to": dict(weights)}
    setting = {"enabled": True, "distribute": [shared]}
    shares = {named[pattern]: weight for pattern, weight in weights.items()}
    listed = {cluster for clusters in shares for cluster in clusters}

    def settled(sent: Sequence[Request]) -> bool:
        answered = {answered_in(request) for request in sent}
        return answered <= listed and all(answered & set(clusters) for clusters in shares)

    policy = {"loadBalancer": {"localityLbSetting": setting}}
    with own_service(site, source, "share", policy) as service:
        budget = service.traffic.timeouts.config_propagation
        seconds = None
        try:
            seconds = eventually(
                lambda: service.ask(40, concurrency=4),
                settled,
                within_seconds=budget,
                what=f"shares of {source}",
            ).first_seconds
        except NotInTime:
            pass  # seconds says so
        counted = service.ask(COUNTED_REQUESTS, concurrency=4)
        return Split(source, service.host, shares, counted, seconds, budget, service.view())


@uses(SERVICES, RULES)
def unprotected(site: Site) -> tuple[Unprotected, ...]:
    """From every cluster: requests to a service without outlier detection.

    First when all is well, then when the nearest instances are ill.
    """
    spec, where = site.here.mesh.spec, localities(site.here.snapshot)
    policy = {"loadBalancer": {"localityLbSetting": {"enabled": True}}}

    def go(source: str) -> Unprotected:
        with own_service(site, source, "unprotected", policy) as service:
            return _met(service, order(spec, where, source).nearest())

    return _from_each(site, go)


def _met(service: OwnService, failing: tuple[str, ...]) -> Unprotected:
    spec, source, host = service.traffic.mesh.spec, service.source, service.host
    names = {cluster.name for cluster in spec.data_planes}
    try:
        seconds = eventually(
            lambda: service.ask(8 * len(names), concurrency=2),
            lambda sent: {answered_in(request) for request in sent} >= names,
            within_seconds=service.traffic.timeouts.config_propagation,
            what=f"answers from every cluster for {source}",
        ).first_seconds
    except NotInTime:
        return Unprotected(source, host, failing, view=service.view())
    size = max(UNPROTECTED_REQUESTS, sample_size(least_share(spec)))
    well = service.ask(size, concurrency=2)
    service.make_ill(failing)
    try:
        ill = service.ask(size, concurrency=2)
        return Unprotected(source, host, failing, well, ill, seconds, service.view())
    finally:
        service.make_ill(failing, begins=False)


def _from_each(site: Site, go: Callable[[str], T | None]) -> tuple[T, ...]:
    """What there is to see from every cluster, at the same time."""
    sources = [cluster.name for cluster in site.here.mesh.spec.data_planes]
    found = site.traffic().from_each(sources, go)
    return tuple(one for one in found if one is not None)
