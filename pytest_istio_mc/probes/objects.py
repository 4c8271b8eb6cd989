"""Objects that checks make for themselves in several clusters, and take away again."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..istio_names import NETWORKING_API, SERVICE_LABEL
from ..mesh import Mesh, ProbePod
from ..spec import MeshSpec
from ..together import for_each, try_each
from . import manifests, prepared

if TYPE_CHECKING:
    from ..kube import Kube

ANYWHERE: Mapping[str, Any] = {"loadBalancer": {"localityLbSetting": {"enabled": False}}}
"""A traffic policy without locality load balancing, which would hide who could answer."""

_CONNECTION_EACH: Mapping[str, Any] = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
_REMOVALS_AT_ONCE = 6


def apply(mesh: Mesh, kube: Kube, namespace: str, *wanted: manifests.Manifest) -> None:
    """Make objects of this run, or change them, with its label.

    :class:`ObservationError` where one of that name is somebody else's.
    """
    prepared.require_free(mesh, kube, namespace, wanted)
    kube.apply(*manifests.labelled(wanted, mesh.run_id), namespace=namespace)


def remove(mesh: Mesh, kube: Kube, namespace: str, kind: str, name: str) -> None:
    """Delete an object of this run; an absent one is fine, and somebody else's stays."""
    prepared.remove(mesh, kube, namespace, kind, name)


@contextmanager
def present(
    mesh: Mesh,
    kubes: Mapping[str, Kube],
    namespace: str,
    wanted: Mapping[str, Sequence[manifests.Manifest]],
) -> Iterator[None]:
    """The objects that are ``wanted`` in each cluster, until the block ends."""

    def clear(cluster: str) -> None:
        """Delete all of them, last ones first; an error does not stop the rest."""

        def delete(manifest: manifests.Manifest) -> None:
            name = manifest["metadata"]["name"]
            remove(mesh, kubes[cluster], namespace, prepared.kind_of(manifest), name)

        try_each(delete, reversed(wanted[cluster]), _REMOVALS_AT_ONCE)

    try:
        for_each(lambda one: apply(mesh, kubes[one], namespace, *wanted[one]), wanted)
        yield
    finally:
        try_each(clear, wanted)


def everywhere(
    mesh: Mesh, services: Sequence[manifests.Manifest], configuration: Sequence[manifests.Manifest]
) -> dict[str, list[manifests.Manifest]]:
    """Services where workloads run, and configuration where it is read.

    A rule with subsets is needed in the target's cluster, too: its gateway has a filter chain for
    a subset only where its own control plane knows it.
    """
    configured = mesh.spec.config_clusters
    return {
        cluster.name: [*services, *(configuration if cluster.name in configured else ())]
        for cluster in mesh.spec
        if cluster.runs_workloads or cluster.name in configured
    }


def unique(name: str) -> str:
    """A name that no other process of this run uses."""
    return f"{name}-{uuid.uuid4().hex[:5]}"


def leading_to(name: str, pods: Iterable[ProbePod], namespace: str) -> list[manifests.Manifest]:
    """A Service without a selector, and its endpoints.

    They are the HTTP ports of pods of ``namespace``.
    """
    ports = [{"name": "http", "port": manifests.HTTP}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
    endpoints = [
        {
            "addresses": [pod.ip],
            "conditions": {"ready": True},
            "nodeName": pod.node,
            "targetRef": {"kind": "Pod", "name": pod.name, "namespace": namespace},
        }
        for pod in pods
    ]
    slice_of: dict[str, Any] = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {SERVICE_LABEL: name}},
        "addressType": "IPv6" if any(":" in pod.ip for pod in pods) else "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }
    return [{**service, "spec": {"ports": ports}}, slice_of]


def spreading(spec: MeshSpec) -> Mapping[str, Any]:
    """A traffic policy with which every instance gets its share of requests.

    It is empty, but where several clusters are behind one east-west gateway. That spreads
    connections, not requests, so that every request then has a connection to itself.
    """
    return _CONNECTION_EACH if spec.several_behind_a_gateway else {}


def destination_rule(
    spec: MeshSpec,
    name: str,
    *,
    policy: Mapping[str, Any] = ANYWHERE,
    subsets: Mapping[str, Mapping[str, str]] | None = None,
) -> manifests.Manifest:
    """A rule for a Service here: a traffic policy, and subsets by labels.

    Every instance gets its share of requests (:func:`spreading`).
    """
    rule: dict[str, Any] = {"host": name, "trafficPolicy": {**policy, **spreading(spec)}}
    if subsets:
        rule["subsets"] = [{"name": key, "labels": dict(value)} for key, value in subsets.items()]
    return _configuration("DestinationRule", name, rule)


def virtual_service(name: str, routes: Sequence[Mapping[str, Any]]) -> manifests.Manifest:
    """The HTTP routes of a Service of this namespace."""
    spec = {"hosts": [name], "http": [dict(route) for route in routes]}
    return _configuration("VirtualService", name, spec)


def _configuration(kind: str, name: str, spec: Mapping[str, Any]) -> manifests.Manifest:
    return {"apiVersion": NETWORKING_API, "kind": kind, "metadata": {"name": name}, "spec": spec}
