"""East-west gateways, live: reachable, transparent for known names, closed to the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from ... import shell
from ...istio_names import EAST_WEST_PORT, NETWORK_LABEL
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
from ...shell import Remedy
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_TRAFFIC, check
from ..judging import Found, Gap, verdict_from
from ..remedies import Commands
from ..replies import answered, identity, refusals
from ..site import Here
from ..tracing.traces import Traces
from .observe import addresses, connections, named_calls, past_the_gateway, unknown_names

DOCS = "https://istio.io/latest/docs/"
EXPOSE = (
    DOCS + "setup/install/multicluster/multi-primary_multi-network/#expose-services-in-cluster1"
)
PASSTHROUGH = DOCS + "reference/config/networking/gateway/#ServerTLSSettings-TLSmode"
BELOW_NAMES = ("MC-EASTWEST-001", "MC-EASTWEST-002", "MC-EASTWEST-003")

eastwest = partial(check, requires=(Feature.MULTI_NETWORK,))

Calls = Sequence[NamedCall]
Gateways = Sequence[GatewayAddress]


@eastwest(
    "MC-EASTWEST-003",
    "The east-west gateway of every network is reachable from every other network.",
    spec_url=DOCS + "ops/diagnostic-tools/multicluster/",
    explained_by=("MC-EASTWEST-001", "MC-EASTWEST-002"),
    sees=(addresses, connections),
)
def reachable(here: Here, gateways: Gateways, tried: Sequence[Connection]) -> Verdict:
    """Clients of all other networks can connect to every address of every gateway."""
    spec = here.mesh.spec
    there = {gateway.network for gateway in gateways}
    traces = Traces(here.snapshot, past_sidecar=True)
    found: list[Found] = [
        _no_gateway(here, network) for network in spec.networks if network not in there
    ]
    for cluster in spec.data_planes:
        for gateway in gateways:
            if gateway.network != cluster.network:
                found += _connected(here, cluster.name, gateway, tried, traces)
    passed = f"{len(tried)} connections to {len(gateways)} gateway addresses"
    verdict = verdict_from(found, passed, pairs=_crossing_names(here.mesh))
    return verdict.with_evidence(*traces.evidence)


def _connected(
    here: Here, source: str, gateway: GatewayAddress, tried: Sequence[Connection], traces: Traces
) -> Iterator[Found]:
    address, port = gateway.address, gateway.port
    mine = [one for one in tried if (one.source, one.address, one.port) == (source, address, port)]
    if not mine:
        yield Gap(f"{source} to {address}:{port} was not tried")
    for connection in mine:
        if connection.ending is Ending.ANSWERED:
            continue
        trace = traces.trace(source, gateway.cluster)
        namespace = gateway.service.partition("/")[0]
        everywhere = () if namespace else ("--all-namespaces",)
        look = Commands(here.snapshot).kubectl(
            gateway.cluster,
            "get service,endpointslices,pods -o wide",
            *everywhere,
            namespace=namespace,
        )
        whose = f"{gateway.network}'s gateway {address}:{port}"
        yield Finding(
            f"{source} cannot connect to {whose}: {connection.ending.value}",
            clusters=(source, gateway.cluster),
            expected="a TCP connection",
            seen=f"{connection.error}; {trace.summary}",
            remedy=shell.with_note(look, f"firewalls from {source} to {address}:{port}"),
            fault="gateway-unreachable",
        )


def _no_gateway(here: Here, network: str) -> Finding:
    inside = (one.name for one in here.mesh.spec.data_planes if one.network == network)
    clusters = tuple(inside)
    labelled = f"{NETWORK_LABEL}={network}"
    return Finding(
        f"network {network} has no east-west gateway with an address",
        clusters=clusters,
        expected=f"a Service with label {NETWORK_LABEL} and an external address",
        seen="none",
        remedy=Commands(here.snapshot).kubectl(
            clusters[0], "get services --all-namespaces -o wide -l", labelled
        ),
        fault="gateway-address-missing",
    )


@eastwest(
    "MC-EASTWEST-004",
    "A gateway leads every server name (outbound_.<port>_.<subset>_.<host>) to exactly that "
    "service, port and subset.",
    spec_url=EXPOSE,
    explained_by=(*BELOW_NAMES, "MC-CONTROL-005", "MC-DISCOVERY-002", *BELOW_TRAFFIC),
    sees=(addresses, named_calls),
)
def names_lead_to_services(here: Here, gateways: Gateways, calls: Calls) -> Verdict:
    """Every name is answered by the service, port and subset that it says.

    Subsets without a pod behind the gateway must not be answered: it may not pass requests on to
    other networks.
    """
    found: list[Found] = list(_uncovered(here.mesh, gateways, calls))
    traces = Traces(here.snapshot, past_sidecar=True)
    together: dict[tuple[str, GatewayAddress], list[NamedCall]] = {}
    for call in calls:
        together.setdefault((call.handshake.source, call.gateway), []).append(call)
    for several in together.values():
        found += _at(here, several, traces)
    passed = f"{len(calls)} names at {len(gateways)} gateways led where they should"
    verdict = verdict_from(found, passed, pairs=_crossing_names(here.mesh))
    return verdict.with_evidence(*traces.evidence)


def _pods(mesh: Mesh, call: NamedCall) -> list[ProbePod]:
    """The pods behind the gateway to which the name of this call belongs."""
    network = call.gateway.network
    inside = {cluster.name for cluster in mesh.spec.data_planes if cluster.network == network}
    role = "client" if call.service == "client" else "server"
    return [
        pod
        for pod in mesh.require_probes().pods
        if pod.cluster in inside and pod.role == role and call.subset in ("", pod.version)
    ]


def _at(here: Here, calls: Calls, traces: Traces) -> Iterator[Found]:
    """What is wrong at one gateway, seen from one cluster.

    One finding where it answers no name at all.
    """
    known = [call for call in calls if _pods(here.mesh, call)]
    if known and not any(call.handshake.answer or call.handshake.completed for call in known):
        first = known[0]
        source, gateway = first.handshake.source, first.gateway
        trace = traces.trace(source, gateway.cluster, first.handshake)
        whose = f"the gateway of {gateway.network} at {gateway.address}:{gateway.port}"
        yield Finding(
            f"{source}: {whose} answers none of {len(known)} names",
            clusters=(source, gateway.cluster),
            expected="an answer by the service, port and subset that the name says",
            seen=f"{first.handshake}; {trace.summary}",
            remedy=trace.remedy or _listeners(here, gateway),
            fault="gateway-does-not-route",
        )
        return
    for call in calls:
        yield from _led(here, call, traces)


def _listeners(here: Here, gateway: GatewayAddress) -> Remedy:
    """The command that shows a gateway's listeners, or what the gateway is."""
    commands = Commands(here.snapshot)
    namespace, _, name = gateway.service.partition("/")
    if not name:
        services = commands.kubectl(gateway.cluster, "get services --all-namespaces -o wide")
        at = f"{gateway.address}:{gateway.port}"
        return shell.with_note(
            services, f"which of them is at {at}, by meshNetworks or a Gateway's address"
        )
    port = (f"--port={EAST_WEST_PORT}",) if gateway.port == EAST_WEST_PORT else ()
    pods = f"deployment/{name}.{namespace}"
    return commands.proxy_config(gateway.cluster, "listeners", pods, *port)


