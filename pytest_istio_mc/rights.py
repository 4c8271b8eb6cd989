"""Rights: what runs read, write, change and delete in a cluster, each with its reason.

``--mesh-plan`` tells them, ``istio-mc rbac`` makes roles of them, and a test compares both with
what a run on a real mesh asked its API servers for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from .istio_names import ROOT_CONFIG_MAP

F = TypeVar("F", bound=Callable[..., Any])

READING = frozenset({"get", "list", "watch"})
_DECLARED = "__istio_mc_rights__"


class Where(Enum):
    """Where the objects are that a right is about."""

    OWN = "the run's own namespaces"
    ISTIO = "the namespace of istiod"
    GATEWAYS = "the namespaces of east-west gateways"
    KUBE_SYSTEM = "kube-system"
    DEFAULT = "the namespace default"
    CLUSTER = "the whole cluster"


@dataclass(frozen=True)
class Right:
    """One right: verbs on a resource, and what for.

    - ``resource`` is the plural with its subresource (``pods/exec``), ``group`` its API group,
      empty for the core group.
    - ``names`` limits it to objects with these names; empty for all.
    - ``why`` completes the sentence "it may …", for the plan and the comments of roles.
    """

    verbs: tuple[str, ...]
    group: str
    resource: str
    where: Where
    why: str
    names: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether it changes anything; a connection to a pod is no change."""
        return self.resource not in _CONNECTIONS and not set(self.verbs) <= READING

    @property
    def writes_elsewhere(self) -> bool:
        """Whether it changes what the run did not make."""
        return self.writes and self.where is not Where.OWN


class Permission(Enum):
    """What touches other people's traffic, and is allowed by its name: ``--mesh-allow``."""

    EVERY_SERVICE = "every-service"
    REMOTE_SECRETS = "remote-secrets"
    SINGLE_GATEWAYS = "single-gateways"

    @property
    def effect(self) -> str:
        """What is done to whom where it is given, in one clause."""
        return _EFFECTS[self]


_EFFECTS = {
    Permission.EVERY_SERVICE: (
        "EVERY service of the mesh, yours too, is answered within its own cluster only, for some "
        "seconds: requests for services that run elsewhere fail"
    ),
    Permission.REMOTE_SECRETS: (
        "the remote secrets of one cluster are removed for some seconds: no other cluster sends "
        "it requests, and services that only it has are gone for all others"
    ),
    Permission.SINGLE_GATEWAYS: (
        "the only pod of an east-west gateway is killed: requests through it from other networks "
        "fail until its Deployment has started another one"
    ),
}

_CONNECTIONS = ("pods/exec", "pods/portforward")
_CONNECT = ("get", "create")
_LIST = ("list",)
_NETWORKING, _SECURITY = "networking.istio.io", "security.istio.io"
_LEASES = "coordination.k8s.io"


