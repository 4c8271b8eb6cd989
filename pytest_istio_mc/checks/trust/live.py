"""Judges of mutual TLS between clusters, and of what must be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ... import shell
from ...observations import Ending, Plaintext, Request, TlsHandshake, Trial
from ...spec import Feature
from ...verdicts import Finding, Reach, Verdict
from ..catalogue import BELOW_TRAFFIC, check
from ..judging import Found, Gap, pair_names, verdict_from
from ..observe import handshakes, reach
from ..reaching import reach_of_pair
from ..remedies import Commands
from ..replies import answered, failures, identity, refusals
from ..site import Here
from ..tracing.traces import Traces
from .cacerts import PLUG_IN_CA
from .observe import foreign_certificate, plaintext

BELOW_HANDSHAKES = (
    *BELOW_TRAFFIC,
    *(f"MC-EASTWEST-{number:03}" for number in (1, 2, 3, 4, 7)),
)
"""Explain why connections do not get there at all, so that nothing can be said about trust."""

_TLS_SIGNS = (
    "TLS_error",
    "CERTIFICATE_VERIFY_FAILED",
    "UNKNOWN_CA",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
)
"""How Envoy says that a handshake failed over a certificate."""

refusing = partial(
    check,
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-TRUST-008", *BELOW_HANDSHAKES),
)


@check(
    "MC-TRUST-008",
    "Every ordered pair of clusters completes mutual TLS, and each side sees the identity that it "
    "should.",
    spec_url="https://istio.io/latest/docs/concepts/security/#mutual-tls-authentication",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=BELOW_HANDSHAKES,
    sees=(reach, handshakes),
)
def mutual_tls(here: Here, requests: Sequence[Request], trials: Sequence[Trial]) -> Verdict:
    """Only a refused certificate or a wrong identity is a finding.

    - ``requests`` went through the sidecars.
    - ``trials`` are raw handshakes, which say why where no request arrived.
    - A cluster that nobody reached is a gap: other checks say why, and trust may be in order.
    """
    found: list[Found] = []
    cells: list[Reach] = []
    ways = Traces(here.snapshot, requests, trials)
    by_pair = {(trial.source, trial.target): trial for trial in reversed(trials)}
    for source, target in here.mesh.spec.pairs:
        sent = [request for request in requests if request.source == source.name]
        trial = by_pair.get((source.name, target.name))
        seen = list(_pair(here, source.name, target.name, sent, trial, ways))
        found += seen
        cells.append(reach_of_pair("mutual TLS", source.name, target.name, seen))
    pairs = pair_names(here.mesh)
    count = sum(request.succeeded for request in requests)
    passed = f"{count} requests between {len(pairs)} pairs, identities right on both sides"
    verdict = verdict_from(found, passed, pairs=pairs).with_reach(cells)
    return verdict.with_evidence(*ways.evidence)


def _pair(
    here: Here,
    source: str,
    target: str,
    requests: Sequence[Request],
    trial: Trial | None,
    ways: Traces,
) -> Iterator[Found]:
    mesh, commands = here.mesh, Commands(here.snapshot)
    probes = mesh.require_probes()
    answers = [one.answer for one in requests if one.answer and one.answer.cluster == target]
    if not answers and trial and trial.twin and trial.twin.answer:
        answers = [trial.twin.answer]
    servers = probes.servers(target)
    caller = identity(mesh, source, probes.client(source).service_account)
    server = identity(mesh, target, servers[0].service_account) if servers else ""
    sides = (
        ("caller", caller, {answer.caller for answer in answers}),
        ("server", server, {answer.server for answer in answers}),
    )
    for side, expected, identities in sides:
        for wrong in sorted(identities - {expected}):
            yield Finding(
                f"{source} to {target}: the {side} is seen as {wrong or 'nobody'}, "
                f"not as {expected}",
                clusters=(source, target),
                expected=expected,
                seen=wrong or "no identity: the connection was not mutual TLS",
                remedy=commands.kubectl(
                    target, "get peerauthentication,destinationrule --all-namespaces"
                ),
                fault="identity-wrong" if wrong else "mutual-tls-missing",
            )
    refused = _refusal(source, target, requests, trial)
    if refused:
        yield Finding(
            f"{source} to {target}: mutual TLS fails: {refused}",
            clusters=(source, target),
            expected="a completed handshake, each side accepting the other's certificate",
            seen=f"{refused}; {ways.trace(source, target).summary}",
            remedy=shell.then(
                *(
                    commands.kubectl(
                        cluster,
                        "get configmap istio-ca-root-cert -o yaml",
                        namespace=probes.namespace,
                    )
                    for cluster in (source, target)
                )
            ),
            fault="certificate-refused",
        )
    elif not answers:
        handshaken = "; ".join(map(str, trial.twins)) if trial else ""
        seen = failures(requests) or handshaken or "no failures, and no answers"
        yield Gap(
            f"{source} to {target}: no connection was made, so that nothing is known of its mutual "
            f"TLS ({seen}; {ways.trace(source, target).summary})"
        )


def _refusal(source: str, target: str, requests: Sequence[Request], trial: Trial | None) -> str:
    """Which side refused whose certificate; empty where none did.

    The raw handshake is about this pair, so it is asked first.
    """
    for twin in trial.twins if trial else ():
        if isinstance(twin, TlsHandshake) and twin.verify_error:
            return f"{source} does not accept the certificate of {target} ({twin.verify_error})"
        if twin.ending is Ending.ALERT:
            return f"{target} does not accept the certificate of {source} ({twin.error})"
    if trial is not None and trial.twin is not None:
        return ""
    signs = (one.failure for one in requests if any(sign in one.error for sign in _TLS_SIGNS))
    return next((f"sidecars say {failure}" for failure in signs), "")


@refusing(
    "MC-TRUST-009",
    "Plaintext to a workload that demands mutual TLS is refused, also when it comes from another "
    "cluster.",
    spec_url="https://istio.io/latest/docs/reference/config/security/peer_authentication/",
    sees=plaintext,
)
def plaintext_refused(here: Here, trials: Sequence[Trial]) -> Verdict:
    """Nobody answers without a client certificate.

    The twin shows that the way is open.
    """

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        return Finding(
            f"{trial.pair}: a STRICT workload answered without a client certificate",
            clusters=(trial.source, trial.target),
            expected="refused: the port's PeerAuthentication says STRICT",
            seen=str(attempt),
            remedy=Commands(here.snapshot).kubectl(
                trial.target, "get peerauthentication --all-namespaces -o yaml"
            ),
            fault="strict-not-enforced",
        )

    return _all_refused(trials, finding, "attempts without a certificate")


@refusing(
    "MC-TRUST-010",
    "A client certificate from a foreign root is refused by the remote workload and does not get "
    "through the gateway.",
    spec_url=PLUG_IN_CA,
    sees=foreign_certificate,
)
def foreign_certificate_refused(here: Here, trials: Sequence[Trial]) -> Verdict:
    """A foreign certificate with the client's own name gets no answer.

    The twin is the client's real certificate, on the same way.
    """

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        settings = Commands(here.snapshot).istio(trial.target, "get configmap istio -o yaml")
        return Finding(
            f"{trial.pair}: a client with a certificate from a foreign root was answered",
            clusters=(trial.source, trial.target),
            expected="a TLS alert: the certificate's issuer is unknown",
            seen=str(attempt),
            remedy=shell.with_note(settings, "caCertificates, trust anchors"),
            fault="foreign-root-accepted",
        )

    return _all_refused(trials, finding, "foreign certificates")


def _all_refused(
    trials: Sequence[Trial],
    finding: Callable[[Trial, TlsHandshake | Plaintext], Finding],
    attempts: str,
) -> Verdict:
    count = sum(len(trial.forbidden) for trial in trials)
    passed = f"{count} {attempts} refused, {len(trials)} twins answered"
    pairs = [trial.pair for trial in trials]
    return verdict_from(refusals(trials, answered, finding), passed, pairs=pairs)
