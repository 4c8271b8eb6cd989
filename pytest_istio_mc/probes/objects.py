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
from . import manifests

if TYPE_CHECKING:
    from ..kube import Kube

ANYWHERE: Mapping[str, Any] = {"loadBalancer": {"localityLbSetting": {"enabled": False}}}
"""A traffic policy without locality load balancing, which would hide who could answer."""

_CONNECTION_EACH: Mapping[str, Any] = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
_REMOVALS_AT_ONCE = 6


@contextmanager
def present(
    kubes: Mapping[str, Kube], namespace: str, wanted: Mapping[str, Sequence[manifests.Manifest]]
) -> Iterator[None]:
    """The objects that are ``wanted`` in each cluster, until the block ends."""

    def apply(cluster: str) -> None:
        kubes[cluster].apply(*wanted[cluster], namespace=namespace)

    try:
        for_each(apply, wanted)
        yield
    finally:
        try_each(lambda cluster: _remove(kubes[cluster], namespace, wanted[cluster]), wanted)


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


def kind_of(manifest: Mapping[str, Any]) -> str:
    """The kind with its group, as ``Gateway.networking.istio.io``."""
    kind, group = str(manifest["kind"]), str(manifest["apiVersion"]).rpartition("/")[0]
    return f"{kind}.{group}" if group else kind


def _configuration(kind: str, name: str, spec: Mapping[str, Any]) -> manifests.Manifest:
    return {"apiVersion": NETWORKING_API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _remove(kube: Kube, namespace: str, objects: Sequence[manifests.Manifest]) -> None:
    """Delete all of them, last ones first; an error does not stop the rest."""

    def delete(manifest: manifests.Manifest) -> None:
        kube.delete(kind_of(manifest), manifest["metadata"]["name"], namespace)

    try_each(delete, reversed(objects), _REMOVALS_AT_ONCE)
