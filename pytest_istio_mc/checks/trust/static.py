"""Trust: one root, sound intermediates, and certificates that name who they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ...snapshot import ProxyFacts, Snapshot, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..isolating import without_mutual_tls
from ..judging import Found, Gap, each, names, verdict_from
from ..remedies import Commands
from .authority import ROOT_CONFIG_MAP, Authority, authorities, authority_of, serving
from .cacerts import FILES, PLUG_IN_CA
from .chains import climb, describe, parse

TROUBLESHOOTING = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"
TRUST_DOMAINS = "https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/"
IDENTITY = "https://istio.io/latest/docs/concepts/security/#istio-identity"


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
    roots = tuple(dict.fromkeys(root for authority in found for root in authority.roots))
    return verdict_from(
        each([found], lambda every: _strangers(snapshot, every)),
        f"{len(found)} control planes trust each other's certificates under {describe(roots)}",
        pairs=(f"{a.cluster}-to-{b.cluster}" for a in found for b in found if a is not b),
    )


def _accepts(trusting: Authority, other: Authority) -> bool:
    """Whether what one authority signs is accepted under the roots of another one."""
    if other.signing is None:
        return any(root in trusting.roots for root in other.roots)
    return climb(other.signing, other.chain, trusting.roots).root is not None


def _strangers(snapshot: Snapshot, found: Sequence[Authority]) -> Iterator[Found]:
    """One finding for each authority that has to change, so that the fewest have to."""
    for authority in found:
        if not authority.roots:
            yield Gap(f'cluster "{authority.cluster}": there is no root certificate to compare')
    known = [authority for authority in found if authority.roots]
    apart = {
        (a.cluster, b.cluster)
        for a in known
        for b in known
        if a is not b and not (_accepts(a, b) and _accepts(b, a))
    }
    while apart:
        counted = Counter(first for first, _ in apart)
        # of two that differ, the later in the spec is the one to change
        odd = max(reversed(known), key=lambda authority: counted[authority.cluster])
        partners = [authority for authority in known if (odd.cluster, authority.cluster) in apart]
        yield _stranger(snapshot, odd, partners)
        apart = {pair for pair in apart if odd.cluster not in pair}


def _stranger(snapshot: Snapshot, odd: Authority, partners: Sequence[Authority]) -> Finding:
    others = tuple(partner.cluster for partner in partners)
    reference = partners[0].roots
    commands = Commands(snapshot)
    replace = commands.istio(
        odd.cluster, f"create secret generic cacerts {FILES} --dry-run=client -o yaml"
    )
    apply = f"{replace} | {commands.kubectl(odd.cluster, 'apply -f -')} && {commands.restart_istiod(odd.cluster)}"
    half_way = next(
        (one for one in (odd, *partners) if _half_replaced(snapshot, one.cluster)), None
    )
    if half_way is not None:
        return Finding(
            f"the root CA of {half_way.cluster} was replaced while other pods still trust the old root only",
            (half_way.cluster, *(one.cluster for one in (odd, *partners) if one is not half_way)),
            expected="both roots in every cluster before the first certificate under the new one",
            seen=f"{odd.cluster} trusts {describe(odd.roots)}; {names(others)} {describe(reference)}",
            remedy=f"{apply} && {commands.restart_workloads(odd.cluster)}  # in every cluster, with both roots in root-cert.pem",
            fault="trust-root-rotation-half",
        )
    return Finding(
        f"{odd.cluster} and {names(others)} share no root CA",
        (odd.cluster, *others),
        expected=f"a signing certificate that chains to {describe(reference)}",
        seen=f"{odd.cluster} trusts {describe(odd.roots)}",
        remedy=f"{apply} && {commands.restart_workloads(odd.cluster)}  # with an intermediate issued from the common root",
        fault="trust-different-roots",
    )


def _half_replaced(snapshot: Snapshot, cluster: str) -> bool:
    """Whether proxies of one cluster trust different roots: some were started before its root was replaced, some after."""
    return (
        len(
            {
                frozenset(parse(proxy.roots))
                for proxy in snapshot.clusters[cluster].proxies
                if proxy.roots
            }
        )
        > 1
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
        return not_applicable(
            f"certificates come from {found[0].external}; plug a CA into istiod to have this checked"
        )
    counted = Counter(
        authority.signing for authority in found if authority.signing and authority.plugged_in
    )
    shared = sum(1 for count in counted.values() if count > 1)
    note = " (some sign with the same intermediate, so losing one key loses all)" if shared else ""
    return verdict_from(
        each(found, lambda one: _self_signed(snapshot, one)),
        f"{len(found)} control planes sign with a plugged-in CA{note}",
    )


def _self_signed(snapshot: Snapshot, authority: Authority) -> Iterator[Found]:
    if authority.plugged_in or authority.external:
        return
    commands = Commands(snapshot)
    create = commands.istio(authority.cluster, f"create secret generic cacerts {FILES}")
    yield Finding(
        f"{authority.cluster} runs on its own self-signed CA: the secret cacerts is missing",
        (authority.cluster,),
        expected=f"secret {snapshot.spec.istio_namespace}/cacerts with an intermediate of the common root",
        seen=f"secret istio-ca-secret with {describe(authority.roots)}"
        if authority.secret
        else "neither cacerts nor istio-ca-secret",
        remedy=f"{create} && {commands.restart_istiod(authority.cluster)} && {commands.restart_workloads(authority.cluster)}",
        fault="trust-no-cacerts",
    )


@check(
    "MC-TRUST-004",
    "The ConfigMap istio-ca-root-cert of every cluster and namespace holds exactly the root of its control plane.",
    spec_url=TROUBLESHOOTING + "#trust",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-TRUST-002", "MC-TRUST-003", "MC-CONTROL-007", "MC-CONTROL-010"),
)
def distributed_root(snapshot: Snapshot) -> Verdict:
    """What istiod hands out as the root is what it signs under, in every namespace with workloads of the mesh."""
    clusters = [cluster.name for cluster in snapshot.spec.data_planes]
    count = sum(
        1
        for name in clusters
        for item in snapshot.clusters[name].objects.get("ConfigMap", ())
        if name_of(item) == ROOT_CONFIG_MAP
    )
    return verdict_from(
        each(clusters, lambda name: _stale_root(snapshot, name)),
        f"{count} ConfigMaps in {len(clusters)} clusters hold the root",
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
    items = {
        namespace_of(item): item
        for item in cluster.listed("ConfigMap")
        if name_of(item) == ROOT_CONFIG_MAP
    }
    stale = {
        namespace: parse(item["data"].get("root-cert.pem", ""))
        for namespace, item in sorted(items.items())
        if namespace not in ignored
        and {one.sha256 for one in parse(item["data"].get("root-cert.pem", ""))} != expected
    }
    commands = Commands(snapshot)
    if stale:
        namespace, seen = next(iter(stale.items()))
        yield Finding(
            f"{ROOT_CONFIG_MAP} in {len(stale)} of {len(items)} namespaces of {name} is not the root of {plane.name}'s CA",
            tuple(dict.fromkeys((name, plane.name))),
            expected=describe(authority.roots),
            seen=f"{namespace}: {describe(seen)}",
            remedy=f"{commands.restart_istiod(plane.name)} && {commands.restart_workloads(name)}  # old certificates stay valid meanwhile "
            "if root-cert.pem of cacerts holds both roots",
            fault="trust-root-rotation-half",
        )
    needed = {
        snapshot.spec.istio_namespace,
        *((snapshot.probes.namespace,) if snapshot.probes else ()),
    }
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
    domains = list(dict.fromkeys(trust_domain(snapshot, plane) or "unknown" for plane in planes))
    return verdict_from(
        each(pairs, lambda pair: _foreign_domain(snapshot, *pair)),
        f"{len(planes)} control planes "
        + (
            f"use the trust domain {domains[0]}"
            if len(domains) == 1
            else f"name each other's trust domains as aliases: {names(domains)}"
        ),
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
    yield Finding(
        f"identities of {second} are spiffe://{domains[second]}/, those of {first} spiffe://{domains[first]}/, "
        "and not both name the other as an alias",
        (first, second),
        expected="one trust domain, or trustDomainAliases in both clusters",
        seen=f"{first}: {domains[first]} (aliases {', '.join(aliases[first]) or 'none'}); "
        f"{second}: {domains[second]} (aliases {', '.join(aliases[second]) or 'none'})",
        remedy=_one_domain(snapshot, domains, aliases),
        fault="trust-domain-mismatch",
    )


def _set_aliases(aliases: list[str], mesh: dict[str, Any]) -> None:
    mesh["trustDomainAliases"] = aliases


def _one_domain(
    snapshot: Snapshot, domains: Mapping[str, str], aliases: Mapping[str, Sequence[str]]
) -> str:
    """What makes two control planes accept each other's identities: aliases where the spec means their domains to differ."""
    commands = Commands(snapshot)
    first, second = domains
    if all(
        snapshot.spec.trust_domain_of(snapshot.spec.cluster(name)) == domain
        for name, domain in domains.items()
    ):
        lacking = [
            (name, domains[other])
            for name, other in ((first, second), (second, first))
            if domains[other] not in aliases[name]
        ]
        return " && ".join(
            commands.set_mesh_config(name, partial(_set_aliases, [*aliases[name], alias]))
            for name, alias in lacking
        )
    odd, right = (
        (first, second) if domains[second] == snapshot.spec.trust_domain else (second, first)
    )
    change = commands.set_mesh_config(odd, lambda mesh: mesh.update(trustDomain=domains[right]))
    return f"{change} && {commands.restart_istiod(odd)} && {commands.restart_workloads(odd)}"


