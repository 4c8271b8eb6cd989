"""Stations: how each hop on the way of a request is examined in a snapshot, in the order in which a request meets them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...certificates import verify_chain
from ...errors import ObservationError
from ...snapshot import Inbound, ProxyFacts
from ..access.synced import shards_of
from ..isolating import intentions, without_mutual_tls
from ..judging import names
from ..oracle import service_ports
from ..trust.authority import serving
from . import symptoms
from .path import PathFacts
from .trace import Hop, State

Examine = Callable[[PathFacts], Hop]


def _hop(good: bool, expected: str, seen: str, remedy: str, *clusters: str) -> Hop:
    return Hop("", State.GOOD if good else State.BROKEN, expected, seen, remedy, clusters)


def _client_proxy(look: PathFacts) -> Hop:
    pod = look.client
    remedy = look.commands.kubectl(look.source, f"delete pod {pod.pod}", pod.namespace)
    errors = "; ".join(pod.listener_errors.values())
    return _hop(
        not errors,
        "a proxy that has taken its configuration",
        errors[:200] or f"proxy of {pod.pod}",
        remedy,
        look.source,
    )


def _dns(look: PathFacts) -> Hop:
    probes = look.snapshot.require_probes()
    service = look.snapshot.clusters[look.source].found("Service", probes.service, probes.namespace)
    if service is None:
        ports = " ".join(f"--tcp={number}:{number}" for number, _ in service_ports(look.snapshot))
        make = look.commands.kubectl(
            look.source, f"create service clusterip {probes.service} {ports}", probes.namespace
        )
        remedy = f"{make}  # or let sidecars resolve what the mesh knows (ISTIO_META_DNS_CAPTURE)"
        expected = f"a Service {probes.service} in {look.source}, so that the name has an address"
        return _hop(False, expected, "no such Service", remedy, look.source)
    who, remedy = _resolver(look)
    address = service["spec"].get("clusterIP") or "no address"
    return _hop(True, f"an answer from {who}", f"the Service has {address}", remedy, look.source)


def _resolver(look: PathFacts) -> tuple[str, str]:
    """Who answers the questions of the client's pod for names, and the command that shows what is wrong with it."""
    try:
        captured = str(look.client.metadata.get("DNS_CAPTURE", "")).lower() == "true"
    except ObservationError:
        captured = False
    if captured:
        logs = look.commands.kubectl(
            look.source, f"logs {look.client.pod} -c istio-proxy --tail=50", look.client.namespace
        )
        return (
            f"the DNS proxy in the sidecar of {look.client.pod}",
            f"{logs}  # what its DNS proxy (ISTIO_META_DNS_CAPTURE) says",
        )
    pods = look.commands.kubectl(look.source, "get pods -l k8s-app=kube-dns -o wide", "kube-system")
    logs = look.commands.kubectl(look.source, "logs -l k8s-app=kube-dns --tail=50", "kube-system")
    return (
        f"the DNS of {look.source} (CoreDNS)",
        f"{pods} && {logs}  # is it ready, and does it get the CPU that it needs?",
    )


def _listener(look: PathFacts) -> Hop:
    found = look.outbound.listener
    remedy = look.proxy_config("listeners")
    return _hop(
        bool(found), f"a listener that takes port {look.port}", found or "none", remedy, look.source
    )


def _route(look: PathFacts) -> Hop:
    probes = look.snapshot.require_probes()
    host = f"{probes.service}.{probes.namespace}."
    targets = look.outbound.targets
    good = any(target.rpartition("|")[2].startswith(host) for target in targets)
    expected = f"a route to an Envoy cluster of {host.rstrip('.')}"
    return _hop(
        good, expected, ", ".join(targets) or "no route", look.proxy_config("routes"), look.source
    )


def _cluster(look: PathFacts) -> Hop:
    known = [target for target in look.outbound.targets if target in look.client.clusters]
    expected = f"an Envoy cluster {' or '.join(look.outbound.targets)}"
    return _hop(
        bool(known),
        expected,
        ", ".join(known) or "none of that name",
        look.proxy_config("clusters"),
        look.source,
    )


def _endpoint(look: PathFacts) -> Hop:
    expected = "a healthy endpoint " + (
        " or ".join(f"{address}:{port}" for address, port in look.addresses) or f"of {look.target}"
    )
    healthy = [one for one in look.endpoints if one.health == "HEALTHY"]
    remedy = f"{look.proxy_config('endpoints')} | grep {look.snapshot.require_probes().service}"
    if look.endpoints:
        seen = ", ".join(
            f"{one.address}:{one.port} {one.health.lower()}, priority {one.priority}"
            for one in healthy or look.endpoints
        )
        return _hop(bool(healthy), expected, seen, remedy, look.source, look.target)
    why, remedy = _why_missing(look, remedy)
    seen = (
        "only " + ", ".join(f"{one.address}:{one.port}" for one in look.held)
        if look.held
        else "none at all"
    )
    return _hop(
        False, expected, f"{seen}: {why}" if why else seen, remedy, look.source, look.target
    )


