"""Remote access: every credential used once, from its holder's cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import MeshError
from ..istio_names import KUBE_SYSTEM, SERVICE_LABEL
from ..recorded import OPEN, AccessFacts, Review
from ..snapshot import labels_of, namespace_of
from .secrets import Credential

Ask = Callable[[str, dict[str, Any]], Mapping[str, Any]]
"""``ask(cluster, operation)``: the result of an operation that the cluster's probe does.

Raises ``MeshError``.
"""

_READ = ("list", "watch")
NEEDS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("always", "", "services", _READ),
    ("always", "", "pods", _READ),
    ("always", "", "nodes", _READ),
    ("always", "", "namespaces", _READ),
    ("always", "discovery.k8s.io", "endpointslices", _READ),
    ("credentials", "", "secrets", _READ),
    ("mesh-config", "", "configmaps", _READ),
    ("always", "apiextensions.k8s.io", "customresourcedefinitions", _READ),
    ("workload-entries", "networking.istio.io", "workloadentries", _READ),
    ("gateway-api", "gateway.networking.k8s.io", "gateways", _READ),
    ("serves-proxies", "authentication.k8s.io", "tokenreviews", ("create",)),
    ("credentials", "authorization.k8s.io", "subjectaccessreviews", ("create",)),
)
"""What istiod lists, watches and creates in a remote cluster.

- Who needs it (the word of ``Review.need``), API group, resource, verbs.
- Read in Istio 1.31's ``pkg/kube/multicluster``, ``pilot/pkg/serviceregistry/kube/controller`` and
  ``pilot/pkg/credentials/kube``.
- Granted by its ``istio-reader-clusterrole``.
"""

NO_PROBE = "there is no probe workload in this cluster to try it from"

INSECURE = (
    "the kubeconfig says not to verify the server (insecure-skip-tls-verify), and a token is not "
    "sent to a server that nobody has verified"
)

NO_CA = (
    "the kubeconfig has no CA, and the server's certificate leads to no root that the probe's "
    "image has; istiod verifies it by those of its own image, and the token was not sent"
)

_NOWHERE = "istio-mc-no-such-namespace"
"""The namespace that reviews ask for: it has no role bindings, only cluster-wide rights count."""


def own_servers(slices: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Where a cluster's own API server listens, as the Service ``default/kubernetes`` knows it."""
    found = (
        f"https://[{address}]:{port['port']}"
        if ":" in address
        else f"https://{address}:{port['port']}"
        for item in slices
        if (namespace_of(item), labels_of(item).get(SERVICE_LABEL)) == ("default", "kubernetes")
        for endpoint in item["endpoints"]
        for address in endpoint["addresses"]
        for port in item["ports"]
        if port.get("port")
    )
    return tuple(dict.fromkeys(found))


