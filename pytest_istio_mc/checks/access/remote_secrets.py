"""Remote secrets as objects: one for each other member, none twice, none left over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ... import shell
from ...istio_names import (
    MULTI_CLUSTER_LABEL,
    REMOTE_CLUSTER_ANNOTATION,
    REMOTE_SECRET_PREFIX,
    REMOTE_SECRETS,
)
from ...recorded import AccessFacts, KubeconfigFacts, SecretFacts
from ...shell import Command, Remedy
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, each, names, verdict_from
from ..links import Link, active, held, links
from ..remedies import Commands
from .synced import shards_of

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


def _absent_secret(snapshot: Snapshot, link: Link, create: Command) -> Finding:
    """Why istiod does not see a remote secret.

    It is in another namespace or cluster, has no label or another key, or is not there at all.
    """
    commands, namespace = Commands(snapshot), snapshot.spec.istio_namespace
    holder, target = link.holder, link.target
    every = snapshot.clusters[holder].all_secrets()
    keyed = [secret for secret in every if _is_for(secret, target)]

    def finding(summary: str, seen: str, remedy: Remedy, fault: str) -> Finding:
        expected = (
            f"a secret in {namespace} of {holder} with label {REMOTE_SECRETS} and the key {target}"
        )
        return Finding(summary, link.scope, expected, seen, remedy, fault)

    for secret in keyed:
        if secret.namespace != namespace and _label_of(secret) == "true":
            hide = commands.hide_remote_secrets(holder, [secret.name], secret.namespace)
            return finding(
                f"the remote secret for {target} in {holder} is in namespace {secret.namespace}; "
                f"istiod watches {namespace}",
                f"{secret.namespace}/{secret.name}",
                shell.left_to_people(create, "and if no other mesh reads the misplaced one", hide),
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
                commands.istio(
                    holder, "label", f"secret/{secret.name}", REMOTE_SECRETS, "--overwrite"
                ),
                "rs-unlabelled",
            )
    beside = snapshot.clusters[link.plane].all_secrets() if link.plane != holder else ()
    for secret in beside:
        if target in secret.kubeconfigs and _label_of(secret) == "true":
            hide = commands.hide_remote_secrets(link.plane, [secret.name])
            return finding(
                f"the remote secret for {target} is in {link.plane}, where istiod runs; it reads "
                f"them in its config cluster {holder}",
                f"{secret.name} in {link.plane}",
                shell.left_to_people(create, "and if no other mesh reads the misplaced one", hide),
                "xc-remote-secret-misplaced",
            )
    misnamed = _leads_to(snapshot, link)
    if misnamed is not None:
        hide = commands.hide_remote_secrets(holder, [misnamed.secret])
        return finding(
            f"the secret {misnamed.secret} in {holder} calls the cluster {misnamed.key}; it calls "
            f"itself {target}",
            f"key {misnamed.key}, leading to {target}",
            shell.then(create, hide),
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
    beyond = dict.fromkeys(key for holder in holders for key in _members_beyond(snapshot, holder))
    others = f", {names(beyond)} not certified here" if beyond else ""
    return verdict_from(
        each(holders, lambda holder: _superfluous(snapshot, holder)),
        f"{sum(len(secret.kubeconfigs) for secret in secrets)} remote secrets, each for another "
        f"member{others}",
    )


def _members_beyond(snapshot: Snapshot, holder: str) -> set[str]:
    """The clusters that a control plane watches, and that are not certified in this run.

    Somebody may certify a part of a mesh. A cluster belongs to it that answers the credential
    which istiod has for it and is none of those looked at. Where that could not be tried (a
    firewall for our pods, a plugin), istiod's own word counts that it is synced.
    """
    certified = {cluster.uid for cluster in snapshot if cluster.uid}
    members = {cluster.name for cluster in snapshot.spec}
    planes = [
        plane.name
        for plane in snapshot.spec.control_planes
        if snapshot.spec.config_cluster(plane).name == holder
    ]
    synced = {
        cluster
        for plane in planes
        for istiod in snapshot.clusters[plane].istiods
        if "clusterz" in istiod.debug
        for cluster, status in istiod.clusters.items()
        if status == "synced"
    }
    return {
        access.key
        for access in snapshot.clusters[holder].access
        if access.key not in members
        and (
            (access.cluster_uid not in certified if access.cluster_uid else access.status == 403)
            or (access.key in synced and not access.status)
        )
    }


def _superfluous(snapshot: Snapshot, holder: str) -> Iterator[Found]:
    by_key: dict[str, list[str]] = defaultdict(list)
    for secret in active(snapshot, holder):
        for key in secret.kubeconfigs:
            by_key[key].append(secret.name)
    members = {cluster.name for cluster in snapshot.spec}
    beyond = _members_beyond(snapshot, holder)
    reached = _reached(snapshot, holder)
    for key, secrets in by_key.items():
        if len(secrets) > 1:
            yield Finding(
                f"{holder} has {len(secrets)} remote secrets for {key}; which one istiod uses "
                "depends on which it saw first",
                (holder, key) if key in members else (holder,),
                expected=f"one secret with the key {key}",
                seen=", ".join(secrets),
                remedy=_keep_one(snapshot, holder, key, secrets),
                fault="rs-duplicate",
            )
        if key in members or key in beyond:
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
            remedy=_forget(snapshot, holder, key, secrets, leads_to),
            fault="rs-self" if own else "rs-duplicate" if leads_to else "rs-stale",
            # it costs time at the start of istiod, and no request
            latent=not leads_to,
        )


def _reached(snapshot: Snapshot, holder: str) -> dict[tuple[str, str], str]:
    """The uid of the cluster to which each secret and key leads, where one answered."""
    return {
        (access.secret, access.key): access.cluster_uid
        for access in snapshot.clusters[holder].access
        if access.cluster_uid
    }


def _keep_one(snapshot: Snapshot, holder: str, key: str, secrets: list[str]) -> Remedy:
    """Take all secrets for a cluster but one out of istiod's sight.

    The one to keep works; of several, it has the name that istioctl gives. Where not all lead to
    the same cluster, it is for people to see which of them is right.
    """
    reached, usual = _reached(snapshot, holder), f"{REMOTE_SECRET_PREFIX}{key}"
    kept = min(secrets, key=lambda one: ((one, key) not in reached, one != usual, one))
    commands, others = Commands(snapshot), [one for one in secrets if one != kept]
    hide = commands.hide_remote_secrets(holder, others)
    if len({reached.get((one, key), one) for one in secrets}) == 1:
        return shell.with_note(hide, f"all lead to the same cluster, {kept} stays")
    return shell.left_to_people(
        _shown(commands, holder, secrets), f"if {kept} is the one that is right", hide
    )


def _forget(snapshot: Snapshot, holder: str, key: str, secrets: list[str], leads_to: str) -> Remedy:
    """Take the secrets for a stranger out of istiod's sight, where they are proven left over.

    Else that would cut off a cluster which may be a member that nobody named.
    """
    commands = Commands(snapshot)
    hide, again = commands.hide_remote_secrets(holder, secrets), "the label brings it back"
    if leads_to:
        return shell.with_note(hide, f"it leads to {leads_to}, which is there without it; {again}")
    if _is_gone(snapshot, holder, key):
        proof = f"nothing answers where {key} was, and no istiod has anything of it"
        return shell.with_note(hide, f"{proof}; {again}")
    decision = f"is {key} a member? Then the mesh spec lacks it; if it left the mesh"
    return shell.left_to_people(_shown(commands, holder, secrets), decision, hide)


def _is_gone(snapshot: Snapshot, holder: str, key: str) -> bool:
    """Whether nothing answers for a remote secret, and no istiod has anything by it."""
    tried = [one for one in snapshot.clusters[holder].access if one.key == key]
    spec = snapshot.spec
    istiods = [
        istiod
        for plane in spec.control_planes
        if spec.config_cluster(plane).name == holder
        for istiod in snapshot.clusters[plane.name].istiods
    ]
    return (
        bool(tried and istiods)
        and all(one.connect_error and not one.unprobed for one in tried)
        and all(
            one.clusters.get(key, "synced") != "synced"
            and "endpointShardz" in one.debug
            and not shards_of(one.debug["endpointShardz"], key)
            for one in istiods
        )
    )


def _shown(commands: Commands, holder: str, secrets: list[str]) -> Command:
    things = (f"secret/{name}" for name in secrets)
    return commands.istio(holder, "get --show-labels", *things)
