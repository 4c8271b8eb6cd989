"""The secret ``cacerts``: MC-TRUST-003, whether istiod and its peers can use it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

from ... import shell
from ...recorded import SecretFacts
from ...shell import Command
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, each, names, verdict_from
from ..remedies import Commands
from .authority import SigningAuthority, authorities, keys_of
from .chains import parse, signed_by, subjects

PLUG_IN_CA = "https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/"

FILES = (
    "--from-file=ca-cert.pem",
    "--from-file=ca-key.pem",
    "--from-file=root-cert.pem",
    "--from-file=cert-chain.pem",
)
"""How kubectl is told of the files of which ``cacerts`` is made."""


def replace_cacerts(commands: Commands, cluster: str) -> Command:
    """Replace ``cacerts`` by files of the current folder, and restart istiod."""
    create = commands.istio(
        cluster, "create secret generic cacerts --dry-run=client -o yaml", *FILES
    )
    return shell.then(
        shell.piped(create, commands.kubectl(cluster, "apply -f -")),
        commands.restart_istiod(cluster),
    )


@check(
    "MC-TRUST-003",
    "The secret cacerts is well-formed: all files, key matches certificate, chain complete and in "
    "order, certificates allowed to sign.",
    spec_url=PLUG_IN_CA,
    requires=(Feature.CROSS_CLUSTER,),
)
def well_formed_cacerts(snapshot: Snapshot) -> Verdict:
    """Istiod can start with it (``keycertbundle.go``), and peers can follow its chain."""
    found = [authority for authority in authorities(snapshot) if authority.plugged_in]
    if not found:
        return not_applicable(
            "no control plane has a cacerts secret; create one to have it checked"
        )
    return verdict_from(
        each(found, lambda one: _malformed(snapshot, one)),
        f"cacerts of {names(one.cluster for one in found)} is sound",
    )


def _malformed(snapshot: Snapshot, authority: SigningAuthority) -> Iterator[Found]:
    secret = authority.secret
    assert secret is not None
    keys = keys_of(secret)
    apply = replace_cacerts(Commands(snapshot), authority.cluster)

    def finding(summary: str, expected: str, seen: str, first: str, fault: str) -> Finding:
        summary = f"cacerts of {authority.cluster} {summary}"
        remedy = shell.with_note(apply, f"first: {first}")
        return Finding(summary, (authority.cluster,), expected, seen, remedy, fault)

    files = dict.fromkeys((keys.certificate, keys.private_key, keys.chain, keys.root))
    absent = [key for key in files if key not in secret.keys]
    if absent:
        yield finding(
            f"lacks {names(absent)}",
            ", ".join(files),
            ", ".join(secret.keys),
            "add the missing file",
            "trust-cacerts-incomplete",
        )
        return
    yield from _unreadable(secret, finding)
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
        above = path.last.issuer
        yield finding(
            f"holds a chain that stops at {path.last.subject}: "
            f"its issuer {above} is in neither {keys.chain} nor {keys.root}",
            f"a chain from {signing.subject} to {subjects(authority.roots)}",
            " <- ".join(one.subject for one in path.links),
            f"append {above} to {keys.chain}",
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


def _unreadable(secret: SecretFacts, finding: _WordsFinding) -> Iterator[Found]:
    keys, fault = keys_of(secret), "trust-cacerts-malformed"
    for key, problem in secret.problems.items():
        expected = "an unencrypted PEM private key"
        yield finding(f"has a {key} that {problem}", expected, problem, f"write {key} anew", fault)
    for key in dict.fromkeys((keys.certificate, keys.chain, keys.root)):
        if not parse(secret.certificates.get(key, "")):
            summary = f"has no certificate in {key}"
            yield finding(summary, "PEM certificates", "none", f"write {key} anew", fault)


def _badly_ordered(
    authority: SigningAuthority, chain_key: str, finding: _WordsFinding
) -> Iterator[Found]:
    chain, signing = authority.chain, authority.signing
    # a root that signs itself needs no chain above it
    if signing is None or signing in authority.roots:
        return
    if signing not in chain:
        yield finding(
            f"has a {chain_key} without the signing certificate, so peers cannot build the chain",
            f"{chain_key} that begins with {signing.subject}",
            subjects(chain),
            f"put ca-cert.pem first into {chain_key}",
            "trust-chain-broken",
        )
    elif chain[0] != signing or not all(signed_by(one, above) for one, above in pairwise(chain)):
        yield finding(
            f"has a {chain_key} that is not in order",
            "each certificate followed by its issuer, the signing certificate first",
            subjects(chain),
            f"sort {chain_key}",
            "trust-chain-order",
        )


class _WordsFinding(Protocol):
    """A function that words a finding about one ``cacerts``."""

    def __call__(
        self, summary: str, expected: str, seen: str, first: str, fault: str
    ) -> Finding: ...
