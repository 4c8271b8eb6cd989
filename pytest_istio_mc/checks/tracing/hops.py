"""Hops: examine each hop of a path in a snapshot, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ... import shell
from ...certificate_chains import verify_chain
from ...errors import ObservationError
from ...istio_names import KUBE_SYSTEM
from ...mesh import OWN_CLIENTS
from ...recorded import Inbound, ProxyFacts
from ...shell import NO_REMEDY, Remedy
from ..access.synced import shards_of
from ..eastwest.gateways import gateway_proxies
from ..isolating import intentions, without_mutual_tls
from ..judging import names
from ..oracle import service_ports
from . import symptoms
from .path import PathFacts
from .trace import Hop, State

Examine = Callable[[PathFacts], Hop]


def _hop(good: bool, expected: str, seen: str, remedy: Remedy, *clusters: str) -> Hop:
    return Hop("", State.GOOD if good else State.BROKEN, expected, seen, remedy, clusters)


def _client_proxy(path: PathFacts) -> Hop:
    pod = path.client
    remedy = path.commands.restart_pod(path.source, pod.pod, pod.namespace)
    errors = "; ".join(pod.listener_errors.values())
    expected = "a proxy that has taken its configuration"
    return _hop(not errors, expected, errors[:200] or f"proxy of {pod.pod}", remedy, path.source)


def _dns(path: PathFacts) -> Hop:
    probes = path.snapshot.require_probes()
    service = path.snapshot.clusters[path.source].found("Service", probes.service, probes.namespace)
    if service is None:
        ports = [f"--tcp={number}:{number}" for number, _ in service_ports(path.snapshot)]
        make = path.commands.kubectl(
            path.source,
            "create service clusterip",
            *ports,
            *shell.operand(probes.service),
            namespace=probes.namespace,
        )
        remedy = shell.with_note(
            make, "or let sidecars resolve what the mesh knows: ISTIO_META_DNS_CAPTURE"
        )
        expected = f"a Service {probes.service} in {path.source}, so that the name has an address"
        return _hop(False, expected, "no such Service", remedy, path.source)
    who, remedy = _resolver(path)
    address = service["spec"].get("clusterIP") or "no address"
    return _hop(True, f"an answer from {who}", f"the Service has {address}", remedy, path.source)


def _resolver(path: PathFacts) -> tuple[str, Remedy]:
    """The DNS server of the client's pod, and the command that examines it."""
    commands, source = path.commands, path.source
    try:
        captured = str(path.client.metadata.get("DNS_CAPTURE", "")).lower() == "true"
    except ObservationError:
        captured = False
    if captured:
        logs = commands.logs(source, path.client.pod, path.client.namespace)
        who = f"the DNS proxy in the sidecar of {path.client.pod}"
        return who, shell.with_note(logs, "what its DNS proxy says, ISTIO_META_DNS_CAPTURE")
    shown = shell.then(
        commands.kubectl(source, "get pods -l k8s-app=kube-dns -o wide", namespace=KUBE_SYSTEM),
        commands.kubectl(source, "logs -l k8s-app=kube-dns --tail=50", namespace=KUBE_SYSTEM),
    )
    question = "is it ready, and does it get the CPU that it needs?"
    return f"the DNS of {source} (CoreDNS)", shell.with_note(shown, question)


def _listener(path: PathFacts) -> Hop:
    found, remedy = path.outbound.listener, path.proxy_config("listeners")
    expected = f"a listener that takes port {path.port}"
    return _hop(bool(found), expected, found or "none", remedy, path.source)


def _route(path: PathFacts) -> Hop:
    probes = path.snapshot.require_probes()
    host = f"{probes.service}.{probes.namespace}"
    targets, remedy = path.outbound.targets, path.proxy_config("routes")
    good = any(target.rpartition("|")[2].startswith(f"{host}.") for target in targets)
    expected = f"a route to an Envoy cluster of {host}"
    return _hop(good, expected, ", ".join(targets) or "no route", remedy, path.source)