def _why_missing(look: PathFacts, remedy: str) -> tuple[str, str]:
    """Why a client has no endpoint of the target, as far as that is known, and what to do about it."""
    if not look.instances:
        return f"no instance is ready in {look.target}", look.commands.kubectl(
            look.target, "get pods -o wide", look.client.namespace
        )
    for why in intentions(look.snapshot, look.snapshot.spec.cluster(look.source), (look.target,)):
        return why.summary, why.remedy
    plane = look.snapshot.clusters[serving(look.snapshot, look.source).name]
    probes = look.snapshot.require_probes()
    for istiod in plane.istiods:
        shards = shards_of(istiod.debugged("endpointShardz"), look.target)
        if not any(host.startswith(f"{probes.service}.{probes.namespace}.") for host, _ in shards):
            return f"istiod {istiod.pod} of {plane.name} has none of {look.target} either", remedy
    return "", remedy


def _client_tls(look: PathFacts) -> Hop:
    clusters = look.proxy_config("clusters") + f" --port {look.port} -o yaml"
    pair = (look.source, look.target)
    if not look.secured:
        mode = (
            "the Envoy cluster has no mutual TLS"
            if look.outbound.listener and not look.outbound.tls
            else "the endpoint is not marked for it"
        )
        good = not look.crosses and all(one.plaintext for one in _inbound_facts(look))
        return _hop(good, "mutual TLS to the endpoint", f"plaintext: {mode}", clusters, *pair)
    accepted = look.recorded.names if not look.past_sidecar and look.recorded else ()
    expected = f"certificates of {look.target} that {look.source} accepts"
    for server in look.servers:
        identity = f"spiffe://{_trust_domain(look, look.target)}/ns/{server.namespace}/sa/{server.service_account}"
        if accepted and identity not in accepted:
            return _hop(
                False,
                f"{identity} among the names that {look.source} accepts",
                ", ".join(accepted),
                clusters,
                *pair,
            )
    remedy = look.commands.kubectl(
        look.target, "get configmap istio-ca-root-cert -o yaml", look.client.namespace
    )
    return _trusted(look, look.servers, (look.client,), expected, remedy)


def _trusted(
    look: PathFacts,
    shown: Sequence[ProxyFacts],
    trusting: Sequence[ProxyFacts],
    expected: str,
    remedy: str,
) -> Hop:
    """Whether the certificates of ``shown`` lead to the roots of ``trusting``."""
    for proxy in shown:
        for other in trusting:
            if not proxy.certificate_chain or not other.roots:
                raise ObservationError(
                    f"proxy {(other if proxy.certificate_chain else proxy).pod}",
                    "its certificates were not recorded",
                )
            problem = verify_chain(proxy.certificate_chain, other.roots, look.snapshot.moment)
            if problem:
                return _hop(
                    False,
                    expected,
                    f"{other.pod} does not accept the certificate of {proxy.pod}: {problem}",
                    remedy,
                    look.source,
                    look.target,
                )
    return _hop(
        True,
        expected,
        f"{names(proxy.pod for proxy in shown)} accepted",
        remedy,
        look.source,
        look.target,
    )


def _gateway(look: PathFacts) -> Hop:
    spec = look.snapshot.spec
    network = spec.cluster(look.target).network
    holders = tuple(dict.fromkeys(gateway.cluster for gateway in look.gateways)) or (look.target,)
    pods = [
        proxy
        for name in holders
        for proxy in look.snapshot.clusters[name].proxies
        if proxy.kind == "east-west"
    ]
    context = f"--context={look.commands.context(holders[0])}"
    if not pods:
        services = look.commands.istio(holders[0], "get deployments,pods,services -o wide")
        return _hop(
            False, f"a running gateway of {network}", "no gateway pod runs", services, *holders
        )
    for pod in pods:
        pod.require_dump()
    remedy = f"istioctl {context} proxy-config listeners {pods[0].pod}.{pods[0].namespace}"
    expected = f"a filter chain for {look.server_name}"
    without = [pod for pod in pods if not _led_to(look, pod)]
    if without:
        listening = ", ".join(
            f"port {port} with {len(chains)} chains" for port, chains in without[0].chains.items()
        )
        return _hop(
            False,
            expected,
            f"{without[0].pod} has {listening or 'no listener'}, none for that name",
            remedy,
            *holders,
        )
    return _hop(True, expected, f"{names(pod.pod for pod in pods)} has one", remedy, *holders)


