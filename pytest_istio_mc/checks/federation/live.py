"""Judges of federation: imported services answer, and services that are not exported do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ... import shell
from ...observations import Plaintext, TlsHandshake, Trial
from ...spec import Feature
from ...verdicts import Finding, Reach, Verdict
from ..catalogue import BELOW_TRAFFIC, check
from ..judging import Found, Gap, pair_names, verdict_from
from ..reaching import reach_of_pair
from ..remedies import Commands
from ..replies import answered, identity, refusals
from ..site import Here
from .facts import Imported
from .observe import imported_calls, not_exported

DNS_CAPTURE = "https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/"
_GATEWAYS = tuple(f"MC-EASTWEST-{number:03}" for number in range(1, 5))

_CAPTURE_DNS = {"defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}}
"""Of mesh configuration: lets sidecars resolve names."""

federation = partial(check, requires=(Feature.FEDERATED,))


@federation(
    "MC-FEDERATION-001",
    "A service of another mesh answers under its ServiceEntry's name, with mutual TLS from "
    "workload to workload.",
    spec_url="https://istio.io/latest/docs/reference/config/networking/service-entry/",
    explained_by=(*BELOW_TRAFFIC, "MC-TRUST-008", *_GATEWAYS, "MC-CONTROL-005"),
    sees=imported_calls,
)
def imported_services_answer(
    here: Here, observed: tuple[Sequence[Imported], float | None]
) -> Verdict:
    """The name resolves, the other mesh answers, and both sides see the other's identity.

    ``observed``: the calls, and the seconds until all were answered; None where some never were.
    """
    calls, seconds = observed
    found: list[Found] = []
    reach: list[Reach] = []
    by_pair = {(call.source, call.target): call for call in reversed(calls)}
    for source, target in here.mesh.spec.pairs:
        call = by_pair.get((source.name, target.name))
        if call is None:
            nowhere = f"the mesh of {target.name} has no gateway address to import from"
            seen: list[Found] = [Gap(f"{source.name} to {target.name}: {nowhere}")]
        else:
            seen = list(_imported(here, call))
        found += seen
        reach.append(reach_of_pair("imported service", source.name, target.name, seen))
    passed = f"{len(calls)} imported services answered under their own names, with mutual TLS"
    verdict = verdict_from(found, passed, pairs=pair_names(here.mesh)).with_reach(reach)
    return verdict.with_convergence("imported services answer", seconds)


def _imported(here: Here, call: Imported) -> Iterator[Found]:
    mesh, commands = here.mesh, Commands(here.snapshot)
    probes, request, scope = mesh.require_probes(), call.request, (call.source, call.target)
    if not call.addresses:
        capture = commands.set_mesh_config(
            call.source, '--set=defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE="true"'
        )
        yield Finding(
            f"{call.source}: {call.host} has no address, although a ServiceEntry declares it",
            (call.source,),
            expected="an address from the DNS proxy of the sidecar",
            seen=request.failure or "no address",
            remedy=shell.with_note(
                shell.then(capture, commands.restart_workloads(call.source)),
                f"sidecars resolve names where ISTIO_META_DNS_CAPTURE is true: {DNS_CAPTURE}",
            ),
            fault="fed-dns-capture-off",
        )
        return
    answer = request.answer
    held = commands.proxy_config(call.source, "endpoints", probes.client_pod(call.source))
    look = shell.matching(call.host, held)
    if answer is None or not request.succeeded:
        domains = {name: mesh.spec.trust_domain_of(mesh.spec.cluster(name)) for name in scope}
        differ = len(set(domains.values())) > 1
        alias = f"trustDomainAliases of {call.target} must name {domains[call.source]}"
        yield Finding(
            f"{call.source}: {call.host} of {call.target} does not answer",
            scope,
            expected=f"an answer from {call.target} through its gateway",
            seen=request.failure,
            remedy=shell.with_note(look, alias) if differ else look,
            fault="fed-not-reached",
        )
    elif answer.cluster != call.target:
        yield Finding(
            f"{call.source}: {call.host} is answered by {answer.cluster}, not by {call.target}",
            scope,
            expected=call.target,
            seen=f"{answer.pod} in {answer.cluster}",
            remedy=look,
            fault="fed-answered-elsewhere",
        )
    else:
        servers = probes.servers(call.target)
        caller = identity(mesh, call.source, probes.client(call.source).service_account)
        server = identity(mesh, call.target, servers[0].service_account) if servers else ""
        if (answer.caller, answer.server) != (caller, server):
            yield Finding(
                f"{call.source} to {call.target}: {call.host} answers, but not with the identities "
                "of the two workloads",
                scope,
                expected=f"caller {caller}, server {server}",
                seen=f"caller {answer.caller or 'nobody'}, server {answer.server or 'nobody'}",
                remedy=commands.kubectl(
                    call.target, "get peerauthentications,destinationrules --all-namespaces"
                ),
                fault="fed-identity-wrong",
            )


@federation(
    "MC-FEDERATION-003",
    "A mesh's gateway lets the other meshes reach the services that are exported to it, and no "
    "service that is kept to its namespace.",
    spec_url="https://istio.io/latest/docs/reference/config/annotations/#NetworkingExportTo",
    explained_by=(*BELOW_TRAFFIC, *_GATEWAYS),
    sees=not_exported,
)
def only_exported_services(here: Here, trials: Sequence[Trial]) -> Verdict:
    """The kept service is refused, and the exported one, its twin, answers.

    Both lead to the same pods; they differ in ``networking.istio.io/exportTo`` alone.
    """

    def got_through(attempt: TlsHandshake | Plaintext) -> bool:
        return answered(attempt) or (isinstance(attempt, TlsHandshake) and attempt.completed)

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        return Finding(
            f"{trial.pair}: a service that {trial.target} keeps to its namespace is reached "
            "through its gateway",
            (trial.source, trial.target),
            expected="the connection is closed before any handshake",
            seen=str(attempt),
            remedy=Commands(here.snapshot).kubectl(
                trial.target,
                "get gateways.networking.istio.io,virtualservices --all-namespaces -o yaml",
            ),
            fault="fed-not-exported-reached",
        )

    found: list[Found] = list(refusals(trials, got_through, finding))
    if not trials:
        found.append(Gap("no gateway address is known"))
    count = sum(len(trial.forbidden) for trial in trials)
    passed = (
        f"{count} calls for a service that is not exported were refused, "
        f"{len(trials)} twins answered"
    )
    return verdict_from(found, passed, pairs=[trial.pair for trial in trials])