def _led(here: Here, call: NamedCall, traces: Traces) -> Iterator[Found]:
    """What is wrong with where one name leads."""
    handshake, gateway = call.handshake, call.gateway
    pods = sorted({pod.name for pod in _pods(here.mesh, call)})
    answer, wanted = handshake.answer, " or ".join(pods)
    scope = (handshake.source, gateway.cluster)
    name = f"{handshake.source}: SNI {handshake.sni} at {gateway.address}:{gateway.port}"

    def finding(summary: str, expected: str, fault: str) -> Finding:
        remedy = _listeners(here, gateway)
        return Finding(f"{name} {summary}", scope, expected, str(handshake), remedy, fault)

    if not pods:
        if answer is not None:
            yield finding(
                f"has no pod in {gateway.network}, yet {answer.pod} in {answer.cluster} answered",
                "no answer: the gateway serves its own network only",
                "gateway-forwards-to-other-networks",
            )
    elif answer is None and handshake.completed:
        # the gateway passes TLS on, so this was made with something behind it,
        # which may not want to answer
        trace = traces.trace(*scope, handshake)
        yield Gap(f"{name} leads somewhere that gives no answer ({handshake}; {trace.summary})")
    elif answer is None:
        yield finding("is not answered", f"an answer by {wanted}", "gateway-does-not-route")
    elif answer.pod not in pods or answer.port != call.port:
        yield finding(
            f"leads to {answer.pod} in {answer.cluster}, port {answer.port}",
            f"{wanted}, port {call.port}",
            "gateway-routes-wrongly",
        )


