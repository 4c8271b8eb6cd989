"""East-west gateways, live: reachable from every other network, transparent for what they know, closed to the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...mesh import Mesh, ProbePod
from ...observations import (
    Connection,
    Ending,
    GatewayAddress,
    NamedCall,
    Plaintext,
    TlsHandshake,
    Trial,
)
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_TRAFFIC, Kind, check
from ..judging import Found, Gap, verdict_from
from ..remedies import istioctl, kubectl
from ..replies import answered, identity, probes_of, refusals
from ..tracing.traces import Traces

GUIDE = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/"
MULTI_NETWORK = (Feature.MULTI_NETWORK,)


@check(
    "MC-EASTWEST-003",
    "The east-west gateway of every network is reachable from every other network.",
    kind=Kind.LIVE,
    requires=MULTI_NETWORK,
    spec_url="https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/",
    explained_by=("MC-EASTWEST-001", "MC-EASTWEST-002"),
)
def reachable(
    mesh: Mesh,
    snapshot: Snapshot,
    gateways: Sequence[GatewayAddress],
    connections: Sequence[Connection],
) -> Verdict:
    """Every address of every gateway takes TCP connections from the clients of all other networks."""
    there = {gateway.network for gateway in gateways}
    ways = Traces(snapshot, past_sidecar=True)
    found: list[Found] = [
        _no_gateway(mesh, network) for network in mesh.spec.networks if network not in there
    ]
    for cluster in mesh.spec.data_planes:
        for gateway in gateways:
            if gateway.network != cluster.network:
                found += _connected(mesh, cluster.name, gateway, connections, ways)
    otherwise = f"{len(connections)} connections to {len(gateways)} gateway addresses"
    return verdict_from(found, otherwise, pairs=_crossing_names(mesh)).with_evidence(*ways.evidence)


def _connected(
    mesh: Mesh,
    source: str,
    gateway: GatewayAddress,
    connections: Sequence[Connection],
    ways: Traces,
) -> Iterator[Found]:
    tried = [
        one
        for one in connections
        if (one.source, one.address, one.port) == (source, gateway.address, gateway.port)
    ]
    if not tried:
        yield Gap(f"{source} to {gateway.address}:{gateway.port} was not tried")
    for connection in tried:
        if connection.ending is not Ending.ANSWERED:
            way = ways.trace(source, gateway.cluster)
            yield Finding(
                f"{source} cannot connect to {gateway.network}'s gateway {gateway.address}:{gateway.port}: {connection.ending.value}",
                clusters=(source, gateway.cluster),
                expected="a TCP connection",
                seen=f"{connection.error}; {way.summary}",
                remedy=kubectl(
                    mesh,
                    gateway.cluster,
                    f"-n {gateway.service.split('/')[0]} get service,endpointslices,pods -o wide",
                )
                + f"  # firewalls from {source} to {gateway.address}:{gateway.port}",
                fault="gateway-unreachable",
            )


def _no_gateway(mesh: Mesh, network: str) -> Finding:
    clusters = tuple(
        cluster.name for cluster in mesh.spec.data_planes if cluster.network == network
    )
    return Finding(
        f"network {network} has no east-west gateway with an address",
        clusters=clusters,
        expected="a Service with label topology.istio.io/network and an external address",
        seen="none",
        remedy=kubectl(
            mesh,
            clusters[0],
            f"get services --all-namespaces -l topology.istio.io/network={network} -o wide",
        ),
        fault="gateway-address-missing",
    )


@check(
    "MC-EASTWEST-004",
    "A gateway leads every server name (outbound_.<port>_.<subset>_.<host>) to exactly that service, port and subset.",
    kind=Kind.LIVE,
    requires=MULTI_NETWORK,
    spec_url=GUIDE + "#expose-services-in-cluster1",
    explained_by=(
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-EASTWEST-003",
        "MC-CONTROL-005",
        "MC-DISCOVERY-002",
        *BELOW_TRAFFIC,
    ),
)
def names_lead_to_services(
    mesh: Mesh, snapshot: Snapshot, gateways: Sequence[GatewayAddress], calls: Sequence[NamedCall]
) -> Verdict:
    """Subsets without a pod behind the gateway must not be answered: it may not pass requests on to other networks."""
    found: list[Found] = list(_uncovered(mesh, gateways, calls))
    ways = Traces(snapshot, past_sidecar=True)
    for way in dict.fromkeys((call.handshake.source, call.gateway) for call in calls):
        found += _at(
            mesh, [call for call in calls if (call.handshake.source, call.gateway) == way], ways
        )
    otherwise = f"{len(calls)} names at {len(gateways)} gateways led where they should"
    return verdict_from(found, otherwise, pairs=_crossing_names(mesh)).with_evidence(*ways.evidence)


def _pods(mesh: Mesh, call: NamedCall) -> list[ProbePod]:
    """The pods behind the gateway to which the name of this call belongs."""
    inside = {
        cluster.name for cluster in mesh.spec.data_planes if cluster.network == call.gateway.network
    }
    role = "client" if call.service == "client" else "server"
    return [
        pod
        for pod in probes_of(mesh).pods
        if pod.cluster in inside and pod.role == role and call.subset in ("", pod.version)
    ]


def _at(mesh: Mesh, calls: Sequence[NamedCall], ways: Traces) -> Iterator[Found]:
    """What is wrong at one gateway, seen from one cluster; one finding where it answers no name at all."""
    known = [call for call in calls if _pods(mesh, call)]
    if known and not any(call.handshake.answer or call.handshake.completed for call in known):
        first = known[0]
        source, gateway = first.handshake.source, first.gateway
        way = ways.trace(source, gateway.cluster, first.handshake)
        yield Finding(
            f"{source}: the gateway of {gateway.network} at {gateway.address}:{gateway.port} answers none of {len(known)} names",
            clusters=(source, gateway.cluster),
            expected="an answer by the service, port and subset that the name says",
            seen=f"{first.handshake}; {way.summary}",
            remedy=way.remedy or _listeners(mesh, gateway),
            fault="gateway-does-not-route",
        )
        return
    for call in calls:
        yield from _led(mesh, call, ways)


def _listeners(mesh: Mesh, gateway: GatewayAddress) -> str:
    namespace, name = gateway.service.split("/")
    return istioctl(
        mesh, gateway.cluster, f"proxy-config listeners deployment/{name}.{namespace} --port 15443"
    )


def _led(mesh: Mesh, call: NamedCall, ways: Traces) -> Iterator[Found]:
    handshake, gateway = call.handshake, call.gateway
    pods = {pod.name for pod in _pods(mesh, call)}
    answer = handshake.answer
    scope = (handshake.source, gateway.cluster)
    remedy = _listeners(mesh, gateway)
    what = f"{handshake.source}: SNI {handshake.sni} at {gateway.address}:{gateway.port}"
    if not pods:
        if answer is not None:
            yield Finding(
                f"{what} has no pod in {gateway.network}, yet {answer.pod} in {answer.cluster} answered",
                clusters=scope,
                expected="no answer: the gateway serves its own network only",
                seen=str(handshake),
                remedy=remedy,
                fault="gateway-forwards-to-other-networks",
            )
    elif answer is None and handshake.completed:
        # the gateway passes TLS on, so this was made with something behind it, which may not want to answer
        yield Gap(
            f"{what} leads somewhere that gives no answer ({handshake}; {ways.trace(*scope, handshake).summary})"
        )
    elif answer is None:
        yield Finding(
            f"{what} is not answered",
            clusters=scope,
            expected=f"an answer by {' or '.join(sorted(pods))}",
            seen=str(handshake),
            remedy=remedy,
            fault="gateway-does-not-route",
        )
    elif answer.pod not in pods or answer.port != call.port:
        yield Finding(
            f"{what} leads to {answer.pod} in {answer.cluster}, port {answer.port}",
            clusters=scope,
            expected=f"{' or '.join(sorted(pods))}, port {call.port}",
            seen=str(handshake),
            remedy=remedy,
            fault="gateway-routes-wrongly",
        )


@check(
    "MC-EASTWEST-005",
    "A gateway does not terminate TLS: the certificate that a client sees through it is the workload's.",
    kind=Kind.LIVE,
    requires=MULTI_NETWORK,
    spec_url="https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-TLSmode",
    explained_by=("MC-EASTWEST-001", "MC-EASTWEST-002", "MC-EASTWEST-003", "MC-EASTWEST-004"),
)
def tls_passes_through(
    mesh: Mesh, gateways: Sequence[GatewayAddress], calls: Sequence[NamedCall]
) -> Verdict:
    """For every call that has pods behind the gateway, the certificate names their service account and leads to the mesh's root."""
    found: list[Found] = list(_uncovered(mesh, gateways, calls))
    judged = 0
    for call in calls:
        accounts = {identity(mesh, pod.cluster, pod.service_account) for pod in _pods(mesh, call)}
        if accounts:
            judged += 1
            found += _shown(call, accounts)
    return verdict_from(
        found,
        f"{judged} certificates seen through {len(gateways)} gateways were the workloads'",
        pairs=_crossing_names(mesh),
    )


