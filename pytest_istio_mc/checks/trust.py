"""Trust: one root, sound intermediates, and certificates that name who they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from ..snapshot import ProxyFacts, SecretFacts, Snapshot, name_of, namespace_of
from ..spec import Feature
from ..verdicts import Finding, Verdict, not_applicable
from .authority import ROOT_CONFIG_MAP, Authority, authorities, authority_of, keys_of, serving
from .catalogue import check
from .chains import Certificate, climb, describe, parse, signed_by
from .expiry import nothing_expires as nothing_expires
from .judging import Commands, Found, Gap, each, names, settle

PLUG_IN_CA = "https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/"
TROUBLESHOOTING = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"
TRUST_DOMAINS = "https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/"
IDENTITY = "https://istio.io/latest/docs/concepts/security/#istio-identity"

_FILES = "--from-file=ca-cert.pem --from-file=ca-key.pem --from-file=root-cert.pem --from-file=cert-chain.pem"


@check(
    "MC-TRUST-001",
    "The certificate authorities of all control planes chain to one common root.",
    spec_url=TROUBLESHOOTING + "#trust",
    requires=(Feature.MULTI_PRIMARY,),
    explained_by=("MC-TRUST-002", "MC-TRUST-003"),
)
def common_root(snapshot: Snapshot) -> Verdict:
    """Every control plane's signing certificate verifies against the roots of every other one."""
    found = tuple(authorities(snapshot))
    pairs = [(a, b) for a in found for b in found if a is not b]
    reference = _most_common_root(found)
    settled = settle(
        each(found, lambda authority: _differs(snapshot, authority, reference)),
        f"{len(found)} control planes share the root {describe(reference)}",
        pairs=(f"{a.cluster}-to-{b.cluster}" for a, b in pairs),
    )
    return settled


def _most_common_root(found: Sequence[Authority]) -> tuple[Certificate, ...]:
    counted = Counter(root for authority in found for root in dict.fromkeys(authority.roots) if _reaches(authority, (root,)))
    return (counted.most_common(1)[0][0],) if counted else ()


def _reaches(authority: Authority, roots: Sequence[Certificate]) -> bool:
    if authority.signing is None:
        return any(root in authority.roots for root in roots)
    return climb(authority.signing, authority.chain, roots).root is not None


def _differs(snapshot: Snapshot, authority: Authority, reference: tuple[Certificate, ...]) -> Iterator[Found]:
    if not authority.roots:
        yield Gap(f'cluster "{authority.cluster}": there is no root certificate to compare')
        return
    trusted_by_it = any(root in authority.roots for root in reference)
    if _reaches(authority, reference) and trusted_by_it:
        return
    others = tuple(plane.name for plane in snapshot.spec.control_planes if plane.name != authority.cluster)
    commands = Commands(snapshot)
    own_proxy_roots = {root for proxy in snapshot.clusters[authority.cluster].proxies for root in parse(proxy.roots)}
    half_way = len(own_proxy_roots) > 1 and any(root in own_proxy_roots for root in reference)
    replace = commands.istio(authority.cluster, f"create secret generic cacerts {_FILES} --dry-run=client -o yaml")
    apply = f"{replace} | {commands.kubectl(authority.cluster, 'apply -f -')} && {commands.restart_istiod(authority.cluster)}"
    if half_way:
        yield Finding(
            f"the root CA of {authority.cluster} was replaced while its pods, or {names(others)}, still trust the old root only",
            (authority.cluster, *others),
            expected=f"both roots in every cluster before the first certificate under the new one: {describe(reference)}",
            seen=f"{authority.cluster} signs under {describe(authority.roots)}; its proxies trust {describe(tuple(own_proxy_roots))}",
            remedy=f"put both roots into root-cert.pem of every cluster, then in each: {apply}; {commands.restart_workloads(authority.cluster)}",
            fault="trust-root-rotation-half",
        )
        return
    yield Finding(
        f"{authority.cluster} and {names(others)} share no root CA",
        (authority.cluster, *others),
        expected=f"a signing certificate that chains to {describe(reference)}",
        seen=f"{authority.cluster} trusts {describe(authority.roots)}",
        remedy=f"issue the intermediate of {authority.cluster} from the common root, then: {apply}; "
        + commands.restart_workloads(authority.cluster),
        fault="trust-different-roots",
    )