def _cluster(path: PathFacts) -> Hop:
    known = [target for target in path.outbound.targets if target in path.client.clusters]
    expected = f"an Envoy cluster {' or '.join(path.outbound.targets)}"
    seen, remedy = ", ".join(known) or "none of that name", path.proxy_config("clusters")
    return _hop(bool(known), expected, seen, remedy, path.source)


def _endpoint(path: PathFacts) -> Hop:
    addresses = " or ".join(f"{address}:{port}" for address, port in path.addresses)
    expected = f"a healthy endpoint {addresses or f'of {path.target}'}"
    healthy = [one for one in path.endpoints if one.health == "HEALTHY"]
    service = path.snapshot.require_probes().service
    remedy: Remedy = shell.matching(service, path.proxy_config("endpoints"))
    if path.endpoints:
        seen = ", ".join(
            f"{one.address}:{one.port} {one.health.lower()}, priority {one.priority}"
            for one in healthy or path.endpoints
        )
        return _hop(bool(healthy), expected, seen, remedy, path.source, path.target)
    why, remedy = _why_missing(path, remedy)
    others = ", ".join(f"{one.address}:{one.port}" for one in path.held)
    seen = (f"only {others}" if others else "none at all") + (f": {why}" if why else "")
    return _hop(False, expected, seen, remedy, path.source, path.target)


def _why_missing(path: PathFacts, remedy: Remedy) -> tuple[str, Remedy]:
    """Why a client has no endpoint of the target, and what to do."""
    if not path.instances:
        namespace = path.client.namespace
        pods = path.commands.kubectl(path.target, "get pods -o wide", namespace=namespace)
        return f"no instance is ready in {path.target}", pods
    for why in intentions(path.snapshot, path.snapshot.spec.cluster(path.source), (path.target,)):
        return why.summary, why.remedy
    plane = path.snapshot.clusters[path.snapshot.spec.control_plane_of(path.source).name]
    probes = path.snapshot.require_probes()
    for istiod in plane.istiods:
        shards = shards_of(istiod.debugged("endpointShardz"), path.target)
        if not any(host.startswith(f"{probes.service}.{probes.namespace}.") for host, _ in shards):
            return f"istiod {istiod.pod} of {plane.name} has none of {path.target} either", remedy
    return "", remedy


def _client_tls(path: PathFacts) -> Hop:
    clusters = path.proxy_config("clusters", f"--port={path.port}", "-o", "yaml")
    pair = (path.source, path.target)
    if not path.secured:
        without = path.outbound.listener and not path.outbound.tls
        cluster, endpoint = (
            "the Envoy cluster has no mutual TLS",
            "the endpoint is not marked for it",
        )
        seen = f"plaintext: {cluster if without else endpoint}"
        good = not path.crosses and all(one.plaintext for one in _inbound_facts(path))
        return _hop(good, "mutual TLS to the endpoint", seen, clusters, *pair)
    accepted = path.recorded.names if not path.past_sidecar and path.recorded else ()
    domain = path.snapshot.spec.trust_domain_of(path.snapshot.spec.cluster(path.target))
    for server in path.servers:
        identity = f"spiffe://{domain}/ns/{server.namespace}/sa/{server.service_account}"
        if accepted and identity not in accepted:
            expected = f"{identity} among the names that {path.source} accepts"
            return _hop(False, expected, ", ".join(accepted), clusters, *pair)
    remedy = path.commands.kubectl(
        path.target, "get configmap istio-ca-root-cert -o yaml", namespace=path.client.namespace
    )
    expected = f"certificates of {path.target} that {path.source} accepts"
    return _trusted(path, path.servers, (path.client,), expected, remedy)


def _trusted(
    path: PathFacts,
    shown: Sequence[ProxyFacts],
    trusting: Sequence[ProxyFacts],
    expected: str,
    remedy: Remedy,
) -> Hop:
    """Whether the certificates of ``shown`` lead to the roots of ``trusting``."""
    pair = (path.source, path.target)
    for proxy in shown:
        for other in trusting:
            if not proxy.certificate_chain or not other.roots:
                unread = other if proxy.certificate_chain else proxy
                raise ObservationError(f"proxy {unread.pod}", "its certificates were not recorded")
            problem = verify_chain(proxy.certificate_chain, other.roots, path.snapshot.moment)
            if problem:
                seen = f"{other.pod} does not accept the certificate of {proxy.pod}: {problem}"
                return _hop(False, expected, seen, remedy, *pair)
    return _hop(True, expected, f"{names(proxy.pod for proxy in shown)} accepted", remedy, *pair)