def _shown(call: NamedCall, accounts: set[str]) -> Iterator[Found]:
    handshake, gateway = call.handshake, call.gateway
    if handshake.peer is None:
        yield Gap(f"{handshake} showed no certificate")
    elif not set(handshake.peer.uris) & accounts:
        shown = ", ".join(handshake.peer.uris or handshake.peer.names) or handshake.peer.subject
        yield Finding(
            f"{handshake.source}: behind {gateway.address}:{gateway.port} the certificate is {shown}, not the workload's",
            clusters=(handshake.source, gateway.cluster),
            expected=" or ".join(sorted(accounts)),
            seen=f"{shown}, issued by {handshake.peer.issuer}",
            remedy="make load balancers in front pass TCP through unchanged (layer 4), and the Gateway's tls.mode AUTO_PASSTHROUGH",
            fault="gateway-terminates-tls",
        )
    elif not handshake.verified:
        yield Gap(
            f"{handshake.source}: a certificate of the right name, but from an unknown root ({handshake.verify_error})"
        )


@check(
    "MC-EASTWEST-006",
    "A gateway refuses names that it does not know, connections without a name, and plaintext.",
    kind=Kind.LIVE,
    requires=MULTI_NETWORK,
    spec_url=GUIDE + "#expose-services-in-cluster1",
    explained_by=("MC-EASTWEST-001", "MC-EASTWEST-002", "MC-EASTWEST-003", "MC-EASTWEST-004"),
)
def unknown_names_refused(mesh: Mesh, trials: Sequence[Trial]) -> Verdict:
    """Not even a handshake may complete; the twin is a known name over the same way."""

    def got_through(attempt: TlsHandshake | Plaintext) -> bool:
        return answered(attempt) or (isinstance(attempt, TlsHandshake) and attempt.completed)

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        gateway = trial.path.gateway if trial.path else None
        name = f"the gateway of {gateway.network}" if gateway else "the gateway"
        return Finding(
            f"{name} at {attempt.address}:{attempt.port} let something through from {trial.source} that it must refuse",
            clusters=(trial.source, trial.target),
            expected="the connection is closed before any handshake",
            seen=str(attempt),
            remedy=kubectl(
                mesh,
                trial.target,
                "get gateways.networking.istio.io,virtualservices --all-namespaces -o yaml",
            ),
            fault="gateway-too-open",
        )

    count = sum(len(trial.forbidden) for trial in trials)
    otherwise = (
        f"{count} unknown names, missing names and plaintexts refused, {len(trials)} twins answered"
    )
    found = (
        list(refusals(trials, got_through, finding))
        if trials
        else [Gap("no gateway address is known")]
    )
    return verdict_from(found, otherwise, pairs=[trial.pair for trial in trials])


