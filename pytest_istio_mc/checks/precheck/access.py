"""Access: what the reader of remote clusters has to be allowed before istiod is upgraded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ... import shell
from ...istio_names import MULTI_CLUSTER_LABEL
from ...recorded import KubeconfigFacts, SecretFacts
from ...snapshot import ClusterSnapshot, name_of
from ...verdicts import Finding
from ..judging import Found, Gap, each
from .known_bad import ISSUE
from .rules import Rule, Situation, Weight

VERBS = ("list", "watch")
_ACCOUNT = "system:serviceaccount:"


def _readers(situation: Situation, rule: str) -> Iterable[Found]:
    """Every remote credential that may not read ConfigMaps."""

    def look(holder: ClusterSnapshot) -> Iterator[Found]:
        for secret in holder.all_secrets():
            if secret.labels.get(MULTI_CLUSTER_LABEL) == "true":
                for key, facts in secret.kubeconfigs.items():
                    yield from _reader(situation, holder, secret, key, facts, rule)

    yield from each(situation.configured, look)


def _reader(
    situation: Situation,
    holder: ClusterSnapshot,
    secret: SecretFacts,
    key: str,
    facts: KubeconfigFacts,
    rule: str,
) -> Iterator[Found]:
    allowed, why = _may_read(situation, holder, secret, key, facts)
    subject = facts.token.subject if facts.token else ""
    if allowed is None:
        yield Gap(f"whether {holder.name} may read ConfigMaps in {key} is not known: {why}")
    elif not allowed:
        known = key in situation.snapshot.clusters
        grant = "upgrade the chart base, or the reader's ClusterRole, of this cluster first"
        yield Finding(
            f"the reader of {key} that {holder.name} uses may not list and watch ConfigMaps",
            (holder.name, key) if known else (holder.name,),
            expected="list and watch of configmaps in the reader's ClusterRole",
            seen=f"{subject or 'its account'}: {why}",
            remedy=_grant(situation, key, subject, grant) if known else shell.note(grant),
            fault=rule,
        )


def _grant(situation: Situation, cluster: str, subject: str, advice: str) -> shell.Remedy:
    rule = {"op": "add", "path": "/rules/-", "value": {
        "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"],
    }}  # fmt: skip
    roles = [
        name_of(role)
        for role in _roles(situation.snapshot.clusters[cluster], subject)
        if "rules" in role
    ]
    if not roles:
        return shell.note(advice)
    patch = situation.commands.patch(cluster, "clusterrole", roles[0], [rule])
    return shell.with_note(patch, advice + ", which grants the same")


def _may_read(
    situation: Situation,
    holder: ClusterSnapshot,
    secret: SecretFacts,
    key: str,
    facts: KubeconfigFacts,
) -> tuple[bool | None, str]:
    """Whether a credential may, and by what this is known."""
    for access in holder.access:
        if (access.namespace, access.secret, access.key) == (secret.namespace, secret.name, key):
            said = {one.verb: one.allowed for one in access.reviews if one.resource == "configmaps"}
            if said:
                denied = [verb for verb in VERBS if not said.get(verb)]
                return not denied, f"its API server says: no {', '.join(denied)}"
    cluster = situation.snapshot.clusters.get(key)
    if cluster is None:
        return None, "that cluster was not given"
    subject = facts.token.subject if facts.token else ""
    if not subject.startswith(_ACCOUNT):
        return None, f"its credential ({facts.auth or 'unknown'}) does not say whose it is"
    roles = list(_roles(cluster, subject))
    if not roles:
        return None, f"no binding of Istio's in {key} names {subject}"
    unread = [name_of(role) for role in roles if "rules" not in role]
    allowed = [verb for verb in VERBS if any(_allows(role, verb) for role in roles)]
    if len(allowed) == len(VERBS):
        return True, ""
    if unread:
        return None, f"the rules of ClusterRole {', '.join(unread)} were not recorded"
    return False, f"ClusterRole {', '.join(map(name_of, roles))} does not allow it"


def _roles(cluster: ClusterSnapshot, subject: str) -> Iterator[Mapping[str, Any]]:
    """The ClusterRoles that Istio's bindings in a cluster give to a service account."""
    namespace, _, name = subject.removeprefix(_ACCOUNT).partition(":")
    known = {name_of(one): one for one in cluster.listed("ClusterRole")}
    given = (
        str(binding["roleRef"]["name"])
        for binding in cluster.listed("ClusterRoleBinding")
        if any(
            (one.get("kind"), one.get("namespace"), one.get("name"))
            == ("ServiceAccount", namespace, name)
            for one in binding.get("subjects") or ()
        )
    )
    for role in dict.fromkeys(given):
        yield known.get(role, {"metadata": {"name": role}})


def _allows(role: Mapping[str, Any], verb: str) -> bool:
    """Whether a ClusterRole allows a verb on all ConfigMaps."""
    return any(
        not rule.get("resourceNames")
        and {"", "*"} & set(rule.get("apiGroups") or ())
        and {"configmaps", "*"} & set(rule.get("resources") or ())
        and {verb, "*"} & set(rule.get("verbs") or ())
        for rule in role.get("rules") or ()
    )


def _for(rule: str) -> Callable[[Situation], Iterable[Found]]:
    return lambda situation: _readers(situation, rule)


_LOOKS_AT = "remote secrets, and the ClusterRoles of Istio's bindings in the clusters they are for"

RULES = (
    Rule(
        "old-reader-panic",
        "The reader of a remote cluster may not read ConfigMaps.",
        Weight.BLOCKS,
        "istiod ends with a nil pointer while a multi-primary mesh is upgraded",
        _LOOKS_AT,
        (ISSUE + "59153",),
        _for("old-reader-panic"),
        to=(">=1.29.0,<1.29.1",),
    ),
    Rule(
        "old-reader-trust-domain",
        "The reader of a remote cluster may not read ConfigMaps.",
        Weight.BLOCKS,
        "istiod validates the identities of that cluster by the wrong trust domain",
        _LOOKS_AT,
        (ISSUE + "59474",),
        _for("old-reader-trust-domain"),
        to=(">=1.29.1,<1.29.2",),
    ),
    Rule(
        "old-reader",
        "The reader of a remote cluster may not read ConfigMaps.",
        Weight.RISK,
        "istiod goes on with its own trust domain for that cluster, and logs errors, until it may "
        "read the remote mesh configuration",
        _LOOKS_AT,
        (ISSUE + "59474",),
        _for("old-reader"),
        to=(">=1.29.2",),
    ),
)