@check(
    "MC-TRUST-002",
    "Every control plane signs with a plugged-in certificate authority, not with one that istiod made for itself.",
    spec_url=PLUG_IN_CA,
    requires=(Feature.CROSS_CLUSTER,),
)
def plugged_in_authorities(snapshot: Snapshot) -> Verdict:
    """``cacerts`` exists beside every istiod that signs."""
    found = tuple(authorities(snapshot))
    if all(authority.external for authority in found):
        return not_applicable(f"certificates come from {found[0].external}; plug a CA into istiod to have this checked")
    counted = Counter(authority.signing for authority in found if authority.signing and authority.plugged_in)
    shared = sum(1 for count in counted.values() if count > 1)
    note = " (some sign with the same intermediate, so losing one key loses all)" if shared else ""
    return settle(each(found, lambda one: _self_signed(snapshot, one)), f"{len(found)} control planes sign with a plugged-in CA{note}")


def _self_signed(snapshot: Snapshot, authority: Authority) -> Iterator[Found]:
    if authority.plugged_in or authority.external:
        return
    commands = Commands(snapshot)
    create = commands.istio(authority.cluster, f"create secret generic cacerts {_FILES}")
    yield Finding(
        f"{authority.cluster} runs on its own self-signed CA: the secret cacerts is missing",
        (authority.cluster,),
        expected=f"secret {snapshot.spec.istio_namespace}/cacerts with an intermediate of the common root",
        seen=f"secret istio-ca-secret with {describe(authority.roots)}" if authority.secret else "neither cacerts nor istio-ca-secret",
        remedy=f"{create} && {commands.restart_istiod(authority.cluster)}; {commands.restart_workloads(authority.cluster)}",
        fault="trust-no-cacerts",
    )


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
        return not_applicable("no control plane has a cacerts secret; create one to have it checked")
    return settle(each(found, lambda one: _malformed(snapshot, one)), f"cacerts of {names(one.cluster for one in found)} is sound")


