"""Remote access: every control plane holds working credentials for every other cluster, and really uses them."""

from __future__ import annotations

from collections.abc import Iterator

from ...snapshot import AccessFacts, Snapshot, name_of
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..control_plane.versions import minor_of
from ..judging import Found, Gap, each, names, verdict_from
from ..links import Link, accessed, held, is_verification, links
from ..remedies import Commands, is_loopback
from ..trust.expiry import left, margin, token_end, token_lifetime

TROUBLESHOOTING = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"

_SHARED = (Feature.SHARED_SERVICES,)


@check(
    "MC-ACCESS-002",
    "The API server named in each remote secret is reachable from the control plane's cluster, and is that of the right cluster.",
    spec_url=TROUBLESHOOTING,
    requires=_SHARED,
    explained_by=("MC-ACCESS-001",),
    probed=True,
)
def reachable_servers(snapshot: Snapshot) -> Verdict:
    """Connects from a pod beside istiod, so loopback addresses, firewalls and dead API servers show."""
    needed = links(snapshot)
    return verdict_from(
        each(needed, lambda link: _unreachable(snapshot, link)),
        f"{len(needed)} API servers answer from the clusters whose control planes watch them",
        pairs=map(str, needed),
    )


def _unreachable(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    commands = Commands(snapshot)
    create = commands.create_remote_secret(link.holder, link.target)
    for item in held(snapshot, link):
        server = item.kubeconfig.server
        if item.kubeconfig.problem:
            return
        if is_loopback(server):
            yield Finding(
                f"the remote secret for {link.target} in {link.holder} names {server}, which is istiod's own pod",
                link.scope,
                "an address that pods in " + link.holder + " reach",
                server,
                _with_server(create),
                "rs-localhost",
            )
            return
        if not server.startswith("https://"):
            yield Finding(
                f"the remote secret for {link.target} in {link.holder} names {server}, not an https:// address",
                link.scope,
                "https://HOST:PORT",
                server,
                _with_server(create),
                "rs-scheme",
            )
            return
    access = accessed(snapshot, link)
    if access is None:
        return
    if access.unprobed:
        yield Gap(f"access from {link.holder} to {link.target} was not tried: {access.unprobed}")
        return
    error = access.connect_error or (
        access.tls_error if not is_verification(access.tls_error) else ""
    )
    if error:
        yield _cut_off(snapshot, link, access, error)
        return
    yield from _wrong_cluster(snapshot, link, access, create)


def _cut_off(snapshot: Snapshot, link: Link, access: AccessFacts, error: str) -> Finding:
    commands = Commands(snapshot)
    here = snapshot.clusters[link.target].unreachable
    if here:
        return Finding(
            f"the API server of {link.target} does not answer anybody: what {link.plane} knows of {link.target} is frozen",
            (link.target,),
            f"{access.server} answers",
            f"from {link.holder}: {error}; from here: {here}",
            f"{commands.kubectl(link.target, 'get --raw=/readyz')}  # start the API server of {link.target} until this says ok",
            "res-api-lost-later",
        )
    return Finding(
        f"pods in {link.holder} cannot connect to the API server of {link.target} at {access.server}",
        link.scope,
        f"{access.server} answers",
        error,
        f"{_with_server(commands.create_remote_secret(link.holder, link.target))}  # with an address that {link.holder} reaches, or "
        f"open {access.server} for it (firewall, authorised networks, private endpoint)",
        "rs-unreachable",
    )


def _wrong_cluster(
    snapshot: Snapshot, link: Link, access: AccessFacts, create: str
) -> Iterator[Found]:
    expected = snapshot.clusters[link.target].uid
    if not access.cluster_uid or not expected or access.cluster_uid == expected:
        return
    other = next((cluster.name for cluster in snapshot if cluster.uid == access.cluster_uid), "")
    own = other == link.holder
    yield Finding(
        f"the remote secret for {link.target} in {link.holder} leads to "
        + (f"{other} itself" if own else other or "another cluster"),
        tuple(dict.fromkeys((*link.scope, *((other,) if other else ())))),
        expected=f"kube-system with uid {expected}",
        seen=f"uid {access.cluster_uid} at {access.server}",
        remedy=create,
        fault="rs-self" if own else "rs-wrong-cluster",
    )


def _with_server(create: str) -> str:
    if "--server=" in create:
        return create
    return create.replace(" | kubectl", " --server=https://ADDRESS:PORT | kubectl", 1)


@check(
    "MC-ACCESS-003",
    "The CA in each remote secret is the one that issued the API server's certificate.",
    spec_url=TROUBLESHOOTING,
    requires=_SHARED,
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002"),
    probed=True,
)
def verified_servers(snapshot: Snapshot) -> Verdict:
    """A real TLS handshake with the server, verified against the CA in the secret."""
    needed = links(snapshot)
    return verdict_from(
        each(needed, lambda link: _unverified(snapshot, link)),
        f"{len(needed)} API servers present a certificate of the CA in the remote secret",
        pairs=map(str, needed),
    )


def _unverified(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    access = accessed(snapshot, link)
    if access is None:
        return
    if access.unprobed or access.connect_error:
        yield Gap(
            f"access from {link.holder} to {link.target} was not tried: {access.unprobed or access.connect_error}"
        )
    elif is_verification(access.tls_error):
        yield Finding(
            f"the CA in the remote secret for {link.target} in {link.holder} did not issue the certificate of {access.server}",
            link.scope,
            "a certificate of the CA in the secret, for that address",
            access.tls_error,
            Commands(snapshot).create_remote_secret(link.holder, link.target),
            "rs-ca-mismatch",
        )
    elif access.tls_error:
        yield Gap(f"access from {link.holder} to {link.target}: {access.tls_error}")


@check(
    "MC-ACCESS-004",
    "The token in each remote secret is accepted by the API server and not about to expire.",
    spec_url=TROUBLESHOOTING,
    requires=_SHARED,
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002", "MC-ACCESS-003"),
    probed=True,
)
def accepted_tokens(snapshot: Snapshot) -> Verdict:
    """One authenticated request with the very token; clusterz goes on saying ``synced`` when a token has lapsed."""
    needed = links(snapshot)
    return verdict_from(
        each(needed, lambda link: _refused_token(snapshot, link)),
        f"{len(needed)} remote credentials are accepted",
        pairs=map(str, needed),
    )


def _refused_token(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    create = Commands(snapshot).create_remote_secret(link.holder, link.target)
    found = held(snapshot, link)
    access = accessed(snapshot, link)
    if not found or access is None:
        return
    token = found[0].kubeconfig.token
    end = token_end(token) if token else None
    who = f"the credential with which {link.holder} reads {link.target}"
    if found[0].kubeconfig.auth == "none":
        yield Finding(
            f"{who} is empty",
            link.scope,
            "a bearer token",
            "no token, no certificate",
            create,
            "rs-token-empty",
        )
        return
    if token and end and end <= snapshot.moment:
        yield Finding(
            f"the token with which {link.holder} reads {link.target} {left(end, snapshot.moment)}",
            link.scope,
            "a valid token",
            f"ended {end.isoformat()}; HTTP {access.status}: {access.message}",
            create,
            "rs-token-expired",
        )
        return
    if access.status == 401:
        yield Finding(
            f"{link.target} refuses the token with which {link.holder} reads it, though it has not expired: its ServiceAccount or "
            "token Secret is gone, or the signing key was changed",
            link.scope,
            "HTTP 200",
            f"HTTP 401: {access.message}",
            create,
            "rs-token-revoked",
        )
        return
    if token and end and end - snapshot.moment <= margin(token_lifetime(token)):
        yield Finding(
            f"the token with which {link.holder} reads {link.target} {left(end, snapshot.moment)}",
            link.scope,
            f"valid for another {margin(token_lifetime(token))} at least",
            f"ends {end.isoformat()}",
            create,
            "rs-token-expires-soon",
            latent=True,
        )
    if access.unprobed or access.connect_error or access.tls_error:
        reason = access.unprobed or access.connect_error or access.tls_error
        yield Gap(f"the token with which {link.holder} reads {link.target} was not tried: {reason}")


@check(
    "MC-ACCESS-005",
    "The credential in each remote secret may list and watch everything that istiod reads in a remote cluster.",
    spec_url=TROUBLESHOOTING,
    requires=_SHARED,
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002", "MC-ACCESS-003", "MC-ACCESS-004"),
    probed=True,
)
def sufficient_rights(snapshot: Snapshot) -> Verdict:
    """Asks the remote API server itself, with the credential, what it may do."""
    needed = links(snapshot)
    reviews = sum(len(access.reviews) for cluster in snapshot for access in cluster.access)
    return verdict_from(
        each(needed, lambda link: _lacking_rights(snapshot, link)),
        f"{len(needed)} remote credentials may do what istiod does ({reviews} rights reviewed)",
        pairs=map(str, needed),
    )


def _lacking_rights(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    access = accessed(snapshot, link)
    if access is None:
        return
    if not access.reviews:
        reason = (
            access.unprobed or access.connect_error or access.tls_error or f"HTTP {access.status}"
        )
        yield Gap(
            f"the rights with which {link.plane} reads {link.target} could not be asked for: {reason}"
        )
        return
    lacking = [
        review
        for review in access.reviews
        if not review.allowed and _applies(snapshot, link, review.need)
    ]
    if not lacking:
        return
    commands = Commands(snapshot)
    account = _account(snapshot, link)
    role = f"istio-reader-clusterrole-{snapshot.spec.istio_namespace}"
    services = any(review.resource == "services" for review in lacking)
    tokens = [review.resource for review in lacking] == ["tokenreviews"]
    bind = commands.kubectl(
        link.target,
        f"create clusterrolebinding {role} --clusterrole={role} --serviceaccount={account}",
    )
    rules = ",".join(
        dict.fromkeys(
            f"{review.resource}.{review.group}" if review.group else review.resource
            for review in lacking
        )
    )
    verbs = ",".join(dict.fromkeys(review.verb for review in lacking))
    fix = "istio-reader-missing-rights"
    create = commands.kubectl(
        link.target, f"create clusterrole {fix} --verb={verbs} --resource={rules}"
    )
    add = f"{create} && " + commands.kubectl(
        link.target,
        f"create clusterrolebinding {fix} --clusterrole={fix} --serviceaccount={account}",
    )
    target = snapshot.clusters[link.target]
    exists = any(name_of(item) == role for item in target.objects.get("ClusterRole", ()))
    yield Finding(
        f"the credential with which {link.plane} reads {link.target} may not {names(map(str, lacking))}",
        link.scope,
        expected=f"all {len(access.reviews)} rights of istio-reader-clusterrole",
        seen=f"{len(lacking)} refused: {', '.join(map(str, lacking))}",
        remedy=bind if services and exists else add,
        fault="rs-rbac-lost" if services else "pr-tokenreview" if tokens else "rs-rbac-partial",
    )


def _applies(snapshot: Snapshot, link: Link, need: str) -> bool:
    """Whether this control plane really needs a right, in this mesh."""
    target = snapshot.clusters[link.target]
    environments = [istiod.environment for istiod in snapshot.clusters[link.plane].istiods]
    if need == "gateway-api":
        return "gateway.networking.k8s.io" in target.api_groups
    if need == "workload-entries":
        return "networking.istio.io" in target.api_groups
    if need == "credentials":
        return not any(
            env.get("PILOT_ENABLE_REMOTE_CREDENTIALS_CONTROLLER", "").lower() == "false"
            for env in environments
        )
    if need == "serves-proxies":
        plane = snapshot.spec.cluster(link.plane)
        return any(cluster.name == link.target for cluster in snapshot.spec.served_by(plane))
    if need == "mesh-config":
        versions = [minor_of(istiod.version) for istiod in snapshot.clusters[link.plane].istiods]
        # istiod reads the remote mesh configuration since 1.29
        return any(version is None or version >= (1, 29) for version in versions)
    return True


def _account(snapshot: Snapshot, link: Link) -> str:
    found = held(snapshot, link)
    subject = found[0].kubeconfig.token.subject if found and found[0].kubeconfig.token else ""
    parts = subject.split(":")
    # system:serviceaccount:NAMESPACE:NAME
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        return f"{parts[2]}:{parts[3]}"
    return f"{snapshot.spec.istio_namespace}:istio-reader-service-account"