@eastwest(
    "MC-EASTWEST-005",
    "A gateway does not terminate TLS: the certificate that a client sees through it is the "
    "workload's.",
    spec_url=PASSTHROUGH,
    explained_by=(*BELOW_NAMES, "MC-EASTWEST-004"),
    sees=(addresses, named_calls),
)
def tls_passes_through(here: Here, gateways: Gateways, calls: Calls) -> Verdict:
    """The certificate names the workload's service account and leads to the mesh's root.

    For every call that has pods behind the gateway.
    """
    mesh = here.mesh
    found: list[Found] = list(_uncovered(mesh, gateways, calls))
    judged = 0
    for call in calls:
        accounts = {identity(mesh, pod.cluster, pod.service_account) for pod in _pods(mesh, call)}
        if accounts:
            judged += 1
            found += _shown(call, accounts)
    passed = f"{judged} certificates seen through {len(gateways)} gateways were the workloads'"
    return verdict_from(found, passed, pairs=_crossing_names(mesh))


def _shown(call: NamedCall, accounts: set[str]) -> Iterator[Found]:
    handshake, gateway = call.handshake, call.gateway
    if handshake.peer is None:
        yield Gap(f"{handshake} showed no certificate")
    elif not set(handshake.peer.uris) & accounts:
        shown = ", ".join(handshake.peer.uris or handshake.peer.names) or handshake.peer.subject
        behind = f"behind {gateway.address}:{gateway.port} the certificate is {shown}"
        yield Finding(
            f"{handshake.source}: {behind}, not the workload's",
            clusters=(handshake.source, gateway.cluster),
            expected=" or ".join(sorted(accounts)),
            seen=f"{shown}, issued by {handshake.peer.issuer}",
            remedy=shell.note(
                "make load balancers in front pass TCP through unchanged, on layer 4, and set "
                "tls.mode AUTO_PASSTHROUGH in the Gateway"
            ),
            fault="gateway-terminates-tls",
        )
    elif not handshake.verified:
        unknown = f"but from an unknown root ({handshake.verify_error})"
        yield Gap(f"{handshake.source}: a certificate of the right name, {unknown}")


