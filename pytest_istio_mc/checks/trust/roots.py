"""Roots: control planes share one, sign under it and hand it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ... import shell
from ...istio_names import ROOT_CONFIG_MAP
from ...selectors import matches_any
from ...snapshot import Snapshot, labels_of, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..remedies import Commands
from .authority import SigningAuthority, authorities, handed_out_by
from .cacerts import FILES, PLUG_IN_CA, replace_cacerts
from .chains import climb, parse, subjects

TRUST_BETWEEN_CLUSTERS = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/#trust"


@check(
    "MC-TRUST-001",
    "The certificate authorities of all control planes chain to one common root.",
    spec_url=TRUST_BETWEEN_CLUSTERS,
    requires=(Feature.MULTI_PRIMARY,),
    explained_by=("MC-TRUST-002", "MC-TRUST-003"),
)
def common_root(snapshot: Snapshot) -> Verdict:
    """Every signing certificate verifies against the roots of every other control plane."""
    found = tuple(authorities(snapshot))
    roots = tuple(dict.fromkeys(root for authority in found for root in authority.roots))
    return verdict_from(
        each([found], lambda every: _strangers(snapshot, every)),
        f"{len(found)} control planes trust each other's certificates under {subjects(roots)}",
        pairs=(f"{a.cluster}-to-{b.cluster}" for a in found for b in found if a is not b),
    )


def _accepts(trusting: SigningAuthority, other: SigningAuthority) -> bool:
    """Whether what one authority signs is accepted under the roots of another one."""
    if other.signing is None:
        return any(root in trusting.roots for root in other.roots)
    return climb(other.signing, other.chain, trusting.roots).root is not None


def _strangers(snapshot: Snapshot, found: Sequence[SigningAuthority]) -> Iterator[Found]:
    """The fewest authorities that have to change, with a finding for each."""
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


def _stranger(
    snapshot: Snapshot, odd: SigningAuthority, partners: Sequence[SigningAuthority]
) -> Finding:
    others = tuple(partner.cluster for partner in partners)
    reference = subjects(partners[0].roots)
    commands = Commands(snapshot)
    replace = replace_cacerts(commands, odd.cluster)
    remedy = shell.then(replace, commands.restart_workloads(odd.cluster))
    seen = f"{odd.cluster} trusts {subjects(odd.roots)}"
    changing = (odd.cluster, *others)
    half_way = next((cluster for cluster in changing if _half_replaced(snapshot, cluster)), "")
    if half_way:
        return Finding(
            f"the root CA of {half_way} was replaced while other pods still trust the old root "
            "only",
            (half_way, *(cluster for cluster in changing if cluster != half_way)),
            expected="both roots in every cluster before the first certificate under the new one",
            seen=f"{seen}; {names(others)} {reference}",
            remedy=shell.with_note(remedy, "in every cluster, with both roots in root-cert.pem"),
            fault="trust-root-rotation-half",
        )
    return Finding(
        f"{odd.cluster} and {names(others)} share no root CA",
        changing,
        expected=f"a signing certificate that chains to {reference}",
        seen=seen,
        remedy=shell.with_note(remedy, "with an intermediate issued from the common root"),
        fault="trust-different-roots",
    )


def _half_replaced(snapshot: Snapshot, cluster: str) -> bool:
    """Whether only some of a cluster's proxies were started since its root was replaced."""
    held = {frozenset(parse(one.roots)) for one in snapshot.clusters[cluster].proxies if one.roots}
    return len(held) > 1


@check(
    "MC-TRUST-002",
    "Every control plane signs with a plugged-in certificate authority, not with one that istiod "
    "made for itself.",
    spec_url=PLUG_IN_CA,
    requires=(Feature.CROSS_CLUSTER,),
)
def plugged_in_authorities(snapshot: Snapshot) -> Verdict:
    """``cacerts`` exists beside every istiod that signs."""
    found = tuple(authorities(snapshot))
    if all(authority.external for authority in found):
        return not_applicable(
            f"certificates come from {found[0].external}; "
            "plug a CA into istiod to have this checked"
        )
    counted = Counter(one.signing for one in found if one.signing and one.plugged_in)
    shared = any(count > 1 for count in counted.values())
    note = " (some sign with the same intermediate, so losing one key loses all)" if shared else ""
    return verdict_from(
        each(found, lambda one: _self_signed(snapshot, one)),
        f"{len(found)} control planes sign with a plugged-in CA{note}",
    )