def _malformed(snapshot: Snapshot, authority: Authority) -> Iterator[Found]:
    secret = authority.secret
    assert secret is not None
    keys = keys_of(secret)
    commands = Commands(snapshot)
    command = commands.istio(authority.cluster, f"create secret generic cacerts {_FILES} --dry-run=client -o yaml")
    apply = f"{command} | {commands.kubectl(authority.cluster, 'apply -f -')} && {commands.restart_istiod(authority.cluster)}"

    def finding(summary: str, expected: str, seen: str, first: str, fault: str) -> Finding:
        return Finding(f"cacerts of {authority.cluster} {summary}", (authority.cluster,), expected, seen, f"{first}, then: {apply}", fault)

    files = (keys.certificate, keys.private_key, keys.chain, keys.root)
    absent = [key for key in dict.fromkeys(files) if key not in secret.keys]
    if absent:
        yield finding(
            f"lacks {names(absent)}", ", ".join(dict.fromkeys(files)), ", ".join(secret.keys), "add the missing file", "trust-cacerts-incomplete"
        )
        return
    yield from _unreadable(secret, authority, finding)
    signing, path = authority.signing, authority.path
    if signing is None or path is None:
        return
    if secret.public_keys.get(keys.private_key) not in (None, signing.public_key):
        yield finding(
            f"holds a {keys.private_key} that is not the key of {keys.certificate}",
            f"the key of public key {signing.public_key[:12]}…",
            f"public key {secret.public_keys[keys.private_key][:12]}…",
            "export certificate and key as a pair again",
            "trust-key-mismatch",
        )
    for one in dict.fromkeys((signing, *path.links)):
        if not one.signs:
            yield finding(
                f"holds a certificate that may not sign others: {one.subject or one.short}",
                "CA:TRUE, and keyCertSign where there is a key usage",
                f"CA:{str(one.authority).upper()}, may sign certificates: {one.signs}",
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
        yield finding(f"has a {key} that {problem}", "an unencrypted PEM private key", problem, f"write {key} anew", "trust-cacerts-malformed")
    for key in dict.fromkeys((keys.certificate, keys.chain, keys.root)):
        if not parse(secret.certificates.get(key, "")):
            yield finding(f"has no certificate in {key}", "PEM certificates", "none", f"write {key} anew", "trust-cacerts-malformed")


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
    in_order = chain[0] == signing and all(signed_by(lower, upper) for lower, upper in zip(chain, chain[1:], strict=False))
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

    def __call__(self, summary: str, expected: str, seen: str, first: str, fault: str) -> Finding: ...


@check(
    "MC-TRUST-004",
    "The ConfigMap istio-ca-root-cert of every cluster and namespace holds exactly the root of its control plane.",
    spec_url=TROUBLESHOOTING + "#trust",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-TRUST-002", "MC-TRUST-003"),
)
def distributed_root(snapshot: Snapshot) -> Verdict:
    """What istiod hands out as the root is what it signs under, in every namespace with workloads of the mesh."""
    clusters = [cluster.name for cluster in snapshot.spec.data_planes]
    count = sum(
        1 for name in clusters for item in snapshot.clusters[name].objects.get("ConfigMap", ()) if name_of(item) == ROOT_CONFIG_MAP
    )
    return settle(
        each(clusters, lambda name: _stale_root(snapshot, name)), f"{count} ConfigMaps in {len(clusters)} clusters hold the root"
    )


def _stale_root(snapshot: Snapshot, name: str) -> Iterator[Found]:
    plane = serving(snapshot, name)
    authority = authority_of(snapshot, plane)
    if not authority.roots:
        yield Gap(f'cluster "{plane.name}": there is no root certificate to compare')
        return
    cluster = snapshot.clusters[name]
    expected = {root.sha256 for root in authority.roots}
    # istiod leaves the namespaces of Kubernetes itself alone, kube-system apart
    ignored = {"kube-public", "kube-node-lease", "local-path-storage"}
    items = {namespace_of(item): item for item in cluster.listed("ConfigMap") if name_of(item) == ROOT_CONFIG_MAP}
    stale = {
        namespace: parse(item["data"].get("root-cert.pem", ""))
        for namespace, item in sorted(items.items())
        if namespace not in ignored and {one.sha256 for one in parse(item["data"].get("root-cert.pem", ""))} != expected
    }
    commands = Commands(snapshot)
    if stale:
        namespace, seen = next(iter(stale.items()))
        yield Finding(
            f"{ROOT_CONFIG_MAP} in {len(stale)} of {len(items)} namespaces of {name} is not the root of {plane.name}'s CA",
            tuple(dict.fromkeys((name, plane.name))),
            expected=describe(authority.roots),
            seen=f"{namespace}: {describe(seen)}",
            remedy=f"{commands.restart_istiod(plane.name)}; {commands.restart_workloads(name)} (to keep old certificates valid "
            "meanwhile, put both roots into root-cert.pem of cacerts first)",
            fault="trust-root-rotation-half",
        )
    needed = {snapshot.spec.istio_namespace, *((snapshot.probes.namespace,) if snapshot.probes else ())}
    for namespace in sorted(needed - items.keys()):
        yield Finding(
            f"{name} has no {ROOT_CONFIG_MAP} in namespace {namespace}: new pods there cannot start their proxy",
            tuple(dict.fromkeys((name, plane.name))),
            expected=describe(authority.roots),
            seen="no such ConfigMap",
            remedy=commands.restart_istiod(plane.name),
            fault="trust-root-not-distributed",
        )


@check(
    "MC-TRUST-006",
    "The trust domains of all control planes are equal, or each names the others as aliases.",
    spec_url=TRUST_DOMAINS,
    requires=(Feature.MULTI_PRIMARY,),
)
def trust_domains(snapshot: Snapshot) -> Verdict:
    """An identity of one cluster is accepted in every other one."""
    planes = [plane.name for plane in snapshot.spec.control_planes]
    pairs = [(a, b) for place, a in enumerate(planes) for b in planes[place + 1 :]]
    return settle(
        each(pairs, lambda pair: _foreign_domain(snapshot, *pair)),
        f"{len(planes)} control planes use the trust domain {trust_domain(snapshot, planes[0]) or 'unknown'}",
        pairs=(f"{a}-and-{b}" for a, b in pairs),
    )


def trust_domain(snapshot: Snapshot, control_plane: str) -> str:
    """The trust domain that a control plane really uses; empty where none of its replicas could be asked."""
    for istiod in snapshot.clusters[control_plane].istiods:
        if "mesh" in istiod.debug:
            return str(istiod.debug["mesh"].get("trustDomain", "")) or "cluster.local"
    return ""


def _foreign_domain(snapshot: Snapshot, first: str, second: str) -> Iterator[Found]:
    domains, aliases = {}, {}
    for name in (first, second):
        istiods = snapshot.clusters[name].istiods
        if not istiods:
            yield Gap(f'cluster "{name}": no istiod runs, so its mesh configuration is not known')
            return
        mesh = istiods[0].debugged("mesh")
        domains[name] = mesh.get("trustDomain") or "cluster.local"
        aliases[name] = mesh.get("trustDomainAliases") or []
    if domains[first] == domains[second]:
        return
    if domains[second] in aliases[first] and domains[first] in aliases[second]:
        return
    commands = Commands(snapshot)
    odd, right = (first, second) if domains[second] == snapshot.spec.trust_domain else (second, first)
    change = f"sed 's/trustDomain: {domains[odd]}/trustDomain: {domains[right]}/'"
    yield Finding(
        f"identities of {second} are spiffe://{domains[second]}/, those of {first} spiffe://{domains[first]}/, "
        "and not both name the other as an alias",
        (first, second),
        expected="one trust domain, or trustDomainAliases in both clusters",
        seen=f"{first}: {domains[first]} (aliases {', '.join(aliases[first]) or 'none'}); "
        f"{second}: {domains[second]} (aliases {', '.join(aliases[second]) or 'none'})",
        remedy=f"{commands.istio(odd, 'get configmap istio -o yaml')} | {change} | {commands.kubectl(odd, 'apply -f -')} && "
        f"{commands.restart_istiod(odd)}; {commands.restart_workloads(odd)}",
        fault="trust-domain-mismatch",
    )


@check(
    "MC-TRUST-007",
    "Every probe's and gateway's certificate chains to the root of its control plane and names the right SPIFFE identity.",
    spec_url=IDENTITY,
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-TRUST-001", "MC-TRUST-002", "MC-TRUST-003", "MC-TRUST-004", "MC-TRUST-006"),
)
def workload_identities(snapshot: Snapshot) -> Verdict:
    """The certificates that proxies really hold, read from their SDS secrets."""
    proxies = [(cluster.name, proxy) for cluster in snapshot for proxy in cluster.proxies]
    if not proxies:
        return settle([Gap("no proxy was recorded: neither a probe nor an east-west gateway")], "")
    return settle(each(proxies, lambda one: _wrong_identity(snapshot, *one)), f"{len(proxies)} proxies hold the right certificate")


def _wrong_identity(snapshot: Snapshot, cluster: str, proxy: ProxyFacts) -> Iterator[Found]:
    proxy.require_dump()
    plane = serving(snapshot, cluster)
    authority = authority_of(snapshot, plane)
    chain, roots = parse(proxy.certificate_chain), parse(proxy.roots)
    scope = tuple(dict.fromkeys((cluster, plane.name)))
    commands = Commands(snapshot)
    restart = commands.kubectl(cluster, f"delete pod {proxy.pod}", proxy.namespace)
    if not chain:
        yield Finding(
            f"proxy {proxy.pod} in {cluster} has no certificate",
            scope,
            expected="a workload certificate",
            seen="no SDS secret called default",
            remedy=f"{commands.kubectl(cluster, f'logs {proxy.pod} -c istio-proxy --tail=50', proxy.namespace)}; then {restart}",
            fault="trust-no-leaf",
        )
        return
    trusted = set(authority.roots)
    if trusted and set(roots) != trusted:
        yield Finding(
            f"proxy {proxy.pod} in {cluster} trusts another root than the CA of {plane.name}",
            scope,
            expected=describe(authority.roots),
            seen=describe(roots),
            remedy=restart,
            fault="trust-root-rotation-half",
        )
    elif climb(chain[0], chain[1:], roots).root is None:
        yield Finding(
            f"the certificate of proxy {proxy.pod} in {cluster} does not chain to the root that its own cluster trusts",
            scope,
            expected=describe(roots),
            seen=describe(chain),
            remedy=restart,
            fault="trust-chain-broken",
        )
    domain = trust_domain(snapshot, plane.name) or snapshot.spec.trust_domain_of(snapshot.spec.cluster(cluster))
    identity = f"spiffe://{domain}/ns/{proxy.namespace}/sa/{proxy.service_account or 'default'}"
    if identity not in chain[0].uris:
        yield Finding(
            f"proxy {proxy.pod} in {cluster} is not who it should be",
            scope,
            expected=identity,
            seen=", ".join(chain[0].uris) or "no SPIFFE identity",
            remedy=restart,
            fault="trust-identity-wrong",
        )