@check(
    "MC-EASTWEST-007",
    "Clusters on one network reach each other's pods directly; between networks there is no way but the gateway.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER,),
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#network-models",
    explained_by=("MC-CONTROL-003",),
)
def only_way(mesh: Mesh, trials: Sequence[Trial]) -> Verdict:
    """Plaintext straight to a pod: refused between networks, answered within one."""

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        return Finding(
            f"{trial.pair}: pods are reached directly, although the two are on different networks",
            clusters=(trial.source, trial.target),
            expected="no connection but through the east-west gateway",
            seen=str(attempt),
            remedy="put both clusters on one network (label topology.istio.io/network, values.global.network), or separate the networks",
            fault="networks-not-separate",
        )

    def straight(attempt: TlsHandshake | Plaintext) -> bool:
        # pod addresses of separate networks may overlap: only an answer from the other cluster is a way there
        return attempt.answer is not None and attempt.answer.cluster != attempt.source

    found: list[Found] = []
    for trial in trials:
        same = mesh.spec.cluster(trial.source).network == mesh.spec.cluster(trial.target).network
        if same and trial.path is not None and trial.twin is None:
            found.append(
                Finding(
                    f"{trial.pair}: pods are not reached directly, although the two are on one network",
                    clusters=(trial.source, trial.target),
                    expected=f"an answer from {trial.path.address}:{trial.path.port}",
                    seen="; ".join(map(str, trial.twins)),
                    remedy=_pod_routes(mesh, trial.target)
                    + f"  # route these pods to their nodes from those of {trial.source}, and back, with their own addresses; let them in "
                    "(NetworkPolicy, security groups); or make the two different networks",
                    fault="network-not-flat",
                )
            )
        else:
            found += refusals([trial], straight, finding)
    separate = sum(bool(trial.forbidden) for trial in trials)
    return verdict_from(
        found,
        f"{separate} pairs have no direct way, {len(trials) - separate} have one",
        pairs=[trial.pair for trial in trials],
    )


def _pod_routes(mesh: Mesh, cluster: str) -> str:
    """The command that shows which pods are behind which node, and who keeps others from them."""
    columns = "NODE:.metadata.name,ADDRESS:.status.addresses[0].address,PODS:.spec.podCIDR"
    nodes = kubectl(mesh, cluster, f"get nodes -o custom-columns='{columns}'")
    return f"{nodes} && {kubectl(mesh, cluster, 'get networkpolicies --all-namespaces')}"


def _uncovered(
    mesh: Mesh, gateways: Sequence[GatewayAddress], calls: Sequence[NamedCall]
) -> Iterator[Gap]:
    """What keeps the calls from saying anything about some network: no gateway address, or no call."""
    for network in mesh.spec.networks:
        if not any(gateway.network == network for gateway in gateways):
            yield Gap(f"network {network} has no gateway address")
        elif not any(call.gateway.network == network for call in calls):
            yield Gap(f"nothing was sent to the gateway of {network}")


def _crossing_names(mesh: Mesh) -> list[str]:
    return [
        f"{source.name} to {target.name}"
        for source, target in mesh.spec.pairs
        if source.network != target.network
    ]
