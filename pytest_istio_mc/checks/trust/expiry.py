"""Expiry: how long before its end something should have been renewed, and MC-TRUST-005, which says what was not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ...snapshot import AccessFacts, ClusterSnapshot, ProxyFacts, Snapshot, TokenFacts
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, each, verdict_from
from ..remedies import Commands
from .authority import Authority, authorities, serving
from .chains import Certificate, climb, parse

HORIZON = timedelta(days=30)
"""What lives long enough is due for renewal this long before its end; what lives shorter, in the last quarter of its life."""

LEAF_SHARE = 0.1
"""istiod's agents renew a workload certificate at half its life (SECRET_GRACE_PERIOD_RATIO); one in its last tenth was not renewed."""


def margin(lifetime: timedelta) -> timedelta:
    """How long before its end something with that lifetime should have been renewed."""
    return min(HORIZON, lifetime / 4)


def token_lifetime(token: TokenFacts) -> timedelta:
    """How long a token is valid in all; 30 days where it does not say when it was issued."""
    if token.expires_at is None or token.issued_at is None:
        return HORIZON
    return timedelta(seconds=token.expires_at - token.issued_at)


def token_end(token: TokenFacts) -> datetime | None:
    """When a token expires; None for one that does not (a ServiceAccount token Secret)."""
    return None if token.expires_at is None else datetime.fromtimestamp(token.expires_at, UTC)


def left(end: datetime, moment: datetime) -> str:
    """The time to an end as text: ``expired 3:05:00 ago`` or ``expires in 12 days``."""
    seconds = round((end - moment).total_seconds())
    spell = str(timedelta(seconds=abs(seconds)))
    return f"expired {spell} ago" if seconds <= 0 else f"expires in {spell}"


@check(
    "MC-TRUST-005",
    "Nothing has expired or expires within the horizon: roots, intermediates, workload certificates, tokens of remote secrets.",
    spec_url="https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-ACCESS-004",),
)
def nothing_expires(snapshot: Snapshot) -> Verdict:
    """Judged at the moment of recording. Only roots that something chains to count: an old one in a bundle may lapse."""
    found = tuple(authorities(snapshot))
    proxies = [(cluster, proxy) for cluster in snapshot for proxy in cluster.proxies]
    credentials = [(cluster, access) for cluster in snapshot for access in cluster.access]

    def everything() -> Iterator[Found]:
        yield from each(found, lambda one: _authority_expires(snapshot, one))
        yield from each(proxies, lambda one: _leaf_expires(snapshot, *one))
        yield from each(credentials, lambda one: _token_expires(snapshot, *one))

    count = f"{len(found)} authorities, {len(proxies)} workload certificates and {len(credentials)} remote credentials"
    return verdict_from(everything(), f"{count} are valid beyond the horizon")


def _authority_expires(snapshot: Snapshot, authority: Authority) -> Iterator[Found]:
    path = authority.path
    for link in path.links if path else ():
        if link.not_after - snapshot.moment > margin(timedelta(seconds=link.lifetime_seconds)):
            continue
        root = path is not None and link == path.root
        what = "root certificate" if root else "intermediate certificate"
        ended = link.not_after <= snapshot.moment
        commands = Commands(snapshot)
        files = "--from-file=ca-cert.pem --from-file=ca-key.pem --from-file=root-cert.pem --from-file=cert-chain.pem"
        create = commands.istio(
            authority.cluster, f"create secret generic cacerts {files} --dry-run=client -o yaml"
        )
        first = (
            "make a new root and roll it out as a two-root bundle"
            if root
            else "issue a new intermediate under the same root"
        )
        yield Finding(
            f"the {what} of {authority.cluster} {left(link.not_after, snapshot.moment)} ({link.subject})",
            (authority.cluster,),
            expected=f"valid for another {margin(timedelta(seconds=link.lifetime_seconds))} at least",
            seen=f"not after {link.not_after.isoformat()}",
            remedy=f"{create} | {commands.kubectl(authority.cluster, 'apply -f -')} && "
            f"{commands.restart_istiod(authority.cluster)} && {commands.restart_workloads(authority.cluster)}  # first: {first}",
            fault=("trust-root-" if root else "trust-intermediate-")
            + ("expired" if ended else "expires-soon"),
            latent=not ended,
        )


def _leaf_expires(
    snapshot: Snapshot, cluster: ClusterSnapshot, proxy: ProxyFacts
) -> Iterator[Found]:
    proxy.require_dump()
    chain = parse(proxy.certificate_chain)
    if not chain:
        return
    plane = serving(snapshot, cluster.name)
    scope = tuple(dict.fromkeys((cluster.name, plane.name)))
    commands = Commands(snapshot)
    restart = commands.kubectl(cluster.name, f"delete pod {proxy.pod}", proxy.namespace)
    logs = commands.kubectl(
        cluster.name, f"logs {proxy.pod} -c istio-proxy --tail=50", proxy.namespace
    )
    leaf = chain[0]
    if leaf.not_after - snapshot.moment <= timedelta(seconds=leaf.lifetime_seconds * LEAF_SHARE):
        ended = leaf.not_after <= snapshot.moment
        yield Finding(
            f"the certificate of {proxy.pod} in {cluster.name} {left(leaf.not_after, snapshot.moment)} and was not renewed",
            scope,
            expected=f"renewed at half of its {timedelta(seconds=leaf.lifetime_seconds)}",
            seen=f"not after {leaf.not_after.isoformat()}",
            remedy=f"{logs}; {restart}",
            fault="trust-leaf-expired" if ended else "trust-leaf-not-renewed",
            latent=not ended,
        )
    used: list[Certificate] = list(climb(leaf, chain[1:], parse(proxy.roots)).links[1:])
    known = {
        link
        for authority in authorities(snapshot)
        if authority.path
        for link in authority.path.links
    }
    for link in used:
        # a certificate that is (still) in cacerts has its own finding
        if link not in known and link.not_after <= snapshot.moment:
            yield Finding(
                f"{proxy.pod} in {cluster.name} still presents a chain with {link.subject}, which {left(link.not_after, snapshot.moment)}",
                scope,
                expected="the chain that the control plane hands out now",
                seen=f"not after {link.not_after.isoformat()}",
                remedy=restart,
                fault="trust-intermediate-expired",
            )


def _token_expires(
    snapshot: Snapshot, holder: ClusterSnapshot, access: AccessFacts
) -> Iterator[Found]:
    secret = holder.secret(access.namespace, access.secret)
    token = secret.kubeconfigs[access.key].token if secret else None
    end = token_end(token) if token else None
    if token is None or end is None or end - snapshot.moment > margin(token_lifetime(token)):
        return
    known = access.key in {cluster.name for cluster in snapshot.spec}
    yield Finding(
        f"the token with which {holder.name} reads {access.key} {left(end, snapshot.moment)}",
        (holder.name, access.key) if known else (holder.name,),
        expected="a token that does not expire, or that something renews in time",
        seen=f"issued for {token_lifetime(token)}, ends {end.isoformat()}",
        remedy=Commands(snapshot).create_remote_secret(holder.name, access.key) if known else "",
        fault="rs-token-expired" if end <= snapshot.moment else "rs-token-expires-soon",
        latent=end > snapshot.moment,
    )
