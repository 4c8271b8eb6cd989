"""Pods lost: those of control planes and of east-west gateways; their Deployments bring others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import MeshError
from ..observations import GatewayAddress
from .scene import Scene
from .undo import Merge


@dataclass(frozen=True)
class Workload:
    """A Deployment and the names of its pods, as they were before one of them was lost."""

    cluster: str
    namespace: str
    deployment: str
    pods: tuple[str, ...]


@contextmanager
def istiod_restarted(scene: Scene, cluster: str) -> Iterator[Workload]:
    """All pods of the control plane in a cluster are killed at once; at the end there are as many others, all of them ready."""
    found = workload(scene, cluster, scene.mesh.spec.istio_namespace, "app=istiod")
    with _replaced(scene, found, found.pods):
        yield found


@contextmanager
def gateway_killed(scene: Scene, gateway: GatewayAddress) -> Iterator[Workload]:
    """One pod of an east-west gateway is killed; at the end the gateway has as many as before, all of them ready."""
    found = gateway_workload(scene, gateway)
    with _replaced(scene, found, found.pods[:1]):
        yield found


def gateway_workload(scene: Scene, gateway: GatewayAddress) -> Workload:
    """The Deployment behind a gateway's Service."""
    namespace, name = gateway.service.split("/")
    service = scene.kubes[gateway.cluster].read("Service", name, namespace)
    selector = (service or {}).get("spec", {}).get("selector") or {}
    if not selector:
        raise MeshError(
            f'cluster "{gateway.cluster}": gateway {gateway.service}',
            "its pods are not known",
            "its Service selects none",
        )
    return workload(
        scene,
        gateway.cluster,
        namespace,
        ",".join(f"{key}={value}" for key, value in selector.items()),
    )


def workload(scene: Scene, cluster: str, namespace: str, labels: str) -> Workload:
    """The Deployment of the pods with these labels; :class:`MeshError` where it is not exactly one."""
    kube = scene.kubes[cluster]
    pods = [
        pod
        for pod in kube.list("Pod", namespace, labels=labels)
        if not pod["metadata"].get("deletionTimestamp")
    ]
    owners = {
        owner["name"]
        for pod in pods
        for owner in pod["metadata"].get("ownerReferences") or ()
        if owner["kind"] == "ReplicaSet"
    }
    sets = [
        item for item in kube.list("ReplicaSet", namespace) if item["metadata"]["name"] in owners
    ]
    names = {
        owner["name"] for item in sets for owner in item["metadata"].get("ownerReferences") or ()
    }
    if len(names) != 1:
        raise MeshError(
            f'cluster "{cluster}": pods {labels} in {namespace}',
            "do not belong to one Deployment",
            f"to {sorted(names) or 'none'}",
        )
    return Workload(
        cluster, namespace, names.pop(), tuple(sorted(pod["metadata"]["name"] for pod in pods))
    )


@contextmanager
def scaled(scene: Scene, found: Workload, replicas: int) -> Iterator[None]:
    """The Deployment has so many pods, all of them available; at the end as many as before."""
    kube = scene.kubes[found.cluster]
    deployment = kube.read("Deployment", found.deployment, found.namespace)
    if deployment is None:
        raise MeshError(
            f'cluster "{found.cluster}": Deployment {found.namespace}/{found.deployment}', "is gone"
        )
    before = int(deployment["spec"].get("replicas", 1))
    back = Merge(
        found.cluster,
        "Deployment",
        found.deployment,
        found.namespace,
        {"spec": {"replicas": before}},
    )
    with scene.healed(_name(found), lambda: _prove(scene, found, ())), scene.undone([back]):
        kube.merge(
            "Deployment", found.deployment, found.namespace, {"spec": {"replicas": replicas}}
        )
        kube.wait_available(
            [("Deployment", found.deployment)],
            found.namespace,
            within_seconds=scene.timeouts.control_plane_ready,
        )
        yield


@contextmanager
def _replaced(scene: Scene, found: Workload, killed: Sequence[str]) -> Iterator[None]:
    """Delete pods without giving them time to say goodbye; at the end wait for others in their place."""
    with scene.healed(_name(found), lambda: _prove(scene, found, killed)):
        for pod in killed:
            scene.kubes[found.cluster].delete("Pod", pod, found.namespace, grace_seconds=0)
        yield


def _prove(scene: Scene, found: Workload, killed: Sequence[str]) -> None:
    """The Deployment has as many ready pods as it had before, none of them killed."""

    def ready() -> bool:
        here = [
            pod for pod in pods_of(scene, found) if not pod["metadata"].get("deletionTimestamp")
        ]
        return len(here) == len(found.pods) and all(
            pod["metadata"]["name"] not in killed and is_ready(pod) for pod in here
        )

    scene.until(f"{_name(found)} has {len(found.pods)} ready pods", ready)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the kubelet says that a pod is ready."""
    return any(
        entry["type"] == "Ready" and entry["status"] == "True"
        for entry in pod["status"].get("conditions") or ()
    )


def _name(found: Workload) -> str:
    return f'cluster "{found.cluster}": Deployment {found.namespace}/{found.deployment}'


def pods_of(scene: Scene, found: Workload) -> list[dict[str, Any]]:
    """The Deployment's pods as they are now."""
    deployment = (
        scene.kubes[found.cluster].read("Deployment", found.deployment, found.namespace) or {}
    )
    labels = deployment.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    return scene.kubes[found.cluster].list(
        "Pod", found.namespace, labels=",".join(f"{key}={value}" for key, value in labels.items())
    )
