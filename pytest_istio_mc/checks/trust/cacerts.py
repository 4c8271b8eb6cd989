"""The secret ``cacerts``: MC-TRUST-003, whether istiod can start with it and peers can follow the chain that it hands out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

from ...snapshot import SecretFacts, Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, each, names, verdict_from
from ..remedies import Commands
from .authority import Authority, authorities, keys_of
from .chains import describe, parse, signed_by

PLUG_IN_CA = "https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/"

FILES = "--from-file=ca-cert.pem --from-file=ca-key.pem --from-file=root-cert.pem --from-file=cert-chain.pem"
"""How kubectl is told of the files of which ``cacerts`` is made."""


@check(
    "MC-TRUST-003",
    "The secret cacerts is well-formed: all files, key matches certificate, chain complete and in order, certificates allowed to sign.",
    spec_url=PLUG_IN_CA,
    requires=(Feature.CROSS_CLUSTER,),
)
def well_formed_cacerts(snapshot: Snapshot) -> Verdict:
    """What istiod demands of ``cacerts`` at its start (``keycertbundle.go``), and what peers demand of the chain it hands out."""
    found = [authority for authority in authorities(snapshot) if authority.plugged_in]
    if not found:
        return not_applicable(
            "no control plane has a cacerts secret; create one to have it checked"
        )
    return verdict_from(
        each(found, lambda one: _malformed(snapshot, one)),
        f"cacerts of {names(one.cluster for one in found)} is sound",
    )


def _malformed(snapshot: Snapshot, authority: Authority) -> Iterator[Found]:
    secret = authority.secret
    assert secret is not None
    keys = keys_of(secret)
    commands = Commands(snapshot)
    command = commands.istio(
        authority.cluster, f"create secret generic cacerts {FILES} --dry-run=client -o yaml"
    )
    apply = f"{command} | {commands.kubectl(authority.cluster, 'apply -f -')} && {commands.restart_istiod(authority.cluster)}"

    def finding(summary: str, expected: str, seen: str, first: str, fault: str) -> Finding:
        return Finding(
            f"cacerts of {authority.cluster} {summary}",
            (authority.cluster,),
            expected,
            seen,
            f"{apply}  # first: {first}",
            fault,
        )

    files = (keys.certificate, keys.private_key, keys.chain, keys.root)
    absent = [key for key in dict.fromkeys(files) if key not in secret.keys]
    if absent:
        yield finding(
            f"lacks {names(absent)}",
            ", ".join(dict.fromkeys(files)),
            ", ".join(secret.keys),
            "add the missing file",
            "trust-cacerts-incomplete",
        )
        return
    yield from _unreadable(secret, authority, finding)
    signing, path = authority.signing, authority.path
    if signing is None or path is None:
        return
    if secret.public_keys.get(keys.private_key) not in (None, signing.facts.public_key_sha256):
        yield finding(
            f"holds a {keys.private_key} that is not the key of {keys.certificate}",
            f"the key of public key {signing.facts.public_key_sha256[:12]}…",
            f"public key {secret.public_keys[keys.private_key][:12]}…",
            "export certificate and key as a pair again",
            "trust-key-mismatch",
        )
    for one in dict.fromkeys((signing, *path.links)):
        if not one.signs:
            yield finding(
                f"holds a certificate that may not sign others: {one.subject or one.short}",
                "CA:TRUE, and keyCertSign where there is a key usage",
                f"CA:{str(one.facts.is_ca).upper()}, may sign certificates: {one.signs}",
                "issue it as an intermediate CA",
                "trust-ca-is-leaf",
            )
    if path.root is None:
        yield finding(
            f"holds a chain that stops at {path.last.subject}: its issuer {path.last.issuer} is in neither {keys.chain} nor {keys.root}",
            f"a chain from {signing.subject} to {describe(authority.roots)}",
            " <- ".join(one.subject for one in path.links),
            f"append {path.last.issuer} to {keys.chain}",
            "trust-chain-broken",
        )
        return
    yield from _badly_ordered(authority, keys.chain, finding)
    for root in authority.roots:
        if not root.self_signed:
            yield finding(
                f"has an intermediate in {keys.root}: {root.subject} is not self-signed",
                "self-signed root certificates only",
                f"issued by {root.issuer}",
                f"put the root itself into {keys.root}",
                "trust-root-is-intermediate",
            )


def _unreadable(secret: SecretFacts, authority: Authority, finding: _Make) -> Iterator[Found]:
    keys = keys_of(secret)
    for key, problem in secret.problems.items():
        yield finding(
            f"has a {key} that {problem}",
            "an unencrypted PEM private key",
            problem,
            f"write {key} anew",
            "trust-cacerts-malformed",
        )
    for key in dict.fromkeys((keys.certificate, keys.chain, keys.root)):
        if not parse(secret.certificates.get(key, "")):
            yield finding(
                f"has no certificate in {key}",
                "PEM certificates",
                "none",
                f"write {key} anew",
                "trust-cacerts-malformed",
            )


def _badly_ordered(authority: Authority, chain_key: str, finding: _Make) -> Iterator[Found]:
    chain, signing = authority.chain, authority.signing
    # a root that signs itself needs no chain above it
    if signing is None or signing in authority.roots:
        return
    if signing not in chain:
        yield finding(
            f"has a {chain_key} without the signing certificate, so peers cannot build the chain",
            f"{chain_key} that begins with {signing.subject}",
            describe(chain),
            f"put ca-cert.pem first into {chain_key}",
            "trust-chain-broken",
        )
        return
    in_order = chain[0] == signing and all(
        signed_by(lower, upper) for lower, upper in pairwise(chain)
    )
    if not in_order:
        yield finding(
            f"has a {chain_key} that is not in order",
            "each certificate followed by its issuer, the signing certificate first",
            describe(chain),
            f"sort {chain_key}",
            "trust-chain-order",
        )


class _Make(Protocol):
    """The shape of the function that words a finding about one ``cacerts``."""

    def __call__(
        self, summary: str, expected: str, seen: str, first: str, fault: str
    ) -> Finding: ...