def probe_access(
    cluster: str,
    credential: Credential,
    ask: Ask | None,
    timeout_seconds: float,
    own: Sequence[str] = (),
) -> AccessFacts:
    """Use one credential from a pod of ``cluster``, and ask for its rights.

    ``own``: addresses of its own API server, the control where the other is not reached.
    """
    facts, url = credential.facts, credential.url or credential.facts.server
    base = AccessFacts(credential.namespace, credential.secret, credential.key, facts.server)
    reason = _why_not(credential, ask)
    if reason or ask is None:
        return replace(base, unprobed=reason)

    def request(path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        assert ask is not None
        operation = {
            "op": "https",
            "url": url.rstrip("/") + path,
            # as istiod verifies it: by the CA in the secret, else by the roots of the system
            "ca_pem": facts.ca_pem,
            "server_name": facts.tls_server_name,
            "headers": {"accept": "application/json", "content-type": "application/json"},
            "bearer": credential.token,
            "method": "POST" if body else "GET",
            "body": json.dumps(body) if body else "",
            "timeout": timeout_seconds,
        }
        return ask(cluster, operation)

    def way_out() -> str:
        assert ask is not None
        shakes = (ask(cluster, _handshake(server, timeout_seconds)) for server in own)
        errors = [str(shake.get("connect_error") or "") for shake in shakes]
        return "" if not errors else OPEN if "" in errors else errors[0]

    try:
        if facts.insecure:
            shake = _handshake(url, timeout_seconds, facts.tls_server_name)
            reached = _unverified(base, ask(cluster, shake))
            return replace(reached, way_out=way_out() if reached.connect_error else "")
        first = request(f"/api/v1/namespaces/{KUBE_SYSTEM}")
        reached = replace(
            base,
            connect_error=str(first.get("connect_error") or ""),
            tls_error=str(first.get("tls_error") or ""),
            status=int(first.get("status") or 0),
            seconds=round(float(first.get("seconds") or 0.0), 3),
        )
        if reached.tls_error and not facts.ca_pem:
            why = f"{NO_CA} ({reached.tls_error})"
            return replace(base, unprobed=why, seconds=reached.seconds)
        if reached.connect_error:
            return replace(reached, way_out=way_out())
        if reached.tls_error:
            return reached
        document = _json(first)
        if reached.status != 200:
            reached = replace(reached, message=str(document.get("message", ""))[:300])
        if reached.status == 401:
            return reached
        uid = _uid(first)
        # a reader of one's own making need not read namespaces; of services istiod reads all
        service = "" if uid else _uid(request("/api/v1/namespaces/default/services/kubernetes"))
        return replace(reached, cluster_uid=uid, service_uid=service, reviews=_reviews(request))
    except MeshError as error:
        return replace(base, unprobed=str(error))


def _handshake(url: str, timeout_seconds: float, server_name: str = "") -> dict[str, Any]:
    """A handshake that verifies nothing, and so sends nothing."""
    return {
        "op": "https",
        "url": url,
        "server_name": server_name,
        "handshake_only": True,
        "timeout": timeout_seconds,
    }


def _unverified(base: AccessFacts, answer: Mapping[str, Any]) -> AccessFacts:
    """What can be said of a server that its kubeconfig says must not be verified."""
    seconds = round(float(answer.get("seconds") or 0.0), 3)
    if error := str(answer.get("connect_error") or ""):
        return replace(base, connect_error=error, seconds=seconds)
    return replace(base, unprobed=INSECURE, seconds=seconds)


def granted(rules: Iterable[Mapping[str, Any]], verb: str, group: str, resource: str) -> bool:
    """Whether RBAC rules allow a verb on every object of a resource."""

    def covers(offered: Iterable[str], wanted: str) -> bool:
        return wanted in offered or "*" in offered

    return any(
        covers(rule.get("verbs") or (), verb)
        and covers(rule.get("apiGroups") or (), group)
        and covers(rule.get("resources") or (), resource)
        and not rule.get("resourceNames")
        for rule in rules
    )


def _reviews(request: Callable[..., Mapping[str, Any]]) -> tuple[Review, ...]:
    wanted = [
        Review(verb, resource, group, need=need)
        for need, group, resource, verbs in NEEDS
        for verb in verbs
    ]
    answer = request(*_review("SelfSubjectRulesReview", {"namespace": _NOWHERE}))
    status = _json(answer).get("status") or {}
    rules = status.get("resourceRules") or ()
    missing = [one for one in wanted if not granted(rules, one.verb, one.group, one.resource)]
    # authorizers other than RBAC need not list rules: there only reviews of single rights tell
    refused = set(missing)
    if missing and (status.get("incomplete") or answer.get("status") != 201):
        refused = {review for review in missing if not _allowed(request, review)}
    return tuple(replace(review, allowed=review not in refused) for review in wanted)


def _allowed(request: Callable[..., Mapping[str, Any]], review: Review) -> bool:
    attributes = {"verb": review.verb, "group": review.group, "resource": review.resource}
    answer = request(*_review("SelfSubjectAccessReview", {"resourceAttributes": attributes}))
    return bool((_json(answer).get("status") or {}).get("allowed"))


def _review(kind: str, spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    version = "authorization.k8s.io/v1"
    document = {"apiVersion": version, "kind": kind, "spec": spec}
    return f"/apis/{version}/{kind.lower()}s", document


def _why_not(credential: Credential, ask: Ask | None) -> str:
    facts = credential.facts
    if facts.problem:
        return f"the kubeconfig {facts.problem}"
    if not facts.server.startswith("https://"):
        return f"the server {facts.server or 'in it'} is not an https:// address"
    if facts.auth not in ("token", "none"):
        return f"the kubeconfig authenticates by {facts.auth}, which is not tried out"
    if facts.proxied:
        return "the kubeconfig goes through a proxy (proxy-url), which is not tried out"
    if ask is None:
        return NO_PROBE
    return ""


def _uid(answer: Mapping[str, Any]) -> str:
    """The uid of the object in an answer; empty where there is none."""
    if answer.get("status") != 200:
        return ""
    return str((_json(answer).get("metadata") or {}).get("uid", ""))


def _json(answer: Mapping[str, Any]) -> dict[str, Any]:
    try:
        document = json.loads(answer.get("body") or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