def _remote_cluster(look: PathFacts) -> Hop:
    holders = tuple(dict.fromkeys(gateway.cluster for gateway in look.gateways)) or (look.target,)
    wanted = {(instance.address, instance.port) for instance in look.instances}
    expected = "healthy endpoints " + (
        ", ".join(f"{address}:{port}" for address, port in sorted(wanted)) or f"in {look.target}"
    )
    for pod in (
        proxy
        for name in holders
        for proxy in look.snapshot.clusters[name].proxies
        if proxy.kind == "east-west"
    ):
        pod.require_dump()
        remedy = f"istioctl --context={look.commands.context(holders[0])} proxy-config endpoints {pod.pod}.{pod.namespace}"
        held = [one for cluster in _led_to(look, pod) for one in pod.endpoints.get(cluster, ())]
        healthy = {(one.address, one.port) for one in held if one.health == "HEALTHY"}
        if not healthy & wanted:
            seen = (
                ", ".join(f"{one.address}:{one.port} {one.health.lower()}" for one in held)
                or "no endpoints"
            )
            for why in intentions(
                look.snapshot, look.snapshot.spec.cluster(holders[0]), (look.source,)
            ):
                seen, remedy = f"{seen}: {why.summary}", why.remedy
            return _hop(False, expected, f"gateway {pod.pod} has {seen}", remedy, *holders)
    return _hop(True, expected, "the gateway has them", "", *holders)


def _led_to(look: PathFacts, pod: ProxyFacts) -> list[str]:
    """The Envoy clusters of a gateway to which its filter chains lead connections for the port."""
    return [
        chain.cluster
        for chains in pod.chains.values()
        for chain in chains
        if any(name.startswith(look.server_name.rstrip("…")) for name in chain.server_names)
    ]


def _inbound(look: PathFacts) -> Hop:
    facts = _inbound_facts(look)
    remedy = look.commands.kubectl(
        look.target, "get peerauthentications.security.istio.io --all-namespaces -o yaml"
    )
    if not look.secured:
        good = all(one.plaintext for one in facts)
        return _hop(
            good,
            f"port {look.port} takes plaintext",
            "it does" if good else "it demands mutual TLS",
            remedy,
            look.source,
            look.target,
        )
    if not all(one.known and one.tls for one in facts):
        expected = f"port {look.port} takes mutual TLS"
        for why in without_mutual_tls(look.snapshot, look.snapshot.spec.cluster(look.target)):
            seen = f"it takes plaintext only: {why.summary}, which {look.source} was not told"
            return replace(
                _hop(False, expected, seen, why.remedy, look.source, look.target), fault=why.fault
            )
        return _hop(False, expected, "it takes plaintext only", remedy, look.source, look.target)
    return _trusted(
        look,
        (look.client,),
        look.servers,
        f"the certificate of {look.client.pod} is accepted in {look.target}",
        remedy,
    )


def _inbound_facts(look: PathFacts) -> list[Inbound]:
    for server in look.servers:
        server.require_dump()
        if str(look.port) not in server.inbound:
            raise ObservationError(
                f"proxy {server.pod}", f"what it does with port {look.port} was not recorded"
            )
    return [server.inbound[str(look.port)] for server in look.servers]


def _authorisation(look: PathFacts) -> Hop:
    facts = _inbound_facts(look)
    policies = tuple(dict.fromkeys(policy for one in facts for policy in one.policies))
    nobody = tuple(dict.fromkeys(policy for one in facts for policy in one.nobody))
    spec = look.snapshot.spec
    holder = spec.config_cluster(
        spec.cluster(spec.cluster(look.target).control_plane or look.target)
    ).name
    remedy = look.commands.kubectl(
        holder, "get authorizationpolicies.security.istio.io --all-namespaces -o yaml"
    )
    if len(policies) == 1 and "/" in policies[0]:
        namespace, name = policies[0].split()[-1].split("/")
        remedy = look.commands.kubectl(
            holder, f"delete authorizationpolicies.security.istio.io {name}", namespace
        )
        remedy += f"  # or let it allow {look.client.service_account}.{look.client.namespace}"
    expected = f"{look.client.service_account}.{look.client.namespace} may call {look.snapshot.require_probes().service}"
    seen = (
        f"{', '.join(nobody)} lets nobody in"
        if nobody
        else f"policies: {', '.join(policies)}"
        if policies
        else "no policy"
    )
    return _hop(not nobody, expected, seen, remedy, look.target)


def _application(look: PathFacts) -> Hop:
    ready = look.instances
    logs = look.commands.kubectl(
        look.target,
        f"logs -l app={look.snapshot.require_probes().service} --all-containers --tail=20",
    )
    remedy = logs.replace(" logs", f" -n {look.snapshot.require_probes().namespace} logs", 1)
    seen = names(instance.pod for instance in ready) + " ready" if ready else "no ready instance"
    return _hop(bool(ready), "a ready instance that answers", seen, remedy, look.target)


def _trust_domain(look: PathFacts, cluster: str) -> str:
    spec = look.snapshot.spec
    return spec.trust_domain_of(spec.cluster(cluster))


STATIONS: dict[str, Examine] = {
    symptoms.CLIENT_PROXY: _client_proxy,
    symptoms.DNS: _dns,
    symptoms.LISTENER: _listener,
    symptoms.ROUTE: _route,
    symptoms.CLUSTER: _cluster,
    symptoms.ENDPOINT: _endpoint,
    symptoms.CLIENT_TLS: _client_tls,
    symptoms.GATEWAY: _gateway,
    symptoms.REMOTE_CLUSTER: _remote_cluster,
    symptoms.INBOUND: _inbound,
    symptoms.AUTHORISATION: _authorisation,
    symptoms.APPLICATION: _application,
}