def _self_signed(snapshot: Snapshot, authority: SigningAuthority) -> Iterator[Found]:
    if authority.plugged_in or authority.external:
        return
    cluster, commands = authority.cluster, Commands(snapshot)
    create = commands.istio(cluster, "create secret generic cacerts", *FILES)
    own = f"secret istio-ca-secret with {subjects(authority.roots)}"
    yield Finding(
        f"{cluster} runs on its own self-signed CA: the secret cacerts is missing",
        (cluster,),
        expected=f"secret {snapshot.spec.istio_namespace}/cacerts "
        "with an intermediate of the common root",
        seen=own if authority.secret else "neither cacerts nor istio-ca-secret",
        remedy=shell.then(
            create, commands.restart_istiod(cluster), commands.restart_workloads(cluster)
        ),
        fault="trust-no-cacerts",
    )


@check(
    "MC-TRUST-004",
    "The ConfigMap istio-ca-root-cert of every cluster and injected namespace holds exactly the "
    "root of its control plane.",
    spec_url=TRUST_BETWEEN_CLUSTERS,
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-TRUST-002", "MC-TRUST-003", "MC-CONTROL-007", "MC-CONTROL-010"),
)
def distributed_root(snapshot: Snapshot) -> Verdict:
    """Istiod hands out the root that it signs under, in every namespace with workloads."""
    clusters = [cluster.name for cluster in snapshot.spec.data_planes]
    count = sum(
        name_of(item) == ROOT_CONFIG_MAP
        for name in clusters
        for item in snapshot.clusters[name].objects.get("ConfigMap", ())
    )
    return verdict_from(
        each(clusters, lambda name: _stale_root(snapshot, name)),
        f"{count} ConfigMaps in {len(clusters)} clusters hold the root",
    )


def _stale_root(snapshot: Snapshot, name: str) -> Iterator[Found]:
    plane = snapshot.spec.control_plane_of(name)
    roots = handed_out_by(snapshot, plane)
    if not roots:
        yield Gap(f'cluster "{plane.name}": there is no root certificate to compare')
        return
    expected = {root.sha256 for root in roots}
    # istiod leaves the namespaces of Kubernetes itself alone, kube-system apart
    ignored = {"kube-public", "kube-node-lease", "local-path-storage"}
    handed_out = {
        namespace_of(item): item["data"].get("root-cert.pem", "")
        for item in snapshot.clusters[name].listed("ConfigMap")
        if name_of(item) == ROOT_CONFIG_MAP
    }
    selected = _selected(snapshot, plane.name, name)
    stale = sorted(
        namespace
        for namespace, pem in handed_out.items()
        if namespace not in ignored
        and (selected is None or namespace in selected)
        and {root.sha256 for root in parse(pem)} != expected
    )
    scope = tuple(dict.fromkeys((name, plane.name)))
    commands = Commands(snapshot)
    restart = commands.restart_istiod(plane.name)
    if stale:
        yield Finding(
            f"{ROOT_CONFIG_MAP} in {len(stale)} of {len(handed_out)} namespaces of {name} is not "
            f"the root of {plane.name}'s CA",
            scope,
            expected=subjects(roots),
            seen=f"{stale[0]}: {subjects(parse(handed_out[stale[0]]))}",
            remedy=shell.with_note(
                shell.then(restart, commands.restart_workloads(name)),
                "old certificates stay valid meanwhile if root-cert.pem of cacerts holds both "
                "roots",
            ),
            fault="trust-root-rotation-half",
        )
    probed = (snapshot.probes.namespace,) if snapshot.probes else ()
    for namespace in sorted({snapshot.spec.istio_namespace, *probed} - handed_out.keys()):
        if selected is not None and namespace not in selected:
            yield Gap(
                f'cluster "{name}": the discoverySelectors of {plane.name} leave out namespace '
                f"{namespace}, so that no root is handed out there (--mesh-probe-patch gives our "
                "namespaces the labels that they select)"
            )
            continue
        yield Finding(
            f"{name} has no {ROOT_CONFIG_MAP} in namespace {namespace}: "
            "new pods there cannot start their proxy",
            scope,
            expected=subjects(roots),
            seen="no such ConfigMap",
            remedy=restart,
            fault="trust-root-not-distributed",
        )


def _selected(snapshot: Snapshot, plane: str, cluster: str) -> set[str] | None:
    """The namespaces of a cluster in which its control plane hands out the root.

    - Those that its ``discoverySelectors`` select; what is in others is somebody else's, or left
      from another time.
    - None where it has no such selectors, or no istiod runs that would have any.
    - ``ObservationError`` where they or the namespaces could not be read.
    """
    istiods = snapshot.clusters[plane].istiods
    selectors = istiods[0].debugged("mesh").get("discoverySelectors") if istiods else None
    if not selectors:
        return None
    namespaces = snapshot.clusters[cluster].listed("Namespace")
    return {name_of(item) for item in namespaces if matches_any(selectors, labels_of(item))}