def _gateway(path: PathFacts) -> Hop:
    network = path.snapshot.spec.cluster(path.target).network
    holders, pods = _gateway_holders(path), _gateway_pods(path)
    if not pods:
        remedy = path.commands.istio(holders[0], "get deployments,pods,services -o wide")
        expected = f"a running gateway of {network}"
        return _hop(False, expected, "no gateway pod runs", remedy, *holders)
    for pod in pods:
        pod.require_dump()
    first = f"{pods[0].pod}.{pods[0].namespace}"
    remedy = path.commands.proxy_config(holders[0], "listeners", first)
    expected = f"a filter chain for {path.server_name}"
    without = next((pod for pod in pods if not _led_to(path, pod)), None)
    if without:
        listening = ", ".join(
            f"port {port} with {len(chains)} chains" for port, chains in without.chains.items()
        )
        seen = f"{without.pod} has {listening or 'no listener'}, none for that name"
        return _hop(False, expected, seen, remedy, *holders)
    return _hop(True, expected, f"{names(pod.pod for pod in pods)} has one", remedy, *holders)


def _remote_cluster(path: PathFacts) -> Hop:
    holders = _gateway_holders(path)
    wanted = {(instance.address, instance.port) for instance in path.instances}
    addresses = ", ".join(f"{address}:{port}" for address, port in sorted(wanted))
    expected = f"healthy endpoints {addresses or f'in {path.target}'}"
    for pod in _gateway_pods(path):
        pod.require_dump()
        held = [one for cluster in _led_to(path, pod) for one in pod.endpoints.get(cluster, ())]
        healthy = {(one.address, one.port) for one in held if one.health == "HEALTHY"}
        if not healthy & wanted:
            listed = ", ".join(f"{one.address}:{one.port} {one.health.lower()}" for one in held)
            seen = listed or "no endpoints"
            name = f"{pod.pod}.{pod.namespace}"
            remedy: Remedy = path.commands.proxy_config(holders[0], "endpoints", name)
            holder = path.snapshot.spec.cluster(holders[0])
            for why in intentions(path.snapshot, holder, (path.source,)):
                seen, remedy = f"{seen}: {why.summary}", why.remedy
            return _hop(False, expected, f"gateway {pod.pod} has {seen}", remedy, *holders)
    return _hop(True, expected, "the gateway has them", NO_REMEDY, *holders)


def _gateway_holders(path: PathFacts) -> tuple[str, ...]:
    """The clusters whose gateways lead to the target; the target, where none has an address."""
    return tuple(dict.fromkeys(gateway.cluster for gateway in path.gateways)) or (path.target,)


def _gateway_pods(path: PathFacts) -> list[ProxyFacts]:
    """The Envoys behind the gateways on the path.

    :class:`ObservationError` where these are addresses of which no Service is known.
    """
    if not path.gateways:
        own = path.snapshot.clusters[path.target].proxies
        return [proxy for proxy in own if proxy.kind == "east-west"]
    found: dict[tuple[str, str], ProxyFacts] = {}
    for gateway in path.gateways:
        cluster = path.snapshot.clusters[gateway.cluster]
        namespace, _, name = gateway.service.partition("/")
        service = cluster.found("Service", name, namespace)
        if service is None:
            problem = "which pods are behind it is not known"
            raise ObservationError(f"gateway {gateway.name} of {gateway.network}", problem)
        found |= {(one.namespace, one.pod): one for one in gateway_proxies(cluster, service)}
    return list(found.values())


def _led_to(path: PathFacts, pod: ProxyFacts) -> list[str]:
    """The Envoy clusters of a gateway to which its filter chains lead connections for the port."""
    return [
        chain.cluster
        for chains in pod.chains.values()
        for chain in chains
        if any(name.startswith(path.server_name.rstrip("…")) for name in chain.server_names)
    ]