@eastwest(
    "MC-EASTWEST-006",
    "A gateway refuses names that it does not know, connections without a name, and plaintext.",
    spec_url=EXPOSE,
    explained_by=(*BELOW_NAMES, "MC-EASTWEST-004"),
    sees=unknown_names,
)
def unknown_names_refused(here: Here, trials: Sequence[Trial]) -> Verdict:
    """Not even a handshake may complete; the twin is a known name over the same path."""

    def got_through(attempt: TlsHandshake | Plaintext) -> bool:
        return answered(attempt) or (isinstance(attempt, TlsHandshake) and attempt.completed)

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        gateway = trial.path.gateway if trial.path else None
        name = f"the gateway of {gateway.network}" if gateway else "the gateway"
        let = f"let something through from {trial.source} that it must refuse"
        return Finding(
            f"{name} at {attempt.address}:{attempt.port} {let}",
            clusters=(trial.source, trial.target),
            expected="the connection is closed before any handshake",
            seen=str(attempt),
            remedy=Commands(here.snapshot).kubectl(
                trial.target,
                "get gateways.networking.istio.io,virtualservices --all-namespaces -o yaml",
            ),
            fault="gateway-too-open",
        )

    refused = f"{sum(len(trial.forbidden) for trial in trials)} unknown names, missing names and"
    passed = f"{refused} plaintexts refused, {len(trials)} twins answered"
    found: Iterable[Found] = refusals(trials, got_through, finding)
    if not trials:
        found = [Gap("no gateway address is known")]
    return verdict_from(found, passed, pairs=[trial.pair for trial in trials])


@check(
    "MC-EASTWEST-007",
    "Clusters on one network reach each other's pods directly; between networks there is no way "
    "but the gateway.",
    requires=(Feature.CROSS_CLUSTER,),
    spec_url=DOCS + "ops/deployment/deployment-models/#network-models",
    explained_by=("MC-CONTROL-003",),
    sees=past_the_gateway,
)
def only_way(here: Here, trials: Sequence[Trial]) -> Verdict:
    """Plaintext straight to a pod: refused between networks, answered within one."""
    spec = here.mesh.spec

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        return Finding(
            f"{trial.pair}: pods are reached directly, although the two are on different networks",
            clusters=(trial.source, trial.target),
            expected="no connection but through the east-west gateway",
            seen=str(attempt),
            remedy=shell.note(
                f"put both clusters on one network by the label {NETWORK_LABEL} and "
                "values.global.network, or separate the networks"
            ),
            fault="networks-not-separate",
        )

    def straight(attempt: TlsHandshake | Plaintext) -> bool:
        # pod addresses of separate networks may overlap: only an answer from the other cluster
        # is a way there
        return attempt.answer is not None and attempt.answer.cluster != attempt.source

    found: list[Found] = []
    for trial in trials:
        same = spec.cluster(trial.source).network == spec.cluster(trial.target).network
        if same and trial.path is not None and trial.twin is None:
            address = f"{trial.path.address}:{trial.path.port}"
            found.append(
                Finding(
                    f"{trial.pair}: pods are not reached directly, "
                    "although the two are on one network",
                    clusters=(trial.source, trial.target),
                    expected=f"an answer from {address}",
                    seen="; ".join(map(str, trial.twins)),
                    remedy=_pod_routes(here, trial),
                    fault="network-not-flat",
                )
            )
        else:
            found += refusals([trial], straight, finding)
    separate = sum(bool(trial.forbidden) for trial in trials)
    passed = f"{separate} pairs have no direct way, {len(trials) - separate} have one"
    return verdict_from(found, passed, pairs=[trial.pair for trial in trials])


def _pod_routes(here: Here, trial: Trial) -> Remedy:
    """The commands that show which pods are behind which node, and what keeps others from them."""
    commands = Commands(here.snapshot)
    columns = "NODE:.metadata.name,ADDRESS:.status.addresses[0].address,PODS:.spec.podCIDR"
    shown = shell.then(
        commands.kubectl(trial.target, "get nodes -o", f"custom-columns={columns}"),
        commands.kubectl(trial.target, "get networkpolicies --all-namespaces"),
    )
    return shell.with_note(
        shown,
        f"route these pods to their nodes from those of {trial.source}, and back, with their own "
        "addresses; let them in by NetworkPolicies and security groups; or make the two different "
        "networks",
    )


def _uncovered(mesh: Mesh, gateways: Gateways, calls: Calls) -> Iterator[Gap]:
    """Networks of which the calls say nothing: no gateway address, or no call."""
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
