"""Trust, live: mutual TLS between every pair of clusters, and what must be refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...mesh import Mesh
from ...observations import Ending, Plaintext, Request, TlsHandshake, Trial
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_TRAFFIC, Kind, check
from ..judging import Found, Gap, verdict_from
from ..remedies import kubectl
from ..replies import answered, failures, identity, pair_names, probes_of, refusals
from ..tracing.traces import Traces

_WAY_BELOW = (
    "MC-EASTWEST-001",
    "MC-EASTWEST-002",
    "MC-EASTWEST-003",
    "MC-EASTWEST-004",
    "MC-EASTWEST-007",
)
"""What keeps connections from getting there at all, so that nothing can be said about trust."""


_TLS_SIGNS = (
    "TLS_error",
    "CERTIFICATE_VERIFY_FAILED",
    "UNKNOWN_CA",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
)
"""How Envoy says that a handshake failed over a certificate (fault catalogue: error string to family)."""


@check(
    "MC-TRUST-008",
    "Every ordered pair of clusters completes mutual TLS, and each side sees the identity that it should.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER,),
    spec_url="https://istio.io/latest/docs/concepts/security/#mutual-tls-authentication",
    explained_by=(*BELOW_TRAFFIC, *_WAY_BELOW),
)
def mutual_tls(
    mesh: Mesh, snapshot: Snapshot, requests: Sequence[Request], trials: Sequence[Trial]
) -> Verdict:
    """``requests`` went through the sidecars; ``trials`` are raw handshakes, which say why where no request arrived.

    Only a certificate that was refused, or a wrong identity, is a finding here. A cluster that was not reached at all is a gap:
    other checks say why, and trust may be in order.
    """
    found: list[Found] = []
    ways = Traces(snapshot, requests, trials)
    for source, target in mesh.spec.pairs:
        here = [request for request in requests if request.source == source.name]
        trial = next(
            (
                trial
                for trial in trials
                if (trial.source, trial.target) == (source.name, target.name)
            ),
            None,
        )
        found += _pair(mesh, source.name, target.name, here, trial, ways)
    count = sum(request.succeeded for request in requests)
    return verdict_from(
        found,
        f"{count} requests between {len(pair_names(mesh))} pairs, identities right on both sides",
        pairs=pair_names(mesh),
    ).with_evidence(*ways.evidence)


def _pair(
    mesh: Mesh,
    source: str,
    target: str,
    requests: Sequence[Request],
    trial: Trial | None,
    ways: Traces,
) -> Iterator[Found]:
    probes = probes_of(mesh)
    answers = [
        request.answer
        for request in requests
        if request.answer is not None and request.answer.cluster == target
    ]
    if (
        not answers
        and trial is not None
        and trial.twin is not None
        and trial.twin.answer is not None
    ):
        answers = [trial.twin.answer]
    caller = identity(mesh, source, probes.client(source).service_account)
    server = (
        identity(mesh, target, probes.servers(target)[0].service_account)
        if probes.servers(target)
        else ""
    )
    sides = (
        ("caller", caller, {answer.caller for answer in answers}),
        ("server", server, {answer.server for answer in answers}),
    )
    for side, expected, identities in sides:
        for wrong in sorted(identities - {expected}):
            yield Finding(
                f"{source} to {target}: the {side} is seen as {wrong or 'nobody'}, not as {expected}",
                clusters=(source, target),
                expected=expected,
                seen=wrong or "no identity: the connection was not mutual TLS",
                remedy=kubectl(
                    mesh, target, "get peerauthentication,destinationrule --all-namespaces"
                ),
                fault="identity-wrong" if wrong else "mutual-tls-missing",
            )
    refused = _refusal(source, target, requests, trial)
    if refused:
        way = ways.trace(source, target)
        yield Finding(
            f"{source} to {target}: mutual TLS fails: {refused}",
            clusters=(source, target),
            expected="a completed handshake, each side accepting the other's certificate",
            seen=f"{refused}; {way.summary}",
            remedy=" && ".join(
                kubectl(
                    mesh, cluster, f"-n {probes.namespace} get configmap istio-ca-root-cert -o yaml"
                )
                for cluster in (source, target)
            ),
            fault="certificate-refused",
        )
    elif not answers:
        seen = (
            failures(requests)
            or ("; ".join(map(str, trial.twins)) if trial else "")
            or "no failures, and no answers"
        )
        first = ways.trace(source, target).summary
        yield Gap(
            f"{source} to {target}: no connection was made, so that nothing is known of its mutual TLS ({seen}; {first})"
        )


def _refusal(source: str, target: str, requests: Sequence[Request], trial: Trial | None) -> str:
    """Which side refused whose certificate; empty where none did. The raw handshake is about this pair, so it is asked first."""
    for twin in trial.twins if trial else ():
        if isinstance(twin, TlsHandshake) and twin.verify_error:
            return f"{source} does not accept the certificate of {target} ({twin.verify_error})"
        if twin.ending is Ending.ALERT:
            return f"{target} does not accept the certificate of {source} ({twin.error})"
    if trial is not None and trial.twin is not None:
        return ""
    return next(
        (
            f"sidecars say {r.failure}"
            for r in requests
            if any(sign in r.error for sign in _TLS_SIGNS)
        ),
        "",
    )


@check(
    "MC-TRUST-009",
    "Plaintext to a workload that demands mutual TLS is refused, also when it comes from another cluster.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER,),
    spec_url="https://istio.io/latest/docs/reference/config/security/peer_authentication/",
    explained_by=("MC-TRUST-008", *BELOW_TRAFFIC, *_WAY_BELOW),
)
def plaintext_refused(mesh: Mesh, trials: Sequence[Trial]) -> Verdict:
    """Plaintext, and TLS without a certificate, to the STRICT port; the twin shows that the way is open."""

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        return Finding(
            f"{trial.pair}: a STRICT workload answered without a client certificate",
            clusters=(trial.source, trial.target),
            expected="refused: the port's PeerAuthentication says STRICT",
            seen=str(attempt),
            remedy=kubectl(mesh, trial.target, "get peerauthentication --all-namespaces -o yaml"),
            fault="strict-not-enforced",
        )

    count = sum(len(trial.forbidden) for trial in trials)
    otherwise = f"{count} attempts without a certificate refused, {len(trials)} twins answered"
    return verdict_from(
        refusals(trials, answered, finding), otherwise, pairs=[trial.pair for trial in trials]
    )


@check(
    "MC-TRUST-010",
    "A client certificate from a foreign root is refused by the remote workload and does not get through the gateway.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER,),
    spec_url="https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/",
    explained_by=("MC-TRUST-008", *BELOW_TRAFFIC, *_WAY_BELOW),
)
def foreign_certificate_refused(mesh: Mesh, trials: Sequence[Trial]) -> Verdict:
    """A certificate with the client's own name from a root that nobody knows; the twin is the real one over the same way."""

    def finding(trial: Trial, attempt: TlsHandshake | Plaintext) -> Finding:
        return Finding(
            f"{trial.pair}: a client with a certificate from a foreign root was answered",
            clusters=(trial.source, trial.target),
            expected="a TLS alert: the certificate's issuer is unknown",
            seen=str(attempt),
            remedy=kubectl(
                mesh, trial.target, f"-n {mesh.spec.istio_namespace} get configmap istio -o yaml"
            )
            + "  # caCertificates, trust anchors",
            fault="foreign-root-accepted",
        )

    count = sum(len(trial.forbidden) for trial in trials)
    otherwise = f"{count} foreign certificates refused, {len(trials)} twins answered"
    return verdict_from(
        refusals(trials, answered, finding), otherwise, pairs=[trial.pair for trial in trials]
    )
