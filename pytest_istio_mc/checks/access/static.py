"""Remote access: the credentials of every control plane for every other cluster work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ... import shell
from ...recorded import AccessFacts, Review
from ...shell import Command
from ...snapshot import ClusterSnapshot, Snapshot, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..links import Link, accessed, held, is_verification, links, may_be_held
from ..releases import minor_of
from ..remedies import Commands, is_loopback
from ..trust.expiry import left, margin, token_end, token_lifetime

API_SERVICE = ("default", "kubernetes")
"""Namespace and name of the Service of the API server, which every cluster has."""
_SOME_SERVER = "https://ADDRESS:PORT"
"""Where only people know the address."""

DIAGNOSTICS = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"

access_check = partial(
    check, spec_url=DIAGNOSTICS, requires=(Feature.SHARED_SERVICES,), probed=True
)


@access_check(
    "MC-ACCESS-002",
    "The API server named in each remote secret is reachable from the control plane's cluster, and "
    "is that of the right cluster.",
    explained_by=("MC-ACCESS-001",),
)
def reachable_servers(snapshot: Snapshot) -> Verdict:
    """A pod beside istiod connects: loopback addresses, firewalls, dead API servers show."""
    needed = links(snapshot)
    return verdict_from(
        each(needed, lambda link: _unreachable(snapshot, link)),
        f"{len(needed)} API servers answer from the clusters whose control planes watch them",
        pairs=map(str, needed),
    )


def _unreachable(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    commands = Commands(snapshot)
    create = commands.create_remote_secret(link.holder, link.target, server=_SOME_SERVER)
    what = f"the remote secret for {link.target} in {link.holder} names"
    for item in held(snapshot, link):
        server = item.kubeconfig.server
        if item.kubeconfig.problem:
            return
        if is_loopback(server):
            yield Finding(
                f"{what} {server}, which is istiod's own pod",
                link.scope,
                f"an address that pods in {link.holder} reach",
                server,
                create,
                "rs-localhost",
            )
            return
        if not server.startswith("https://"):
            yield Finding(
                f"{what} {server}, not an https:// address",
                link.scope,
                "https://HOST:PORT",
                server,
                create,
                "rs-scheme",
            )
            return
    access = accessed(snapshot, link)
    if access is None:
        return
    if access.unprobed:
        yield Gap(f"access from {link.holder} to {link.target} was not tried: {access.unprobed}")
        return
    tls_error = "" if is_verification(access.tls_error) else access.tls_error
    if error := access.connect_error or tls_error:
        yield _cut_off(snapshot, link, access, error)
        return
    create = commands.create_remote_secret(link.holder, link.target)
    yield from _wrong_cluster(snapshot, link, access, create)


def _cut_off(snapshot: Snapshot, link: Link, access: AccessFacts, error: str) -> Found:
    commands = Commands(snapshot)
    here = snapshot.clusters[link.target].unreachable
    if here:
        ready = commands.kubectl(link.target, "get --raw=/readyz")
        return Finding(
            f"the API server of {link.target} does not answer anybody: what {link.plane} knows of "
            f"{link.target} is frozen",
            (link.target,),
            f"{access.server} answers",
            f"from {link.holder}: {error}; from here: {here}",
            shell.with_note(ready, f"start the API server of {link.target} until this says ok"),
            "res-api-lost-later",
        )
    if held_back := may_be_held(snapshot, link, access):
        return Gap(held_back)
    create = commands.create_remote_secret(link.holder, link.target, server=_SOME_SERVER)
    return Finding(
        f"pods in {link.holder} cannot connect to the API server of {link.target} at "
        f"{access.server}",
        link.scope,
        f"{access.server} answers",
        error,
        shell.with_note(
            create,
            f"with an address that {link.holder} reaches, or open {access.server} for it: "
            "firewall, authorised networks, private endpoint",
        ),
        "rs-unreachable",
    )


def _wrong_cluster(
    snapshot: Snapshot, link: Link, access: AccessFacts, create: Command
) -> Iterator[Found]:
    seen = access.cluster_uid or access.service_uid
    uids = {one.name: one.uid if access.cluster_uid else _service_uid(one) for one in snapshot}
    expected = uids[link.target]
    if not seen or not expected:
        if access.status in (200, 403):
            yield Gap(
                f"whether {access.server}, which {link.holder} takes for {link.target}, is that "
                "cluster could not be found out"
            )
        return
    if seen == expected:
        return
    other = next((name for name, uid in uids.items() if uid == seen), "")
    own = other == link.holder
    leads_to = f"{other} itself" if own else other or "another cluster"
    yield Finding(
        f"the remote secret for {link.target} in {link.holder} leads to {leads_to}",
        tuple(dict.fromkeys((*link.scope, *((other,) if other else ())))),
        expected=f"{'kube-system' if access.cluster_uid else 'default/kubernetes'} with uid "
        f"{expected}",
        seen=f"uid {seen} at {access.server}",
        remedy=create,
        fault="rs-self" if own else "rs-wrong-cluster",
    )


def _service_uid(cluster: ClusterSnapshot) -> str:
    services = cluster.objects.get("Service", ())
    found = (one for one in services if (namespace_of(one), name_of(one)) == API_SERVICE)
    return str(next((one["metadata"].get("uid") or "" for one in found), ""))


@access_check(
    "MC-ACCESS-003",
    "The CA in each remote secret is the one that issued the API server's certificate.",
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002"),
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
    what = f"access from {link.holder} to {link.target}"
    if any(item.kubeconfig.insecure for item in held(snapshot, link)):
        yield Finding(
            f"the remote secret for {link.target} in {link.holder} has istiod verify nothing: "
            "whoever answers in the API server's place is given the token",
            link.scope,
            "the CA of the API server (certificate-authority-data)",
            "insecure-skip-tls-verify: true",
            Commands(snapshot).create_remote_secret(link.holder, link.target),
            "rs-insecure",
            # istiod works with it
            latent=True,
        )
    elif untried := access.unprobed or access.connect_error:
        yield Gap(f"{what} was not tried: {untried}")
    elif is_verification(access.tls_error):
        yield Finding(
            f"the CA in the remote secret for {link.target} in {link.holder} did not issue the "
            f"certificate of {access.server}",
            link.scope,
            "a certificate of the CA in the secret, for that address",
            access.tls_error,
            Commands(snapshot).create_remote_secret(link.holder, link.target),
            "rs-ca-mismatch",
        )
    elif access.tls_error:
        yield Gap(f"{what}: {access.tls_error}")


@access_check(
    "MC-ACCESS-004",
    "The token in each remote secret is accepted by the API server and not about to expire.",
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002", "MC-ACCESS-003"),
)
def accepted_tokens(snapshot: Snapshot) -> Verdict:
    """One authenticated request with the very token.

    ``clusterz`` goes on saying ``synced`` when a token has lapsed.
    """
    needed = links(snapshot)
    return verdict_from(
        each(needed, lambda link: _refused_token(snapshot, link)),
        f"{len(needed)} remote credentials are accepted",
        pairs=map(str, needed),
    )


def _refused_token(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    create = Commands(snapshot).create_remote_secret(link.holder, link.target)
    credentials = held(snapshot, link)
    access = accessed(snapshot, link)
    if not credentials or access is None:
        return
    moment, token = snapshot.moment, credentials[0].kubeconfig.token
    end = token_end(token) if token else None
    what = f"with which {link.holder} reads {link.target}"
    if credentials[0].kubeconfig.auth == "none":
        yield Finding(
            f"the credential {what} is empty",
            link.scope,
            "a bearer token",
            "no token, no certificate",
            create,
            "rs-token-empty",
        )
        return
    if end and end <= moment:
        yield Finding(
            f"the token {what} {left(end, moment)}",
            link.scope,
            "a valid token",
            f"ended {end.isoformat()}; HTTP {access.status}: {access.message}",
            create,
            "rs-token-expired",
        )
        return
    if access.status == 401:
        yield Finding(
            f"{link.target} refuses the token with which {link.holder} reads it, though it has not "
            "expired: its ServiceAccount or token Secret is gone, or the signing key was changed",
            link.scope,
            "HTTP 200",
            f"HTTP 401: {access.message}",
            create,
            "rs-token-revoked",
        )
        return
    needed = margin(token_lifetime(token)) if token else None
    if end and needed and end - moment <= needed:
        yield Finding(
            f"the token {what} {left(end, moment)}",
            link.scope,
            f"valid for another {needed} at least",
            f"ends {end.isoformat()}",
            create,
            "rs-token-expires-soon",
            latent=True,
        )
    if reason := access.unprobed or access.connect_error or access.tls_error:
        yield Gap(f"the token {what} was not tried: {reason}")


@access_check(
    "MC-ACCESS-005",
    "The credential in each remote secret may list and watch everything that istiod reads in a "
    "remote cluster.",
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002", "MC-ACCESS-003", "MC-ACCESS-004"),
)
def sufficient_rights(snapshot: Snapshot) -> Verdict:
    """The remote API server itself says what the credential may do."""
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
        error = access.unprobed or access.connect_error or access.tls_error
        yield Gap(
            f"the rights with which {link.plane} reads {link.target} could not be asked for: "
            f"{error or f'HTTP {access.status}'}"
        )
        return
    refused = [review for review in access.reviews if not review.allowed]
    lacking = [review for review in refused if _applies(snapshot, link, review.need)]
    if not lacking:
        return
    services = any(review.resource == "services" for review in lacking)
    tokens = [review.resource for review in lacking] == ["tokenreviews"]
    yield Finding(
        f"the credential with which {link.plane} reads {link.target} may not "
        f"{names(map(str, lacking))}",
        link.scope,
        expected=f"all {len(access.reviews)} rights of istio-reader-clusterrole",
        seen=f"{len(lacking)} refused: {', '.join(map(str, lacking))}",
        remedy=_give_rights(snapshot, link, lacking, whole=services),
        fault="rs-rbac-lost" if services else "pr-tokenreview" if tokens else "rs-rbac-partial",
    )


def _give_rights(snapshot: Snapshot, link: Link, lacking: list[Review], *, whole: bool) -> Command:
    """Bind the account to Istio's own role, or to one of the lacking rights.

    Istio's own is right where it is there and the ``whole`` of it lacks.
    """
    commands, account = Commands(snapshot), _account(snapshot, link)

    def bind(role: str) -> Command:
        options = (f"--clusterrole={role}", f"--serviceaccount={account}")
        return commands.kubectl(link.target, "create clusterrolebinding", role, *options)

    readers = f"istio-reader-clusterrole-{snapshot.spec.istio_namespace}"
    roles = snapshot.clusters[link.target].objects.get("ClusterRole", ())
    if whole and any(name_of(item) == readers for item in roles):
        return bind(readers)
    kinds = [f"{one.resource}.{one.group}" if one.group else one.resource for one in lacking]
    resources = ",".join(dict.fromkeys(kinds))
    verbs = ",".join(dict.fromkeys(review.verb for review in lacking))
    role = "istio-reader-missing-rights"
    options = (f"--verb={verbs}", f"--resource={resources}")
    return shell.then(
        commands.kubectl(link.target, "create clusterrole", role, *options), bind(role)
    )


def _applies(snapshot: Snapshot, link: Link, need: str) -> bool:
    """Whether this control plane really needs a right, in this mesh."""
    groups = snapshot.clusters[link.target].api_groups
    istiods = snapshot.clusters[link.plane].istiods
    if need == "gateway-api":
        return "gateway.networking.k8s.io" in groups
    if need == "workload-entries":
        return "networking.istio.io" in groups
    if need == "credentials":
        variable = "PILOT_ENABLE_REMOTE_CREDENTIALS_CONTROLLER"
        return all(one.environment.get(variable, "").lower() != "false" for one in istiods)
    if need == "serves-proxies":
        plane = snapshot.spec.cluster(link.plane)
        return any(cluster.name == link.target for cluster in snapshot.spec.served_by(plane))
    if need == "mesh-config":
        versions = [minor_of(istiod.version) for istiod in istiods]
        # istiod reads the remote mesh configuration since 1.29
        return any(version is None or version >= (1, 29) for version in versions)
    return True


def _account(snapshot: Snapshot, link: Link) -> str:
    credentials = held(snapshot, link)
    token = credentials[0].kubeconfig.token if credentials else None
    parts = token.subject.split(":") if token else []
    # system:serviceaccount:NAMESPACE:NAME
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        return f"{parts[2]}:{parts[3]}"
    return f"{snapshot.spec.istio_namespace}:istio-reader-service-account"
