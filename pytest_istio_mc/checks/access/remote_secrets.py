"""Remote secrets as objects: one for each other member, none twice, none left over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ...istio_names import (
    MULTI_CLUSTER_LABEL,
    REMOTE_CLUSTER_ANNOTATION,
    REMOTE_SECRET_PREFIX,
    REMOTE_SECRETS,
)
from ...recorded import AccessFacts, KubeconfigFacts, SecretFacts
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, each, verdict_from
from ..links import Link, active, held, links
from ..remedies import Commands

REMOTE_SECRETS_GUIDE = (
    "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/"
    "#enable-endpoint-discovery"
)


@check(
    "MC-ACCESS-001",
    "Every control plane holds exactly one usable remote secret for each other member, under that "
    "member's name.",
    spec_url=REMOTE_SECRETS_GUIDE,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=("MC-CONTROL-002",),
)
def remote_secrets(snapshot: Snapshot) -> Verdict:
    """Secrets count that istiod sees: in its namespace, with its label.

    Their data key is the name of the cluster.
    """
    needed = links(snapshot)
    return verdict_from(
        each(needed, lambda link: _unusable_secret(snapshot, link)),
        f"{len(needed)} remote secrets, one for each control plane and other cluster",
        pairs=map(str, needed),
    )


def _unusable_secret(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    found = held(snapshot, link)
    create = Commands(snapshot).create_remote_secret(link.holder, link.target)
    for item in found:
        what = f"the kubeconfig for {link.target} in secret {item.secret.name} of {link.holder}"
        problem = item.kubeconfig.problem
        refused = _refused(snapshot, link, item.kubeconfig)
        if problem:
            summary, expected = f"{what} {problem}", "a kubeconfig"
            yield Finding(summary, link.scope, expected, problem, create, "rs-malformed")
        elif refused:
            summary = f"{what} authenticates by {', '.join(refused)}, which istiod refuses"
            expected = "a bearer token or an embedded client certificate"
            yield Finding(summary, link.scope, expected, ", ".join(refused), create, "rs-exec-auth")
    if not found:
        yield _absent_secret(snapshot, link, create)


def _absent_secret(snapshot: Snapshot, link: Link, create: str) -> Finding:
    """Why istiod does not see a remote secret.

    It is in another namespace or cluster, has no label or another key, or is not there at all.
    """
    commands, namespace = Commands(snapshot), snapshot.spec.istio_namespace
    holder, target = link.holder, link.target
    every = snapshot.clusters[holder].all_secrets()
    keyed = [secret for secret in every if _is_for(secret, target)]

    def finding(summary: str, seen: str, remedy: str, fault: str) -> Finding:
        expected = (
            f"a secret in {namespace} of {holder} with label {REMOTE_SECRETS} and the key {target}"
        )
        return Finding(summary, link.scope, expected, seen, remedy, fault)

    for secret in keyed:
        if secret.namespace != namespace and _label_of(secret) == "true":
            delete = commands.kubectl(holder, f"delete secret {secret.name}", secret.namespace)
            return finding(
                f"the remote secret for {target} in {holder} is in namespace {secret.namespace}; "
                f"istiod watches {namespace}",
                f"{secret.namespace}/{secret.name}",
                f"{create} && {delete}",
                "rs-wrong-namespace",
            )
    for secret in keyed:
        if secret.namespace == namespace:
            value = _label_of(secret)
            labelled = f"with {MULTI_CLUSTER_LABEL}={value}" if value else "without the label"
            return finding(
                f"the remote secret for {target} in {holder} lacks the label {REMOTE_SECRETS}, so "
                "istiod does not see it",
                f"{secret.name} {labelled}",
                commands.istio(holder, f"label secret {secret.name} {REMOTE_SECRETS} --overwrite"),
                "rs-unlabelled",
            )
    beside = snapshot.clusters[link.plane].all_secrets() if link.plane != holder else ()
    for secret in beside:
        if target in secret.kubeconfigs:
            delete = commands.istio(link.plane, f"delete secret {secret.name}")
            return finding(
                f"the remote secret for {target} is in {link.plane}, where istiod runs; it reads "
                f"them in its config cluster {holder}",
                f"{secret.name} in {link.plane}",
                f"{create} && {delete}",
                "xc-remote-secret-misplaced",
            )
    misnamed = _leads_to(snapshot, link)
    if misnamed is not None:
        delete = commands.istio(holder, f"delete secret {misnamed.secret}")
        return finding(
            f"the secret {misnamed.secret} in {holder} calls the cluster {misnamed.key}; it calls "
            f"itself {target}",
            f"key {misnamed.key}, leading to {target}",
            f"{delete} && {create}",
            "cp-cluster-id-vs-secret",
        )
    others = [f"{one.name} (keys {', '.join(one.keys)})" for one in every if one.kubeconfigs]
    summary = f"{holder} has no remote secret for {target}"
    return finding(summary, ", ".join(others) or "none", create, "rs-missing")


def _is_for(secret: SecretFacts, target: str) -> bool:
    """Whether a Secret is for that cluster: by its key, else by its metadata.

    istioctl names the cluster in the annotation and in the name.
    """
    if secret.keys or secret.kubeconfigs:
        return target in secret.kubeconfigs
    named = secret.annotations.get(REMOTE_CLUSTER_ANNOTATION)
    return target == named or secret.name == f"{REMOTE_SECRET_PREFIX}{target}"


def _label_of(secret: SecretFacts) -> str | None:
    return secret.labels.get(MULTI_CLUSTER_LABEL)


def _leads_to(snapshot: Snapshot, link: Link) -> AccessFacts | None:
    uid = snapshot.clusters[link.target].uid
    used = snapshot.clusters[link.holder].access if uid else ()
    return next((access for access in used if access.cluster_uid == uid), None)


_OPTIONS = {"exec": ("exec",), "auth-provider": ("auth-provider",), "file": ("tokenFile",)}
"""What snapshots stand for that tell of a kubeconfig only how it authenticates."""


def _refused(snapshot: Snapshot, link: Link, kubeconfig: KubeconfigFacts) -> tuple[str, ...]:
    """What of a kubeconfig istiod takes only if told to, and some replica is not.

    It is told by name: ``exec`` does not allow ``tokenFile``.
    """
    options = kubeconfig.options or _OPTIONS.get(kubeconfig.auth, ())
    variable = "PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS"
    allowed = [
        one.environment.get(variable, "").split(",")
        for one in snapshot.clusters[link.plane].istiods
    ]
    return tuple(one for one in options if not (allowed and all(one in names for names in allowed)))


@check(
    "MC-ACCESS-008",
    "No remote secret is left for a cluster that is not in the mesh, and none leads to a cluster "
    "that another one leads to already.",
    spec_url=REMOTE_SECRETS_GUIDE,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=("MC-ACCESS-001", "MC-ACCESS-002"),
)
def no_stale_secrets(snapshot: Snapshot) -> Verdict:
    """Every remote secret leads to another member, and no two to the same one.

    - Two for one cluster make replicas disagree or double its endpoints.
    - One for a cluster that is gone delays every start of istiod.
    """
    holders = snapshot.spec.config_clusters
    secrets = [secret for name in holders for secret in snapshot.clusters[name].secrets]
    return verdict_from(
        each(holders, lambda holder: _superfluous(snapshot, holder)),
        f"{sum(len(secret.kubeconfigs) for secret in secrets)} remote secrets, each for another "
        "member",
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
            superfluous = " ".join(one for one in secrets if one != f"{REMOTE_SECRET_PREFIX}{key}")
            yield Finding(
                f"{holder} has {len(secrets)} remote secrets for {key}; which one istiod uses "
                "depends on which it saw first",
                (holder, key) if key in members else (holder,),
                expected=f"one secret with the key {key}",
                seen=", ".join(secrets),
                remedy=commands.istio(holder, f"delete secret {superfluous}"),
                fault="rs-duplicate",
            )
        if key in members:
            continue
        uid = next((reached[(secret, key)] for secret in secrets if (secret, key) in reached), "")
        leads_to = next((cluster.name for cluster in snapshot if uid and cluster.uid == uid), "")
        own = leads_to == holder
        if leads_to and not own and leads_to not in by_key:
            # the member under a wrong name: MC-ACCESS-001 says so
            continue
        meaning = ""
        if leads_to:
            detail = " itself" if own else ", which has a secret of its own"
            meaning = f"; it leads to {leads_to}{detail}"
        yield Finding(
            f"{holder} has a remote secret for {key}, which is not a member of the mesh{meaning}",
            tuple(dict.fromkeys((holder, leads_to or holder))),
            expected=f"remote secrets for {', '.join(sorted(members - {holder}))} only",
            seen=", ".join(secrets),
            remedy=commands.istio(holder, f"delete secret {' '.join(secrets)}"),
            fault="rs-self" if own else "rs-duplicate" if leads_to else "rs-stale",
            # it costs time at the start of istiod, and no request
            latent=not leads_to,
        )
