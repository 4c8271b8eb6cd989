"""Expiry: MC-TRUST-005, and when things are due for renewal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ... import shell
from ...dates import moment_of, spell_of
from ...recorded import AccessFacts, ProxyFacts, TokenFacts
from ...shell import NO_REMEDY
from ...snapshot import ClusterSnapshot, Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, each, verdict_from
from ..remedies import Commands
from .authority import SigningAuthority, authorities
from .cacerts import PLUG_IN_CA, replace_cacerts
from .chains import climb, parse

HORIZON = timedelta(days=30)
"""How long before its end something is due for renewal.

What lives less than four times as long is due in the last quarter of its life.
"""

LEAF_SHARE = 0.1
"""The last part of its life in which a workload certificate should have been renewed.

istiod's agents renew it at half its life (SECRET_GRACE_PERIOD_RATIO).
"""


def margin(lifetime: timedelta) -> timedelta:
    """How long before its end something with that lifetime should have been renewed."""
    return min(HORIZON, lifetime / 4)


def token_lifetime(token: TokenFacts) -> timedelta:
    """How long a token is valid in all; the horizon where it does not say."""
    if token.expires_at is None or token.issued_at is None:
        return HORIZON
    return spell_of(token.expires_at - token.issued_at)


def token_end(token: TokenFacts) -> datetime | None:
    """When a token expires; None for one that does not (a ServiceAccount token Secret)."""
    return None if token.expires_at is None else moment_of(token.expires_at)


def left(end: datetime, moment: datetime) -> str:
    """The time to an end, as ``expired 3:05:00 ago`` or ``expires in 12 days``."""
    seconds = round((end - moment).total_seconds())
    spell = str(timedelta(seconds=abs(seconds)))
    return f"expired {spell} ago" if seconds <= 0 else f"expires in {spell}"


@check(
    "MC-TRUST-005",
    "Nothing has expired or expires within the horizon: roots, intermediates, workload "
    "certificates, tokens of remote secrets.",
    spec_url=PLUG_IN_CA,
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-ACCESS-004",),
)
def nothing_expires(snapshot: Snapshot) -> Verdict:
    """Judged at the moment of recording.

    Only roots that something chains to count: an old one in a bundle may lapse.
    """
    found = tuple(authorities(snapshot))
    proxies = [(cluster, proxy) for cluster in snapshot for proxy in cluster.proxies]
    credentials = [(cluster, access) for cluster in snapshot for access in cluster.access]

    def everything() -> Iterator[Found]:
        yield from each(found, lambda one: _authority_expires(snapshot, one))
        yield from each(proxies, lambda one: _leaf_expires(snapshot, *one))
        yield from each(credentials, lambda one: _token_expires(snapshot, *one))

    return verdict_from(
        everything(),
        f"{len(found)} authorities, {len(proxies)} workload certificates and "
        f"{len(credentials)} remote credentials are valid beyond the horizon",
    )


def _authority_expires(snapshot: Snapshot, authority: SigningAuthority) -> Iterator[Found]:
    path, cluster, commands = authority.path, authority.cluster, Commands(snapshot)
    for link in path.links if path else ():
        needed = margin(timedelta(seconds=link.lifetime_seconds))
        if link.not_after - snapshot.moment > needed:
            continue
        ended = link.not_after <= snapshot.moment
        if path is not None and link == path.root:
            kind, first = "root", "make a new root and roll it out as a two-root bundle"
        else:
            kind, first = "intermediate", "issue a new intermediate under the same root"
        until = left(link.not_after, snapshot.moment)
        yield Finding(
            f"the {kind} certificate of {cluster} {until} ({link.subject})",
            (cluster,),
            expected=f"valid for another {needed} at least",
            seen=f"not after {link.not_after.isoformat()}",
            remedy=shell.with_note(
                shell.then(replace_cacerts(commands, cluster), commands.restart_workloads(cluster)),
                f"first: {first}",
            ),
            fault=f"trust-{kind}-{'expired' if ended else 'expires-soon'}",
            latent=not ended,
        )


def _leaf_expires(
    snapshot: Snapshot, cluster: ClusterSnapshot, proxy: ProxyFacts
) -> Iterator[Found]:
    proxy.require_dump()
    chain = parse(proxy.certificate_chain)
    if not chain:
        return
    name, pod, moment = cluster.name, proxy.pod, snapshot.moment
    scope = tuple(dict.fromkeys((name, snapshot.spec.control_plane_of(name).name)))
    commands = Commands(snapshot)
    restart = commands.restart_pod(name, pod, proxy.namespace)
    logs = commands.logs(name, pod, proxy.namespace)
    leaf = chain[0]
    if leaf.not_after - moment <= timedelta(seconds=leaf.lifetime_seconds * LEAF_SHARE):
        ended = leaf.not_after <= moment
        until = left(leaf.not_after, moment)
        yield Finding(
            f"the certificate of {pod} in {name} {until} and was not renewed",
            scope,
            expected=f"renewed at half of its {timedelta(seconds=leaf.lifetime_seconds)}",
            seen=f"not after {leaf.not_after.isoformat()}",
            remedy=shell.after(logs, restart),
            fault="trust-leaf-expired" if ended else "trust-leaf-not-renewed",
            latent=not ended,
        )
    paths = [authority.path for authority in authorities(snapshot)]
    known = {link for path in paths if path for link in path.links}
    for link in climb(leaf, chain[1:], parse(proxy.roots)).links[1:]:
        # a certificate that is (still) in cacerts has its own finding
        if link not in known and link.not_after <= moment:
            until = left(link.not_after, moment)
            yield Finding(
                f"{pod} in {name} still presents a chain with {link.subject}, which {until}",
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
    kubeconfig = secret.kubeconfigs.get(access.key) if secret else None
    token = kubeconfig.token if kubeconfig else None
    end = token_end(token) if token else None
    if token is None or end is None or end - snapshot.moment > margin(token_lifetime(token)):
        return
    known = access.key in {cluster.name for cluster in snapshot.spec}
    yield Finding(
        f"the token with which {holder.name} reads {access.key} {left(end, snapshot.moment)}",
        (holder.name, access.key) if known else (holder.name,),
        expected="a token that does not expire, or that something renews in time",
        seen=f"issued for {token_lifetime(token)}, ends {end.isoformat()}",
        remedy=Commands(snapshot).create_remote_secret(holder.name, access.key)
        if known
        else NO_REMEDY,
        fault="rs-token-expired" if end <= snapshot.moment else "rs-token-expires-soon",
        latent=end > snapshot.moment,
    )