def _snapshot_rights() -> Iterable[Right]:
    public = "record what the mesh is made of"
    for group, resources in (
        ("", "namespaces nodes services"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("rbac.authorization.k8s.io", "clusterroles clusterrolebindings"),
        (_NETWORKING, "gateways destinationrules serviceentries virtualservices sidecars"),
        (_NETWORKING, "workloadentries envoyfilters"),
        (_SECURITY, "peerauthentications authorizationpolicies"),
        ("gateway.networking.k8s.io", "gateways"),
    ):
        for resource in resources.split():
            yield Right(_LIST, group, resource, Where.CLUSTER, public)
    told = "see by their labels which pods services have (of the others' nothing else is asked for)"
    yield Right(_LIST, "", "pods", Where.CLUSTER, told)
    told = "read those of Istio in full, by their names"
    for group, resource in (
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ):
        yield Right(("get",), group, resource, Where.CLUSTER, told)
    told = "read of a cluster which network it is on"
    yield Right(("get",), "", "namespaces", Where.CLUSTER, told)
    told = "compare the root certificates that each namespace was given"
    yield Right(("get",), "", "configmaps", Where.CLUSTER, told, (ROOT_CONFIG_MAP,))
    told = "read mesh configuration and the injector's values"
    yield Right(("get", "list"), "", "configmaps", Where.ISTIO, told)
    told = "see whether another run is disrupting the mesh, or was killed"
    yield Right(("get",), _LEASES, "leases", Where.ISTIO, told, ("istio-mc",))
    told = "find the istiods, their versions and settings"
    yield Right(_LIST, "apps", "deployments", Where.ISTIO, told)
    told = (
        "reduce the CAs and the remote secrets to public facts in memory "
        "(RBAC cannot limit a list to a label)"
    )
    yield Right(("get", "list"), "", "secrets", Where.ISTIO, told)
    for where in (Where.ISTIO, Where.GATEWAYS):
        told = "find the pods of istiods and gateways"
        yield Right(_LIST, "", "pods", where, told)
        told = "ask istiods and the Envoys of gateways for their own state"
        yield Right(_CONNECT, "", "pods/portforward", where, told)
    for where in (Where.ISTIO, Where.GATEWAYS, Where.DEFAULT):
        told = "find the addresses of istiods, gateways and the API server"
        yield Right(_LIST, "discovery.k8s.io", "endpointslices", where, told)


SNAPSHOT = tuple(_snapshot_rights())
"""What a run reads that judges the static checks only; it writes nothing."""


def _precheck_rights() -> Iterable[Right]:
    told = "see what the readers of remote clusters are allowed"
    yield Right(("get",), "rbac.authorization.k8s.io", "clusterroles", Where.CLUSTER, told)
    told = "see in which localities the endpoints of ServiceEntries are"
    yield Right(_LIST, _NETWORKING, "workloadentries", Where.CLUSTER, told)
    told = "find pods whose sidecar was injected without a network, by their labels alone"
    yield Right(_LIST, "", "pods", Where.CLUSTER, told)
    for where in (Where.ISTIO, Where.GATEWAYS):
        told = "see which pods of istiods and gateways are kept while nodes are drained"
        yield Right(_LIST, "policy", "poddisruptionbudgets", where, told)


PRECHECK = tuple(_precheck_rights())
"""What the precheck of an upgrade reads besides; it writes nothing, either."""


def _probe_rights() -> Iterable[Right]:
    told = "make its own namespaces, mark them as in use, and remove them"
    for verbs in (("create", "patch", "delete"), ("get",)):
        yield Right(verbs, "", "namespaces", Where.OWN, told)
    told = "make the probes in them"
    for group, resources in (
        ("", "configmaps serviceaccounts services"),
        ("apps", "deployments"),
        ("networking.k8s.io", "networkpolicies"),
        (_NETWORKING, "destinationrules sidecars"),
        (_SECURITY, "peerauthentications authorizationpolicies"),
    ):
        for resource in resources.split():
            yield Right(("create", "patch"), group, resource, Where.OWN, told)
    told = "see what new namespaces are given: policies of networks, and Sidecars for all"
    yield Right(_LIST, "networking.k8s.io", "networkpolicies", Where.OWN, told)
    yield Right(_LIST, _NETWORKING, "sidecars", Where.ISTIO, told)
    told = "say beside them that the run is alive, and see which other runs are"
    yield Right(("get", "create", "patch"), _LEASES, "leases", Where.OWN, told)
    told = "wait for the probes, and say why they do not come up"
    yield Right(("get", "list", "watch"), "apps", "deployments", Where.OWN, told)
    yield Right(_LIST, "apps", "replicasets", Where.OWN, told)
    yield Right(("get", "list"), "", "pods", Where.OWN, told)
    yield Right(("get",), "", "pods/log", Where.OWN, told)
    yield Right(_LIST, "", "events", Where.OWN, told)
    yield Right(_LIST, "discovery.k8s.io", "endpointslices", Where.OWN, told)
    told = "have the probes send, and ask their Envoys for their state"
    for resource in _CONNECTIONS:
        yield Right(_CONNECT, "", resource, Where.OWN, told)


PROBES = tuple(_probe_rights())
"""What a run needs besides to have probes in its own namespaces."""


def _prepared_rights() -> Iterable[Right]:
    told = "see that a name is free, and remove one by one what it made"
    for group, resources in (
        ("", "configmaps serviceaccounts services"),
        ("apps", "deployments"),
        ("discovery.k8s.io", "endpointslices"),
        (_LEASES, "leases"),
        ("networking.k8s.io", "networkpolicies"),
        (_NETWORKING, "destinationrules serviceentries sidecars virtualservices"),
        (_SECURITY, "authorizationpolicies peerauthentications"),
    ):
        for resource in resources.split():
            yield Right(("get", "list", "delete"), group, resource, Where.OWN, told)


PREPARED = tuple(_prepared_rights())
"""What a run needs besides in namespaces that somebody else has made and keeps."""


def _journal_rights() -> Iterable[Right]:
    told = "keep the original of what it changes beside it, and put it back after a killed run"
    verbs = ("get", "list", "create", "patch", "delete")
    yield Right(verbs, "", "secrets", Where.ISTIO, told)
    told = "see that one run at a time changes the mesh"
    leases = (_LEASES, "leases", Where.ISTIO, told)
    yield Right(("create",), *leases)
    yield Right(("get", "patch", "delete"), *leases, ("istio-mc",))


JOURNAL = tuple(_journal_rights())
"""What a disruptive run needs besides, whatever it changes."""


def _made(group: str, resource: str) -> Right:
    verbs = ("create", "patch", "delete")
    return Right(verbs, group, resource, Where.OWN, "make and remove objects of a check")


SERVICES = _made("", "services")
SLICES = _made("discovery.k8s.io", "endpointslices")
RULES = _made(_NETWORKING, "destinationrules")
ROUTES = _made(_NETWORKING, "virtualservices")
ENTRIES = _made(_NETWORKING, "serviceentries")


def elsewhere(*rights: Right, where: Where, why: str) -> tuple[Right, ...]:
    """The same rights in another place, for another reason."""
    return tuple(replace(right, where=where, why=why) for right in rights)


def uses(*rights: Right, disrupting: Iterable[Right] = ()) -> Callable[[F], F]:
    """Declare what the decorated observer does beyond reading what the snapshot reads.

    ``disrupting``: what it does besides, where the run may disrupt the mesh.
    """

    def declare(observe: F) -> F:
        setattr(observe, _DECLARED, (rights, (*rights, *disrupting)))
        return observe

    return declare


def rights_of(observe: Callable[..., Any], *, may_disrupt: bool) -> tuple[Right, ...]:
    """What an observer declared by :func:`uses`."""
    nothing: tuple[tuple[Right, ...], ...] = ((), ())
    declared = getattr(observe, _DECLARED, nothing)
    found: tuple[Right, ...] = declared[may_disrupt]
    return found
