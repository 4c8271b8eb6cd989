"""Identities: trust domains that are accepted everywhere, and certificates of the right names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from ... import shell
from ...recorded import ProxyFacts
from ...shell import Command
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..isolating import without_mutual_tls
from ..judging import Found, Gap, each, names, verdict_from
from ..remedies import Commands
from .authority import authority_of, handed_out_by, signed_by_spire
from .chains import Certificate, climb, parse, subjects


@check(
    "MC-TRUST-006",
    "The trust domains of all control planes are equal, or each names the others as aliases.",
    spec_url="https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/",
    requires=(Feature.MULTI_PRIMARY,),
)
def trust_domains(snapshot: Snapshot) -> Verdict:
    """An identity of one cluster is accepted in every other one."""
    planes = [plane.name for plane in snapshot.spec.control_planes]
    pairs = [(a, b) for place, a in enumerate(planes) for b in planes[place + 1 :]]
    domains = list(dict.fromkeys(_trust_domain(snapshot, plane) or "unknown" for plane in planes))
    agreed = (
        f"use the trust domain {domains[0]}"
        if len(domains) == 1
        else f"name each other's trust domains as aliases: {names(domains)}"
    )
    return verdict_from(
        each(pairs, lambda pair: _foreign_domain(snapshot, *pair)),
        f"{len(planes)} control planes {agreed}",
        pairs=(f"{a}-and-{b}" for a, b in pairs),
    )


def _trust_domain(snapshot: Snapshot, control_plane: str) -> str:
    """The trust domain of a control plane; empty where no replica answered."""
    for istiod in snapshot.clusters[control_plane].istiods:
        if "mesh" in istiod.debug:
            return str(istiod.debug["mesh"].get("trustDomain", "")) or "cluster.local"
    return ""


def _more_roots(snapshot: Snapshot, control_plane: str) -> set[Certificate] | None:
    """The roots that a control plane hands to its proxies beside its own (``caCertificates``).

    None where it fetches them from elsewhere (``spiffeBundleUrl``), so that they may be any.
    """
    found: set[Certificate] = set()
    for istiod in snapshot.clusters[control_plane].istiods:
        for entry in (istiod.debug.get("mesh") or {}).get("caCertificates") or ():
            if entry.get("spiffeBundleUrl"):
                return None
            found.update(parse(str(entry.get("pem") or "")))
    return found


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
        f"identities of {second} are spiffe://{domains[second]}/, those of {first} "
        f"spiffe://{domains[first]}/, and not both name the other as an alias",
        (first, second),
        expected="one trust domain, or trustDomainAliases in both clusters",
        seen="; ".join(
            f"{name}: {domains[name]} (aliases {', '.join(aliases[name]) or 'none'})"
            for name in (first, second)
        ),
        remedy=_one_domain(snapshot, domains, aliases),
        fault="trust-domain-mismatch",
    )


def _one_domain(
    snapshot: Snapshot, domains: Mapping[str, str], aliases: Mapping[str, Sequence[str]]
) -> Command:
    """Make two control planes accept each other's identities.

    By aliases where the spec means their domains to differ, else by one domain for both.
    """
    spec, commands = snapshot.spec, Commands(snapshot)
    first, second = domains
    if all(spec.trust_domain_of(spec.cluster(name)) == domains[name] for name in domains):
        lacking = [
            (name, domains[other])
            for name, other in ((first, second), (second, first))
            if domains[other] not in aliases[name]
        ]
        return shell.then(
            *(
                commands.set_mesh_config(
                    name, f"--set=trustDomainAliases={json.dumps([*aliases[name], alias])}"
                )
                for name, alias in lacking
            )
        )
    odd, right = (first, second) if domains[second] == spec.trust_domain else (second, first)
    return shell.then(
        commands.set_mesh_config(odd, f"--set=trustDomain={json.dumps(domains[right])}"),
        commands.restart_istiod(odd),
        commands.restart_workloads(odd),
    )


@check(
    "MC-TRUST-007",
    "Every probe's and gateway's certificate chains to the root of its control plane and names the "
    "right SPIFFE identity.",
    spec_url="https://istio.io/latest/docs/concepts/security/#istio-identity",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-TRUST-001", "MC-TRUST-002", "MC-TRUST-003", "MC-TRUST-004", "MC-TRUST-006"),
    probed=True,
)
def workload_identities(snapshot: Snapshot) -> Verdict:
    """The certificates that proxies really hold, read from their SDS secrets."""
    proxies = [(cluster.name, proxy) for cluster in snapshot for proxy in cluster.proxies]
    if not proxies:
        gap = Gap("no proxy was recorded: neither a probe nor an east-west gateway")
        return verdict_from([gap], "")
    holding = sum(1 for _, proxy in proxies if proxy.certificate_chain)
    return verdict_from(
        each(proxies, lambda one: _wrong_identity(snapshot, *one)),
        f"{holding} proxies hold the right certificate",
    )


def _wrong_identity(snapshot: Snapshot, cluster: str, proxy: ProxyFacts) -> Iterator[Found]:
    proxy.require_dump()
    spec, namespace = snapshot.spec, proxy.namespace
    plane = spec.control_plane_of(cluster)
    authority = authority_of(snapshot, plane)
    signed_elsewhere = signed_by_spire(snapshot.clusters[cluster], proxy)
    own = authority.roots if signed_elsewhere else handed_out_by(snapshot, plane)
    chain, roots = parse(proxy.certificate_chain), parse(proxy.roots)
    scope = tuple(dict.fromkeys((cluster, plane.name)))
    commands = Commands(snapshot)
    restart = commands.restart_pod(cluster, proxy.pod, namespace)
    logs = commands.logs(cluster, proxy.pod, namespace)
    if not chain:
        if snapshot.probes and without_mutual_tls(snapshot, spec.cluster(cluster)):
            # Envoy asks for the secrets that its configuration names: with mutual TLS off, none is;
            # MC-DISCOVERY-002 says who turned it off
            return
        yield Finding(
            f"proxy {proxy.pod} in {cluster} has no certificate",
            scope,
            expected="a workload certificate",
            seen="no SDS secret called default",
            remedy=shell.after(logs, restart),
            fault="trust-no-leaf",
        )
        return
    trusted, more = set(own), _more_roots(snapshot, plane.name)
    if trusted and not (trusted <= set(roots) and (more is None or set(roots) <= trusted | more)):
        yield Finding(
            f"proxy {proxy.pod} in {cluster} trusts another root than the CA of {plane.name}",
            scope,
            expected=subjects(own),
            seen=subjects(roots),
            remedy=restart,
            fault="trust-root-rotation-half",
        )
    elif climb(chain[0], chain[1:], roots).root is None:
        yield Finding(
            f"the certificate of proxy {proxy.pod} in {cluster} does not chain to the root that "
            "its own cluster trusts",
            scope,
            expected=subjects(roots),
            seen=subjects(chain),
            remedy=restart,
            fault="trust-chain-broken",
        )
    domain = _trust_domain(snapshot, plane.name) or spec.trust_domain_of(spec.cluster(cluster))
    identity = f"spiffe://{domain}/ns/{namespace}/sa/{proxy.service_account or 'default'}"
    if identity not in chain[0].facts.spiffe_ids:
        yield Finding(
            f"proxy {proxy.pod} in {cluster} is not who it should be",
            scope,
            expected=identity,
            seen=", ".join(chain[0].facts.spiffe_ids) or "no SPIFFE identity",
            remedy=restart,
            fault="trust-identity-wrong",
        )
