"""Localities, live: services whose nearest servers go away, fall ill and come back, and who answers meanwhile."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import NotInTime, ObservationError
from ...eventually import eventually
from ...observations import Request
from ...probes import manifests, objects
from ...probes.client_proxy import CLUSTERS, ENDPOINTS, dumped, endpoints
from ...probes.polling import Polling, polling
from ...probes.settling import await_service
from ...probes.traffic import Traffic
from ...statistics import least_share, sample_size
from ...timelines import Record, answered_in
from ...together import for_each
from .facts import (
    ELSEWHERE,
    SAME_SUBZONE,
    ClientView,
    Journey,
    Order,
    Places,
    Split,
    Stage,
    Tier,
    Unprotected,
    failover_order,
    groups,
    order,
    written,
)

if TYPE_CHECKING:
    from ...kube import Kube

FAILURES_TO_EJECT = 3
EJECTION_SECONDS = 2.0
OUTLIER_DETECTION: Mapping[str, Any] = {
    "consecutive5xxErrors": FAILURES_TO_EJECT,
    "interval": "100ms",
    "baseEjectionTime": f"{EJECTION_SECONDS:g}s",
    # the default, 10 %, ejects none of a few endpoints, whatever they do
    "maxEjectionPercent": 100,
}
"""Without outlier detection Istio fails over to nobody; this one is quick, so that a check is, too."""

SETTLED_SECONDS = 1.05
"""Envoy tells its workers about endpoints that fail or recover at most once a second (``update_merge_window``), so that an ejection right
after another change is late; with a rest of that long before it, the requests that fail are those that it takes to eject."""

IN_A_ROW = 8
"""So many answers of the right clusters in a row mean that the proxy has been told; a sample follows."""

COUNTED_REQUESTS = 300
UNPROTECTED_REQUESTS = 60  # and more where there are many clusters
_NOBODY = "nobody"


@contextmanager
def own_service(
    traffic: Traffic, kubes: Mapping[str, Kube], purpose: str, policy: Mapping[str, Any]
) -> Iterator[str]:
    """A Service of that purpose, which leads to the probe servers in every cluster, with a traffic policy wherever configuration is
    read; yields its name. Both are gone at the end."""
    name = objects.unique(f"locality-{purpose}")
    rule = objects.destination_rule(traffic.mesh.spec, name, policy=policy)
    # the rule first, so that no proxy learns of the service without it
    with (
        objects.present(
            kubes, traffic.probes.namespace, objects.everywhere(traffic.mesh, [], [rule])
        ),
        objects.present(
            kubes,
            traffic.probes.namespace,
            objects.everywhere(
                traffic.mesh, [manifests.extra_service(name, traffic.probes.service)], []
            ),
        ),
    ):
        yield name


def failovers(traffic: Traffic, kubes: Mapping[str, Kube], where: Places) -> tuple[Journey, ...]:
    """From every cluster at the same time: who answers when all are there, when the nearest have no endpoints, tier by tier, when all
    are back, when the nearest are ill, tier by tier, and when they are well again."""
    spec = traffic.mesh.spec
    policy = {"outlierDetection": OUTLIER_DETECTION}
    sources = [cluster.name for cluster in spec.data_planes]
    return tuple(
        traffic.from_each(
            sources,
            lambda source: _journey(traffic, kubes, order(spec, where, source), "nearest", policy),
        )
    )


def failover_maps(
    traffic: Traffic, kubes: Mapping[str, Kube], where: Places
) -> tuple[Journey, ...]:
    """From every cluster that sees two or more other regions: who answers, tier by tier, when one of these is named as the next."""

    def go(source: str) -> Journey | None:
        tiers, region = failover_order(traffic.mesh.spec, where, source)
        if not region:
            return None
        setting = {
            "enabled": True,
            "failover": [{"from": where[source].client.region, "to": region}],
        }
        policy = {
            "outlierDetection": OUTLIER_DETECTION,
            "loadBalancer": {"localityLbSetting": setting},
        }
        return _journey(traffic, kubes, tiers, "map", policy, ill=False)

    found = traffic.from_each([cluster.name for cluster in traffic.mesh.spec.data_planes], go)
    return tuple(journey for journey in found if journey is not None)


def cluster_first(traffic: Traffic, kubes: Mapping[str, Kube]) -> tuple[Journey, ...]:
    """From every cluster: who answers when ``failoverPriority`` names the cluster alone, so that every other cluster is equally far."""
    spec = traffic.mesh.spec
    names = [cluster.name for cluster in spec.data_planes]
    setting = {"enabled": True, "failoverPriority": ["topology.istio.io/cluster"]}
    policy = {"outlierDetection": OUTLIER_DETECTION, "loadBalancer": {"localityLbSetting": setting}}

    def go(source: str) -> Journey:
        others = tuple(name for name in names if name != source)
        return _journey(
            traffic,
            kubes,
            Order(source, (Tier(SAME_SUBZONE, (source,)), Tier(ELSEWHERE, others))),
            "own",
            policy,
            ill=False,
        )

    return tuple(traffic.from_each(names, go))


def distributions(traffic: Traffic, kubes: Mapping[str, Kube], where: Places) -> tuple[Split, ...]:
    """From every cluster: a fifth of the requests for its own locality, the rest for one other, none for any further ones."""
    if traffic.mesh.spec.several_behind_a_gateway:
        return ()  # the judge says why

    def go(source: str) -> Split | None:
        found = groups(traffic.mesh.spec, where, source)
        if len(found) < 2:
            return None
        own, other = list(found)[:2]
        return _split(traffic, kubes, where, source, {own: 20, other: 80}, found)

    splits = traffic.from_each([cluster.name for cluster in traffic.mesh.spec.data_planes], go)
    return tuple(split for split in splits if split is not None)


def by_subzone(traffic: Traffic, kubes: Mapping[str, Kube], where: Places) -> tuple[Split, ...]:
    """From every cluster: all requests for the subzone of another cluster, where every cluster is a subzone of its own."""
    if traffic.mesh.spec.several_behind_a_gateway:
        return ()  # the judge says why
    spec = traffic.mesh.spec

    def go(source: str) -> Split | None:
        for pattern, clusters in groups(spec, where, source).items():
            if source not in clusters and len(clusters) == 1 and not pattern.endswith("*"):
                return _split(traffic, kubes, where, source, {pattern: 100}, {pattern: clusters})
        return None

    splits = traffic.from_each([cluster.name for cluster in spec.data_planes], go)
    return tuple(split for split in splits if split is not None)


def _split(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    where: Places,
    source: str,
    weights: Mapping[str, int],
    named: Mapping[str, tuple[str, ...]],
) -> Split:
    setting = {
        "enabled": True,
        "distribute": [{"from": written(where[source].client), "to": dict(weights)}],
    }
    shares = {named[pattern]: weight for pattern, weight in weights.items()}
    budget = traffic.timeouts.config_propagation
    with own_service(
        traffic, kubes, "share", {"loadBalancer": {"localityLbSetting": setting}}
    ) as service:
        host, address = traffic.host(service), detour(traffic, source)

        def ask(count: int) -> tuple[Request, ...]:
            return traffic.requests(
                source, host, manifests.HTTP, count=count, concurrency=4, address=address
            )

        def settled(sent: Sequence[Request]) -> bool:
            answered = {answered_in(request) for request in sent}
            return answered <= {cluster for clusters in shares for cluster in clusters} and all(
                answered & set(clusters) for clusters in shares
            )

        seconds = None
        try:
            seconds = eventually(
                lambda: ask(40), settled, within_seconds=budget, what=f"shares of {source}"
            ).first_seconds
        except NotInTime:
            pass  # seconds says so
        return Split(
            source,
            host,
            shares,
            ask(COUNTED_REQUESTS),
            seconds,
            budget,
            client_view(traffic, kubes, source, service),
        )


def unprotected(
    traffic: Traffic, kubes: Mapping[str, Kube], where: Places
) -> tuple[Unprotected, ...]:
    """From every cluster, to one service without outlier detection: requests when all is well, and when its nearest instances are ill."""
    spec = traffic.mesh.spec
    names = [cluster.name for cluster in spec.data_planes]

    def meet(source: str, service: str) -> Unprotected:
        host, address = traffic.host(service), detour(traffic, source)
        failing = order(spec, where, source).nearest()

        def ask(count: int) -> tuple[Request, ...]:
            return traffic.requests(
                source, host, manifests.HTTP, count=count, concurrency=2, address=address
            )

        try:
            seconds = eventually(
                lambda: ask(8 * len(names)),
                lambda sent: {answered_in(request) for request in sent} >= set(names),
                within_seconds=traffic.timeouts.config_propagation,
                what=f"answers from every cluster for {source}",
            ).first_seconds
        except NotInTime:
            return Unprotected(
                source, host, failing, view=client_view(traffic, kubes, source, service)
            )
        size = max(UNPROTECTED_REQUESTS, sample_size(least_share(spec)))
        well = ask(size)
        make_ill(traffic, kubes, failing, host)
        try:
            return Unprotected(
                source,
                host,
                failing,
                well,
                ask(size),
                seconds,
                client_view(traffic, kubes, source, service),
            )
        finally:
            make_ill(traffic, kubes, failing, host, begins=False)

    setting = {"loadBalancer": {"localityLbSetting": {"enabled": True}}}

    def go(source: str) -> Unprotected:
        with own_service(traffic, kubes, "unprotected", setting) as service:
            return meet(source, service)

    return tuple(traffic.from_each(names, go))


def _journey(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    tiers: Order,
    purpose: str,
    policy: Mapping[str, Any],
    *,
    ill: bool = True,
) -> Journey:
    source = tiers.source
    stages: list[Stage] = []
    with own_service(traffic, kubes, purpose, policy) as service:
        for_each(lambda cluster: select(traffic, kubes, service, cluster, _NOBODY), tiers.unseen)
        host, address = traffic.host(service), detour(traffic, source)
        await_service(traffic, kubes, source, service, tiers.clusters, address=address)
        with polling(traffic, source, host, address, f"{source} to {service}") as running:
            try:
                for stage in _stages(traffic, kubes, tiers, service, running, ill=ill):
                    stages.append(stage)
                    if stage.seconds is None:
                        break
            finally:
                if ill:
                    make_ill(traffic, kubes, tiers.clusters, host, begins=False)
        return Journey(tiers, tuple(stages), running.timeline)


def _stages(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    tiers: Order,
    service: str,
    running: Polling,
    *,
    ill: bool,
) -> Iterator[Stage]:
    host = traffic.host(service)

    def watch(name: str, began: float, **how: Any) -> Stage:
        return _watch(traffic, kubes, tiers, service, running, name, began, **how)

    yield watch("all are there", time.time())
    gone: tuple[str, ...] = ()
    for tier in tiers.tiers[:-1]:
        gone += tier.clusters
        name = f"without endpoints of {' and '.join(gone)}"
        began = time.time()
        with running.marked(name):
            for_each(
                lambda cluster: select(traffic, kubes, service, cluster, _NOBODY), tier.clusters
            )
        yield watch(name, began, absent=gone)
    if gone:
        began = time.time()
        with running.marked("all are back"):
            for_each(
                lambda cluster: select(traffic, kubes, service, cluster, traffic.probes.service),
                gone,
            )
        yield watch("all are back", began, rest_seconds=SETTLED_SECONDS if ill else 0.0)
    failing: tuple[str, ...] = ()
    for tier in tiers.tiers[:-1] if ill else ():
        failing += tier.clusters
        name = f"while {' and '.join(failing)} are ill"
        began = time.time()
        with running.marked(name):
            make_ill(traffic, kubes, tier.clusters, host)
        yield watch(name, began, failing=failing)
    if failing:
        with running.marked("all are well again"):
            make_ill(traffic, kubes, failing, host, begins=False)
        yield watch("all are well again", time.time(), rest_seconds=SETTLED_SECONDS, lasting=True)


def _watch(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    tiers: Order,
    service: str,
    running: Polling,
    name: str,
    began: float,
    *,
    absent: tuple[str, ...] = (),
    failing: tuple[str, ...] = (),
    rest_seconds: float = 0.0,
    lasting: bool = False,
) -> Stage:
    """Look on until the nearest that can answer have done so a few times in a row, and for a sample after that, and a rest.

    With ``lasting`` a lapse begins the wait anew: Envoy may be late to eject a server for what it did while it was ill.
    """
    nearest = tiers.nearest((*absent, *failing))
    budget = traffic.timeouts.endpoint_propagation + (0 if absent or failing else EJECTION_SECONDS)
    # those that are ill cannot be mistaken for a preference, so that it takes fewer to tell the others apart
    size = max(IN_A_ROW, sample_size(len(tiers.clusters) - len(failing)))

    def look() -> tuple[tuple[Record, ...], Record | None]:
        flow = running.so_far()
        records = tuple(record for record in flow.records if record.when >= began)
        lapses = (
            [record.when for record in records if answered_in(record) not in nearest]
            if lasting
            else []
        )
        since = lapses[-1] if lapses else began
        return records, flow.steady_from(
            IN_A_ROW, lambda record: answered_in(record) in nearest, since
        )

    def seen_enough(seen: tuple[tuple[Record, ...], Record | None]) -> bool:
        records, first = seen
        if first is None:
            return False
        # what the ill answer when they are tried again does not count
        answered = sum(record.succeeded and record.when >= first.when for record in records)
        return records[-1].when - first.when >= rest_seconds and answered >= size

    def over(seen: tuple[tuple[Record, ...], Record | None]) -> bool:
        return running.is_broken or seen_enough(seen)

    try:
        records, first = eventually(
            look, over, within_seconds=budget + rest_seconds, what=name, every_seconds=0.03
        ).value
    except NotInTime:
        # where the shift came about, what is missing is a sample, for the judge to tell
        records, first = look()
        if lasting:
            first = None
    running.check_error()
    return Stage(
        source=tiers.source,
        host=traffic.host(service),
        name=name,
        nearest=nearest,
        absent=absent,
        failing=failing,
        before=tuple(record for record in records if first is None or record.when < first.when),
        after=tuple(
            record for record in records if first is not None and first.when <= record.when
        ),
        seconds=None if first is None else first.answered_at - began,
        budget_seconds=budget,
        wanted=size,
        view=client_view(traffic, kubes, tiers.source, service),
    )


def select(
    traffic: Traffic, kubes: Mapping[str, Kube], service: str, cluster: str, app: str
) -> None:
    """Let the Service of that name in ``cluster`` lead to the pods of ``app``."""
    kubes[cluster].merge(
        "Service", service, traffic.probes.namespace, {"spec": {"selector": {"app": app}}}
    )


def make_ill(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    clusters: Collection[str],
    host: str,
    *,
    begins: bool = True,
) -> None:
    """Let the servers of these clusters fail requests for that host from now on, or no more."""
    pods = [pod for cluster in clusters for pod in traffic.probes.servers(cluster)]
    command = manifests.illness(host, begins=begins)
    traffic.from_each(
        pods,
        lambda pod: kubes[pod.cluster].exec(
            traffic.probes.namespace, pod.name, manifests.CONTAINER, command
        ),
    )


def detour(traffic: Traffic, source: str) -> str:
    """An address in the mesh to send requests to for a new Service, whose own name may be remembered as unknown by the resolver.

    The sidecar looks at the name in the request alone. Until it knows that, whoever has the address answers: the clients, who say so.
    """
    return next(iter(traffic.resolve(source, traffic.host(manifests.CLIENT))), "")


def client_view(
    traffic: Traffic, kubes: Mapping[str, Kube], source: str, service: str
) -> ClientView:
    """What the client's proxy in ``source`` holds for a service of ours."""
    host = f"{service}.{traffic.probes.namespace}.svc."
    try:
        clusters, held = (
            dumped(traffic.mesh, kubes[source], source, resource, host)
            for resource in (CLUSTERS, ENDPOINTS)
        )
    except ObservationError as error:
        return ClientView(error=str(error))
    policies = [(entry.get("cluster") or {}).get("outlier_detection") for entry in clusters]
    return ClientView(
        tuple(one for ones in endpoints(held, host).values() for one in ones),
        next(iter(policies), None),
    )
