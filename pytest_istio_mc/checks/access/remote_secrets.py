"""Remote secrets as objects: one for each other member, none twice, none left over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ...istio_names import MULTI_CLUSTER_LABEL
from ...snapshot import AccessFacts, Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, each, verdict_from
from ..links import Link, active, held, links
from ..remedies import Commands

REMOTE_SECRETS = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/#enable-endpoint-discovery"


@check(
    "MC-ACCESS-001",
    "Every control plane holds exactly one usable remote secret for each other member, under that member's name.",
    spec_url=REMOTE_SECRETS,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=("MC-CONTROL-002",),
)
def remote_secrets(snapshot: Snapshot) -> Verdict:
    """Looks in istiod's namespace for the label ``istio/multiCluster=true`` and a data key equal to the cluster's name."""
    needed = links(snapshot)
    return verdict_from(
        each(needed, lambda link: _unusable_secret(snapshot, link)),
        f"{len(needed)} remote secrets, one for each control plane and other cluster",
        pairs=map(str, needed),
    )


def _unusable_secret(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    commands = Commands(snapshot)
    namespace = snapshot.spec.istio_namespace
    create = commands.create_remote_secret(link.holder, link.target)
    expected = f"a secret in {namespace} of {link.holder} with label {MULTI_CLUSTER_LABEL}=true and the key {link.target}"
    found = held(snapshot, link)
    for item in found:
        if item.kubeconfig.problem:
            yield Finding(
                f"the kubeconfig for {link.target} in secret {item.secret.name} of {link.holder} {item.kubeconfig.problem}",
                link.scope,
                "a kubeconfig",
                item.kubeconfig.problem,
                create,
                "rs-malformed",
            )
        elif item.kubeconfig.auth in ("exec", "auth-provider", "file") and not _insecure_allowed(
            snapshot, link.plane
        ):
            yield Finding(
                f"the kubeconfig for {link.target} in secret {item.secret.name} of {link.holder} authenticates by "
                f"{item.kubeconfig.auth}, which istiod refuses",
                link.scope,
                "a bearer token or an embedded client certificate",
                item.kubeconfig.auth,
                create,
                "rs-exec-auth",
            )
    if found:
        return
    yield _absent_secret(snapshot, link, expected, create)


def _absent_secret(snapshot: Snapshot, link: Link, expected: str, create: str) -> Finding:
    """Which of the ways in which a remote secret can be there and yet not be: another namespace, no label, another key."""
    commands = Commands(snapshot)
    namespace = snapshot.spec.istio_namespace
    every = snapshot.clusters[link.holder].all_secrets()
    for secret in every:
        if (
            link.target in secret.kubeconfigs
            and secret.namespace != namespace
            and secret.labels.get(MULTI_CLUSTER_LABEL) == "true"
        ):
            delete = commands.kubectl(link.holder, f"delete secret {secret.name}", secret.namespace)
            return Finding(
                f"the remote secret for {link.target} in {link.holder} is in namespace {secret.namespace}; istiod watches {namespace}",
                link.scope,
                expected,
                f"{secret.namespace}/{secret.name}",
                f"{create} && {delete}",
                "rs-wrong-namespace",
            )
    for secret in every:
        if link.target in secret.kubeconfigs and secret.namespace == namespace:
            value = secret.labels.get(MULTI_CLUSTER_LABEL)
            return Finding(
                f"the remote secret for {link.target} in {link.holder} lacks the label {MULTI_CLUSTER_LABEL}=true, so istiod does not see it",
                link.scope,
                expected,
                f"{secret.name} with {MULTI_CLUSTER_LABEL}={value}"
                if value
                else f"{secret.name} without the label",
                commands.istio(
                    link.holder,
                    f"label secret {secret.name} {MULTI_CLUSTER_LABEL}=true --overwrite",
                ),
                "rs-unlabelled",
            )
    beside = [
        secret
        for secret in snapshot.clusters[link.plane].all_secrets()
        if link.target in secret.kubeconfigs
    ]
    if link.plane != link.holder and beside:
        delete = commands.istio(link.plane, f"delete secret {beside[0].name}")
        return Finding(
            f"the remote secret for {link.target} is in {link.plane}, where istiod runs; it reads them in its config cluster {link.holder}",
            link.scope,
            expected,
            f"{beside[0].name} in {link.plane}",
            f"{create} && {delete}",
            "xc-remote-secret-misplaced",
        )
    misnamed = _leads_to(snapshot, link)
    if misnamed is not None:
        delete = commands.istio(link.holder, f"delete secret {misnamed.secret}")
        return Finding(
            f"the secret {misnamed.secret} in {link.holder} calls the cluster {misnamed.key}; it calls itself {link.target}",
            link.scope,
            expected,
            f"key {misnamed.key}, leading to {link.target}",
            f"{delete} && {create}",
            "cp-cluster-id-vs-secret",
        )
    return Finding(
        f"{link.holder} has no remote secret for {link.target}",
        link.scope,
        expected,
        ", ".join(
            f"{secret.name} (keys {', '.join(secret.keys)})"
            for secret in every
            if secret.kubeconfigs
        )
        or "none",
        create,
        "rs-missing",
    )


def _leads_to(snapshot: Snapshot, link: Link) -> AccessFacts | None:
    uid = snapshot.clusters[link.target].uid
    return next(
        (
            access
            for access in snapshot.clusters[link.holder].access
            if uid and access.cluster_uid == uid
        ),
        None,
    )


def _insecure_allowed(snapshot: Snapshot, plane: str) -> bool:
    return any(
        istiod.environment.get("PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS")
        for istiod in snapshot.clusters[plane].istiods
    )


@check(
    "MC-ACCESS-008",
    "No remote secret is left for a cluster that is not in the mesh, and none leads to a cluster that another one leads to already.",
    spec_url=REMOTE_SECRETS,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002"),
)
def no_stale_secrets(snapshot: Snapshot) -> Verdict:
    """Two secrets for one cluster make replicas disagree or double its endpoints; one for a cluster that is gone delays every start."""
    spec = snapshot.spec
    holders = spec.config_clusters
    counted = sum(
        len(secret.kubeconfigs)
        for name in holders
        for secret in snapshot.clusters[name].secrets
        if secret.kubeconfigs
    )
    return verdict_from(
        each(holders, lambda holder: _superfluous(snapshot, holder)),
        f"{counted} remote secrets, each for another member",
    )


def _superfluous(snapshot: Snapshot, holder: str) -> Iterator[Found]:
    commands = Commands(snapshot)
    by_key: dict[str, list[str]] = defaultdict(list)
    for secret in active(snapshot, holder):
        for key in secret.kubeconfigs:
            by_key[key].append(secret.name)
    members = {cluster.name for cluster in snapshot.spec}
    reached = {
        (access.secret, access.key): access.cluster_uid
        for access in snapshot.clusters[holder].access
        if access.cluster_uid
    }
    for key, secrets in by_key.items():
        if len(secrets) > 1:
            yield Finding(
                f"{holder} has {len(secrets)} remote secrets for {key}; which one istiod uses depends on which it saw first",
                (holder, key) if key in members else (holder,),
                expected=f"one secret with the key {key}",
                seen=", ".join(secrets),
                remedy=commands.istio(
                    holder,
                    f"delete secret {' '.join(name for name in secrets if name != f'istio-remote-secret-{key}')}",
                ),
                fault="rs-duplicate",
            )
        uid = next((reached[(secret, key)] for secret in secrets if (secret, key) in reached), "")
        if key in members:
            continue
        leads_to = next((cluster.name for cluster in snapshot if uid and cluster.uid == uid), "")
        if leads_to and leads_to != holder and leads_to not in by_key:
            # the member under a wrong name: MC-ACCESS-001 says so
            continue
        meaning = (
            f"it leads to {leads_to}"
            + (" itself" if leads_to == holder else ", which has a secret of its own")
            if leads_to
            else ""
        )
        yield Finding(
            f"{holder} has a remote secret for {key}, which is not a member of the mesh"
            + (f"; {meaning}" if meaning else ""),
            tuple(dict.fromkeys((holder, *((leads_to,) if leads_to else ())))),
            expected=f"remote secrets for {', '.join(sorted(members - {holder}))} only",
            seen=", ".join(secrets),
            remedy=commands.istio(holder, f"delete secret {' '.join(secrets)}"),
            fault=("rs-self" if leads_to == holder else "rs-duplicate") if leads_to else "rs-stale",
            # it costs time at the start of istiod, and no request
            latent=not leads_to,
        )
