"""Proxies' endpoints: MC-DISCOVERY-002, they are exactly those that the mesh's shape implies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from ... import shell
from ...errors import ObservationError
from ...network_gateways import is_address
from ...recorded import ProxyEndpoint, ProxyFacts
from ...shell import Command, Remedy
from ...snapshot import Snapshot
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..eastwest.gateways import east_west_services, gateway_proxies
from ..isolating import Intention, intentions, without_mutual_tls
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import (
    Expected,
    Instance,
    expected_endpoints,
    gateway_addresses,
    held_for,
    localities_held,
    misplaced,
    ready_instances,
    service_ports,
)
from ..reaching import reach_of_rest
from ..remedies import Commands

_BEHIND = {True: "gateway of", False: "pod in"}


@check(
    "MC-DISCOVERY-002",
    "Each probe proxy's endpoints are exactly what the spec implies: pods of its own network, "
    "gateways of the others, in their locality.",
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-networks",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=(
        "MC-DISCOVERY-001",
        *(f"MC-ACCESS-00{number}" for number in range(1, 8)),
        "MC-CONTROL-002",
        "MC-CONTROL-003",
        "MC-CONTROL-005",
        "MC-CONTROL-007",
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-FEDERATION-002",
        "MC-LOCALITY-001",
    ),
    probed=True,
)
def endpoints_as_implied(snapshot: Snapshot) -> Verdict:
    """Compares the healthy endpoints in each proxy's EDS with the oracle.

    Unhealthy ones may be there (Istio 1.31 sends them).
    """
    clusters = snapshot.spec.data_planes
    gateways = _gateways_pods(snapshot)
    proxies = [
        (cluster, proxy)
        for cluster in clusters
        for proxy in snapshot.clusters[cluster.name].proxies
        if proxy.kind in ("client", "server")
        or (cluster.name, proxy.namespace, proxy.pod) in gateways
    ]
    if all(proxy.kind == "east-west" for _, proxy in proxies):
        return verdict_from([Gap("no probe proxy was recorded")], "")
    held = "hold exactly the endpoints that the mesh implies"
    found = list(each(proxies, lambda one: _proxy(snapshot, *one)))
    verdict = verdict_from(
        found,
        f"{len(proxies)} proxies in {len(clusters)} clusters {held}",
        pairs=(f"{source.name}-to-{target.name}" for source, target in snapshot.spec.pairs),
    )
    if snapshot.spec.federated:  # whose proxies know no endpoints of each other, on purpose
        return verdict
    known = [cluster.name for cluster in clusters]
    return verdict.with_reach(reach_of_rest("endpoints", known, found))


def _gateways_pods(snapshot: Snapshot) -> set[tuple[str, str, str]]:
    """Cluster, namespace and name of the pods of east-west gateways; none where not known."""
    found: set[tuple[str, str, str]] = set()
    for cluster, service in east_west_services(snapshot):
        try:
            proxies = gateway_proxies(snapshot.clusters[cluster.name], service)
        except ObservationError:
            continue  # MC-EASTWEST-001 says so
        found |= {(cluster.name, proxy.namespace, proxy.pod) for proxy in proxies}
    return found


@dataclass(frozen=True)
class _View:
    """One port of the probe service in one proxy."""

    snapshot: Snapshot
    cluster: ClusterSpec
    proxy: ProxyFacts
    port: int

    @property
    def commands(self) -> Commands:
        return Commands(self.snapshot)

    @property
    def service(self) -> str:
        return f"{self.snapshot.require_probes().service}:{self.port}"

    def __str__(self) -> str:
        return f"{self.service} in proxy {self.proxy.pod} of {self.cluster.name}"

    def scope(self, targets: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.cluster.name, *targets)))

    def endpoints(self, *options: str) -> Command:
        """The command that shows the endpoints."""
        pod = f"{self.proxy.pod}.{self.proxy.namespace}"
        return self.commands.proxy_config(self.cluster.name, "endpoints", pod, *options)

    def then_restart_istiod(self, shown: Command) -> Remedy:
        """A command that shows something, and then the restart of the control plane."""
        plane = self.snapshot.spec.control_plane_of(self.cluster.name).name
        return shell.beside(shown, self.commands.restart_istiod(plane))

    def restart(self) -> Remedy:
        """The command that makes the proxy start anew."""
        return self.commands.restart_pod(self.cluster.name, self.proxy.pod, self.proxy.namespace)

    def intended(self, why: Intention, summary: str = "") -> Finding:
        """The finding for a setting that keeps endpoints away on purpose or by mistake."""
        return Finding(
            summary or f"{self} stays within {self.cluster.name}: {why.summary}",
            self.scope(why.clusters),
            expected="endpoints of every cluster",
            seen=why.seen,
            remedy=why.remedy,
            fault=why.fault,
        )


def _proxy(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> Iterator[Found]:
    proxy.require_dump()
    gateways = gateway_addresses(snapshot, cluster.name)
    for number, name in service_ports(snapshot):
        view = _View(snapshot, cluster, proxy, number)
        instances = {
            target.name: ready_instances(snapshot, snapshot.clusters[target.name], name)
            for target in snapshot.spec.data_planes
        }
        if proxy.kind == "east-west":
            yield from _gateway_view(view, instances)
            continue
        held = held_for(proxy, f"outbound|{number}||", snapshot)
        if held is None:
            yield _no_cluster(view)
        else:
            wanted = expected_endpoints(snapshot.spec, cluster, instances, gateways)
            yield from _compare(view, wanted, held)


def _no_cluster(view: _View) -> Finding:
    probes, cluster = view.snapshot.require_probes(), view.cluster.name
    plane = view.snapshot.spec.control_plane_of(cluster).name
    status = view.commands.istioctl(plane, "proxy-status")
    host = f"{probes.service}.{probes.namespace}.svc…"
    return Finding(
        f"proxy {view.proxy.pod} in {cluster} has no endpoints at all for {view.service}",
        (cluster,),
        expected=f"an Envoy cluster outbound|{view.port}||{host}",
        seen=", ".join(view.proxy.clusters) or "none for this service",
        remedy=shell.after(status, view.restart()),
        fault="eds-no-cluster",
    )


def _compare(
    view: _View, wanted: Sequence[Expected], held: Sequence[ProxyEndpoint]
) -> Iterator[Found]:
    healthy = dict.fromkeys(_address(one) for one in held if one.health == "HEALTHY")
    implied = {place for one in wanted for place in one.places}
    surplus = [address for address in healthy if address not in implied]
    # what nobody could resolve may be any address that is not otherwise explained
    unresolved = [one for one in wanted if not one.places]
    guessed = [address for address in surplus if any(one.port == address[1] for one in unresolved)]
    if guessed:
        surplus = [address for address in surplus if address not in guessed]
        yield Gap(
            f"{view} holds {_listed(guessed)}: whether {names(map(str, unresolved))} stands for "
            "it could not be found out"
        )
    missing = [
        one
        for one in wanted
        if not one.places & healthy.keys()
        and not (guessed and one in unresolved)
        and not _spared(view.proxy, one, wanted, healthy)
    ]
    reached = _targets(one for one in wanted if one not in missing)
    known = _targets(missing)
    lost = tuple(dict.fromkeys((*known, *_unserved(view, {*reached, *known}))))
    if not lost and not surplus:
        yield from _details(view, wanted, held)
        return
    if lost and not surplus:
        why = intentions(view.snapshot, view.cluster, lost)
        if why:
            yield from map(view.intended, why)
            return
    unhealthy = {_address(one) for one in held if one.health != "HEALTHY"}
    ejected = any(one.places & unhealthy for one in missing)
    listed = (f"{one} ({_BEHIND[one.gateway]} {names(one.targets)})" for one in wanted)
    found = ", ".join(f"{one.address}:{one.port} {one.health.lower()}" for one in held)
    yield Finding(
        f"{view} {_words(lost, surplus, ejected=ejected)}",
        view.scope(lost),
        expected=", ".join(listed) or "none",
        seen=found or "none",
        remedy=view.then_restart_istiod(
            shell.matching(view.snapshot.require_probes().service, view.endpoints())
        ),
        fault="eds-missing" if lost else "eds-surplus",
    )


def _unserved(view: _View, known: set[str]) -> tuple[str, ...]:
    """Clusters with instances to which not even the oracle knows a way.

    They are on another network without a gateway address.
    """
    if view.snapshot.spec.federated:
        return ()
    clusters = (cluster.name for cluster in view.snapshot.spec.data_planes)
    return tuple(name for name in clusters if name not in known)


def _spared(
    proxy: ProxyFacts,
    one: Expected,
    wanted: Sequence[Expected],
    healthy: Collection[tuple[str, int]],
) -> bool:
    """Whether a proxy may lack a gateway of an IP version that it does not speak.

    It must have another one that leads there. Istio 1.31 gives proxies the addresses that they can
    connect to, earlier ones all.
    """
    own = str(proxy.metadata.get("INSTANCE_IPS", "")).split(",")
    versions = {ip_address(address).version for address in own if is_address(address)}
    if not one.gateway or not versions or not one.places:
        return False
    if any(ip_address(address).version in versions for address, _ in one.places):
        return False
    others = (other for other in wanted if other.gateway and other.places & set(healthy))
    return set(one.targets) <= {target for other in others for target in other.targets}


def _listed(addresses: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{address}:{port}" for address, port in addresses)


def _words(lost: tuple[str, ...], surplus: list[tuple[str, int]], *, ejected: bool) -> str:
    astray = _listed(surplus)
    if lost and surplus:
        return f"leads to {astray} instead of {names(lost)}"
    if ejected:
        return f"holds endpoints of {names(lost)} that are unhealthy"
    if lost:
        return f"leads to no endpoint of {names(lost)}"
    return f"holds {len(surplus)} endpoints that are none: {astray}"


def _details(
    view: _View, wanted: Sequence[Expected], held: Sequence[ProxyEndpoint]
) -> Iterator[Found]:
    """Locality and TLS mode of endpoints that are where they should be."""
    elsewhere = misplaced(wanted, held)
    if elsewhere:
        targets = _targets(elsewhere)
        yield Finding(
            f"{view} has endpoints of {names(targets)} in the wrong locality",
            view.scope(targets),
            expected=", ".join(f"{one} in {one.locality or '(none)'}" for one in elsewhere),
            seen=localities_held(elsewhere, held),
            remedy=view.then_restart_istiod(view.endpoints("-o", "json")),
            fault="loc-wrong",
        )
    plain = [one for one in held if one.health == "HEALTHY" and one.tls_mode != "istio"]
    if plain:
        addresses = {_address(one) for one in plain}
        targets = _targets(one for one in wanted if one.places & addresses)
        what = f"{view} would be sent in plaintext to {names(targets)}"
        why = without_mutual_tls(view.snapshot, view.cluster)
        yield from (view.intended(one, f"{what}: {one.summary}") for one in why)
        if not why:
            yield Finding(
                what,
                view.scope(targets),
                expected="TLS mode istio",
                seen=", ".join(
                    f"{one.address}:{one.port} {one.tls_mode or 'no TLS'}" for one in plain
                ),
                remedy=view.commands.kubectl(
                    view.cluster.name, "get destinationrules,peerauthentications -A"
                ),
                fault="sidecar-missing",
            )


def _gateway_view(view: _View, instances: Mapping[str, tuple[Instance, ...]]) -> Iterator[Found]:
    """An east-west gateway must forward to all of its own network, and into that only."""
    proxy, cluster = view.proxy, view.cluster
    held = held_for(proxy, f"outbound_.{view.port}_._", view.snapshot)
    if held is None:
        # whether the gateway exposes the service at all is MC-EASTWEST-002's
        return
    own = {
        (instance.address, instance.port): target.name
        for target in view.snapshot.spec.data_planes
        if target.network == cluster.network
        for instance in instances[target.name]
    }
    healthy = [one for one in held if one.health == "HEALTHY"]
    missing = own.keys() - {_address(one) for one in healthy}
    if missing:
        yield from _nothing_behind(view, sorted({own[address] for address in missing}))
    foreign = [one for one in healthy if _address(one) not in own]
    if foreign:
        leads = ", ".join(f"{one.address}:{one.port}" for one in foreign)
        setting = "ISTIO_META_REQUESTED_NETWORK_VIEW"
        outside = f"outside its network {cluster.network}"
        key = next((one for one in ("istio", "app") if proxy.labels.get(one)), "")
        label = f"{key}={proxy.labels[key]}" if key else "istio=eastwestgateway"
        correct = ("set env deployment -l", label, f"{setting}={cluster.network}")
        gateway = f"the east-west gateway {proxy.pod} of {cluster.name}"
        yield Finding(
            f"{gateway} would forward to {leads}, {outside}",
            (cluster.name,),
            expected=", ".join(f"{address}:{port}" for address, port in sorted(own)),
            seen=f"{setting}={proxy.metadata.get('REQUESTED_NETWORK_VIEW', '')!r}",
            remedy=view.commands.kubectl(cluster.name, *correct, namespace=proxy.namespace),
            fault="ew-network-view",
        )


def _nothing_behind(view: _View, targets: Sequence[str]) -> Iterator[Finding]:
    """A gateway has no endpoint for a service whose mutual TLS its control plane turns off."""
    where = f"{view.service} in the east-west gateway {view.proxy.pod} of {view.cluster.name}"
    why = without_mutual_tls(view.snapshot, view.cluster)
    for one in why:
        yield view.intended(one, f"{where} leads nowhere: {one.summary}")
    if not why:
        yield Finding(
            f"{where} lacks endpoints of {names(targets)}",
            view.scope(targets),
            expected="every ready pod of its network",
            seen="fewer",
            remedy=view.restart(),
            fault="ew-endpoints-missing",
        )


def _address(one: Expected | ProxyEndpoint) -> tuple[str, int]:
    return one.address, one.port


def _targets(ones: Iterable[Expected]) -> tuple[str, ...]:
    """The clusters to which these endpoints lead, each once."""
    return tuple(dict.fromkeys(target for one in ones for target in one.targets))