def _inbound(path: PathFacts) -> Hop:
    facts, pair = _inbound_facts(path), (path.source, path.target)
    remedy = path.commands.kubectl(
        path.target, "get peerauthentications.security.istio.io --all-namespaces -o yaml"
    )
    if not path.secured:
        good = all(one.plaintext for one in facts)
        seen = "it does" if good else "it demands mutual TLS"
        return _hop(good, f"port {path.port} takes plaintext", seen, remedy, *pair)
    if not all(one.known and one.tls for one in facts):
        expected, seen = f"port {path.port} takes mutual TLS", "it takes plaintext only"
        for why in without_mutual_tls(path.snapshot, path.snapshot.spec.cluster(path.target)):
            seen += f": {why.summary}, which {path.source} was not told"
            return replace(_hop(False, expected, seen, why.remedy, *pair), fault=why.fault)
        return _hop(False, expected, seen, remedy, *pair)
    expected = f"the certificate of {path.client.pod} is accepted in {path.target}"
    return _trusted(path, (path.client,), path.servers, expected, remedy)


def _inbound_facts(path: PathFacts) -> list[Inbound]:
    for server in path.servers:
        server.require_dump()
        if str(path.port) not in server.inbound:
            unknown = f"what it does with port {path.port} was not recorded"
            raise ObservationError(f"proxy {server.pod}", unknown)
    return [server.inbound[str(path.port)] for server in path.servers]


def _authorisation(path: PathFacts) -> Hop:
    facts, spec = _inbound_facts(path), path.snapshot.spec
    # ours lets in the very caller, and is in nobody's way
    ours = f"ALLOW {path.snapshot.require_probes().namespace}/{OWN_CLIENTS}"
    policies = tuple(
        dict.fromkeys(policy for one in facts for policy in one.policies if policy != ours)
    )
    nobody = tuple(dict.fromkeys(policy for one in facts for policy in one.nobody))
    holder = spec.config_cluster(spec.control_plane_of(path.target)).name
    caller = f"{path.client.service_account}.{path.client.namespace}"
    remedy: Remedy = path.commands.kubectl(
        holder, "get --all-namespaces -o yaml", "authorizationpolicies.security.istio.io"
    )
    if nobody:
        # what allows nobody allows whom another policy allows; nothing of it needs to go
        remedy = shell.with_note(
            path.commands.apply(holder, _allowing(path), path.client.namespace),
            f"lets {caller} in; whether {', '.join(nobody)} is to stay, its owner decides",
        )
    expected = f"{caller} may call {path.snapshot.require_probes().service}"
    seen = f"policies: {', '.join(policies)}" if policies else "no policy"
    if nobody:
        seen = f"{', '.join(nobody)} lets nobody in"
    return _hop(not nobody, expected, seen, remedy, path.target)


def _allowing(path: PathFacts) -> dict[str, Any]:
    """A policy that lets the client call the servers of the probes, and opens nothing else."""
    spec, probes = path.snapshot.spec, path.snapshot.require_probes()
    domain = spec.trust_domain_of(spec.cluster(path.source))
    client = f"{domain}/ns/{path.client.namespace}/sa/{path.client.service_account}"
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "istio-mc-allow-client"},
        "spec": {
            "selector": {"matchLabels": {"app": probes.service}},
            "action": "ALLOW",
            "rules": [{"from": [{"source": {"principals": [client]}}]}],
        },
    }


def _application(path: PathFacts) -> Hop:
    ready, probes = path.instances, path.snapshot.require_probes()
    remedy = path.commands.kubectl(
        path.target,
        "logs --all-containers --tail=20 -l",
        f"app={probes.service}",
        namespace=probes.namespace,
    )
    seen = names(instance.pod for instance in ready) + " ready" if ready else "no ready instance"
    return _hop(bool(ready), "a ready instance that answers", seen, remedy, path.target)


HOPS: dict[str, Examine] = {
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
