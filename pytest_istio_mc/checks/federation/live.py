"""Federation, live: a service of another mesh answers under the name that it was imported by, and no other service does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...mesh import Mesh
from ...observations import Plaintext, TlsHandshake, Trial
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_TRAFFIC, Kind, check
from ..judging import Found, Gap, verdict_from
from ..remedies import Commands, istioctl, kubectl
from ..replies import answered, identity, pair_names, probes_of, refusals
from .facts import Imported

SERVICE_ENTRY = "https://istio.io/latest/docs/reference/config/networking/service-entry/"
DNS_PROXY = "https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/"
_GATEWAYS = ("MC-EASTWEST-001", "MC-EASTWEST-002", "MC-EASTWEST-003", "MC-EASTWEST-004")


@check(
    "MC-FEDERATION-001",
    "A service of another mesh answers under its ServiceEntry's name, with mutual TLS from workload to workload.",
    kind=Kind.LIVE,
    requires=(Feature.FEDERATED,),
    spec_url=SERVICE_ENTRY,
    explained_by=(*BELOW_TRAFFIC, "MC-TRUST-008", *_GATEWAYS, "MC-CONTROL-005"),
)
def imported_services_answer(mesh: Mesh, snapshot: Snapshot, calls: Sequence[Imported]) -> Verdict:
    """The name resolves in the sidecar, the request is answered in the other mesh, and both sides see the other's identity."""
    found: list[Found] = []
    for source, target in mesh.spec.pairs:
        call = next(
            (call for call in calls if (call.source, call.target) == (source.name, target.name)),
            None,
        )
        if call is None:
            found.append(
                Gap(
                    f"{source.name} to {target.name}: the mesh of {target.name} has no gateway address to import from"
                )
            )
        else:
            found += _imported(mesh, snapshot, call)
    return verdict_from(
        found,
        f"{len(calls)} imported services answered under their own names, with mutual TLS",
        pairs=pair_names(mesh),
    )


def _imported(mesh: Mesh, snapshot: Snapshot, call: Imported) -> Iterator[Found]:
    request = call.request
    scope = (call.source, call.target)
    client = probes_of(mesh).client(call.source)
    proxy = f"{client.name}.{probes_of(mesh).namespace}"
    if not call.addresses:
        yield Finding(
            f"{call.source}: {call.host} has no address, although a ServiceEntry declares it",
            (call.source,),
            expected="an address from the DNS proxy of the sidecar",
            seen=request.failure or "no address",
            remedy=Commands(snapshot).set_mesh_config(call.source, _capture_dns)
            + f" && {Commands(snapshot).restart_workloads(call.source)}"
            + f"  # sidecars resolve names where ISTIO_META_DNS_CAPTURE is true: {DNS_PROXY}",
            fault="fed-dns-capture-off",
        )
        return
    answer = request.answer
    if answer is None or not request.succeeded:
        domains = {name: mesh.spec.trust_domain_of(mesh.spec.cluster(name)) for name in scope}
        hint = (
            f"  # trustDomainAliases of {call.target} must name {domains[call.source]}"
            if len(set(domains.values())) > 1
            else ""
        )
        yield Finding(
            f"{call.source}: {call.host} of {call.target} does not answer",
            scope,
            expected=f"an answer from {call.target} through its gateway",
            seen=request.failure,
            remedy=istioctl(
                mesh, call.source, f'proxy-config endpoints {proxy} | grep "{call.host}"'
            )
            + hint,
            fault="fed-not-reached",
        )
    elif answer.cluster != call.target:
        yield Finding(
            f"{call.source}: {call.host} is answered by {answer.cluster}, not by {call.target}",
            scope,
            expected=call.target,
            seen=f"{answer.pod} in {answer.cluster}",
            remedy=istioctl(
                mesh, call.source, f'proxy-config endpoints {proxy} | grep "{call.host}"'
            ),
            fault="fed-answered-elsewhere",
        )
    else:
        expected = (identity(mesh, call.source, client.service_account), _server(mesh, call.target))
        seen = (answer.caller, answer.server)
        if seen != expected:
            yield Finding(
                f"{call.source} to {call.target}: {call.host} answers, but not with the identities of the two workloads",
                scope,
                expected=f"caller {expected[0]}, server {expected[1]}",
                seen=f"caller {seen[0] or 'nobody'}, server {seen[1] or 'nobody'}",
                remedy=kubectl(
                    mesh, call.target, "get peerauthentications,destinationrules --all-namespaces"
                ),
                fault="fed-identity-wrong",
            )


def _capture_dns(mesh_config: dict[str, Any]) -> None:
    """Let sidecars resolve names."""
    mesh_config.setdefault("defaultConfig", {}).setdefault("proxyMetadata", {})[
        "ISTIO_META_DNS_CAPTURE"
    ] = "true"


def _server(mesh: Mesh, cluster: str) -> str:
    servers = probes_of(mesh).servers(cluster)
    return identity(mesh, cluster, servers[0].service_account) if servers else ""


@check(
    "MC-FEDERATION-003",
    "A mesh's gateway lets the other meshes reach the services that are exported to it, and no service that is kept to its namespace.",
    kind=Kind.LIVE,
    requires=(Feature.FEDERATED,),
    spec_url="https://istio.io/latest/docs/reference/config/annotations/#NetworkingExportTo",
    explained_by=(*BELOW_TRAFFIC, *_GATEWAYS),
)
def only_exported_services(mesh: Mesh, trials: Sequence[Trial]) -> Verdict:
    """The two services lead to the same pods and differ in ``networking.istio.io/exportTo`` alone; the exported one is the twin."""

    def got_through(attempt: TlsHandshake | Plaintext) -> bool:
        return answered(attempt) or (isinstance(attempt, TlsHandshake) and attempt.completed)

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        return Finding(
            f"{trial.pair}: a service that {trial.target} keeps to its namespace is reached through its gateway",
            (trial.source, trial.target),
            expected="the connection is closed before any handshake",
            seen=str(attempt),
            remedy=kubectl(
                mesh,
                trial.target,
                "get gateways.networking.istio.io,virtualservices --all-namespaces -o yaml",
            ),
            fault="fed-not-exported-reached",
        )

    found = (
        list(refusals(trials, got_through, finding))
        if trials
        else [Gap("no gateway address is known")]
    )
    count = sum(len(trial.forbidden) for trial in trials)
    return verdict_from(
        found,
        f"{count} calls for a service that is not exported were refused, {len(trials)} twins answered",
        pairs=[trial.pair for trial in trials],
    )