@check(
    "MC-TRUST-007",
    "Every probe's and gateway's certificate chains to the root of its control plane and names the right SPIFFE identity.",
    spec_url=IDENTITY,
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-TRUST-001", "MC-TRUST-002", "MC-TRUST-003", "MC-TRUST-004", "MC-TRUST-006"),
    probed=True,
)
def workload_identities(snapshot: Snapshot) -> Verdict:
    """The certificates that proxies really hold, read from their SDS secrets."""
    proxies = [(cluster.name, proxy) for cluster in snapshot for proxy in cluster.proxies]
    if not proxies:
        return verdict_from(
            [Gap("no proxy was recorded: neither a probe nor an east-west gateway")], ""
        )
    holding = sum(1 for _, proxy in proxies if proxy.certificate_chain)
    return verdict_from(
        each(proxies, lambda one: _wrong_identity(snapshot, *one)),
        f"{holding} proxies hold the right certificate",
    )


def _wrong_identity(snapshot: Snapshot, cluster: str, proxy: ProxyFacts) -> Iterator[Found]:
    proxy.require_dump()
    plane = serving(snapshot, cluster)
    authority = authority_of(snapshot, plane)
    chain, roots = parse(proxy.certificate_chain), parse(proxy.roots)
    scope = tuple(dict.fromkeys((cluster, plane.name)))
    commands = Commands(snapshot)
    restart = commands.kubectl(cluster, f"delete pod {proxy.pod}", proxy.namespace)
    if (
        not chain
        and snapshot.probes
        and without_mutual_tls(snapshot, snapshot.spec.cluster(cluster))
    ):
        # Envoy asks for the secrets that its configuration names: with mutual TLS off, none is; MC-DISCOVERY-002 says who turned it off
        return
    if not chain:
        yield Finding(
            f"proxy {proxy.pod} in {cluster} has no certificate",
            scope,
            expected="a workload certificate",
            seen="no SDS secret called default",
            remedy=f"{commands.kubectl(cluster, f'logs {proxy.pod} -c istio-proxy --tail=50', proxy.namespace)}; {restart}",
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
    domain = trust_domain(snapshot, plane.name) or snapshot.spec.trust_domain_of(
        snapshot.spec.cluster(cluster)
    )
    identity = f"spiffe://{domain}/ns/{proxy.namespace}/sa/{proxy.service_account or 'default'}"
    if identity not in chain[0].facts.spiffe_ids:
        yield Finding(
            f"proxy {proxy.pod} in {cluster} is not who it should be",
            scope,
            expected=identity,
            seen=", ".join(chain[0].facts.spiffe_ids) or "no SPIFFE identity",
            remedy=restart,
            fault="trust-identity-wrong",
        )
