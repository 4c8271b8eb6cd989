"""Objects: what a check makes for itself in the run's namespaces, in several clusters at once, and takes away again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..mesh import Mesh, ProbePod
from ..spec import MeshSpec
from ..together import for_each
from . import manifests

if TYPE_CHECKING:
    from ..kube import Kube

NETWORKING = "networking.istio.io/v1"

ANYWHERE: Mapping[str, Any] = {"loadBalancer": {"localityLbSetting": {"enabled": False}}}
"""A traffic policy without locality load balancing, which would hide who could answer."""

_CONNECTION_EACH: Mapping[str, Any] = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}


@contextmanager
def present(
    kubes: Mapping[str, Kube], namespace: str, wanted: Mapping[str, Sequence[manifests.Manifest]]
) -> Iterator[None]:
    """The objects that are ``wanted`` in each cluster, for as long as it takes; gone again at the end, whatever happened."""
    try:
        for_each(
            lambda cluster: kubes[cluster].apply(*wanted[cluster], namespace=namespace), wanted
        )
        yield
    finally:
        for_each(lambda cluster: _remove(kubes[cluster], namespace, wanted[cluster]), wanted)


def everywhere(
    mesh: Mesh, services: Sequence[manifests.Manifest], configuration: Sequence[manifests.Manifest]
) -> dict[str, list[manifests.Manifest]]:
    """Services for every cluster with workloads, and Istio's configuration for every cluster in which a control plane reads it.

    A rule with subsets is needed in the target's cluster, too: its gateway has a filter chain for a subset only where its own control
    plane knows it.
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
    """A Service without a selector, and the endpoints that lead it to pods of another namespace, on their HTTP port."""
    ports = [{"name": "http", "port": manifests.HTTP}]
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
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv6" if any(":" in pod.ip for pod in pods) else "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"ports": ports},
        },
        slice_of,
    ]


def spreading(spec: MeshSpec) -> Mapping[str, Any]:
    """A traffic policy with which every instance gets its share of requests. Nothing, but where several clusters are behind one east-west
    gateway: that does not look into connections, and spreads them, not requests; every request has a connection to itself then."""
    return _CONNECTION_EACH if spec.several_behind_a_gateway else {}


def destination_rule(
    spec: MeshSpec,
    name: str,
    *,
    policy: Mapping[str, Any] = ANYWHERE,
    subsets: Mapping[str, Mapping[str, str]] | None = None,
) -> manifests.Manifest:
    """A rule for a Service of this namespace: its subsets by their labels, a share for every instance, and a traffic policy."""
    rule: dict[str, Any] = {"host": name, "trafficPolicy": {**policy, **spreading(spec)}}
    if subsets:
        rule["subsets"] = [
            {"name": subset, "labels": dict(labels)} for subset, labels in subsets.items()
        ]
    return {
        "apiVersion": NETWORKING,
        "kind": "DestinationRule",
        "metadata": {"name": name},
        "spec": rule,
    }


def virtual_service(name: str, routes: Sequence[Mapping[str, Any]]) -> manifests.Manifest:
    """The HTTP routes of a Service of this namespace."""
    spec = {"hosts": [name], "http": [dict(route) for route in routes]}
    return {
        "apiVersion": NETWORKING,
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": spec,
    }


def _remove(kube: Kube, namespace: str, objects: Sequence[manifests.Manifest]) -> None:
    """Delete all of them, the first ones last, side by side; the first error is raised once all were tried."""

    def delete(manifest: manifests.Manifest) -> None:
        group = str(manifest["apiVersion"]).rpartition("/")[0]
        kube.delete(
            f"{manifest['kind']}.{group}" if group else manifest["kind"],
            manifest["metadata"]["name"],
            namespace,
        )

    _all(delete, list(reversed(objects)))


def _all(work: Callable[[manifests.Manifest], None], objects: Sequence[manifests.Manifest]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=6, thread_name_prefix="objects") as pool:
        list(pool.map(work, objects))
