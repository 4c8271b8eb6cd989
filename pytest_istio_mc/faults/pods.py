"""Pods lost: those of control planes and east-west gateways, which Deployments replace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import MeshError
from ..istio_names import ISTIOD_PODS
from ..observations import GatewayAddress
from ..rights import Permission
from .owners import changed
from .scene import Scene
from .steps import Merge
from .undo import Manifest


@dataclass(frozen=True)
class Workload:
    """A Deployment and the names of its pods before one was lost."""

    cluster: str
    namespace: str
    deployment: str
    pods: tuple[str, ...]


@contextmanager
def istiod_restarted(scene: Scene, cluster: str) -> Iterator[Workload]:
    """All pods of a cluster's control plane are killed at once.

    At the end there are as many others, all of them ready.
    """
    found = workload(scene, cluster, scene.mesh.spec.istio_namespace, ISTIOD_PODS)
    with _replaced(scene, found, found.pods):
        yield found


@contextmanager
def gateway_killed(scene: Scene, gateway: GatewayAddress) -> Iterator[Workload]:
    """One pod of an east-west gateway is killed.

    - Raises :class:`NotAllowed` where no other one is ready, and that was not permitted.
    - At the end the gateway has as many as before, all of them ready.
    """
    found = gateway_workload(scene, gateway)
    demand_spare(scene, found)
    with _replaced(scene, found, found.pods[:1]):
        yield found


def demand_spare(scene: Scene, found: Workload) -> None:
    """See that another pod is ready when the first one is killed, unless none is demanded.

    Raises :class:`NotAllowed`.
    """
    if not scene.mesh.allows(Permission.SINGLE_GATEWAYS):
        ready = {pod["metadata"]["name"] for pod in pods_of(scene, found) if is_ready(pod)}
        if not ready.difference(found.pods[:1]):
            what = f"killing the only ready pod of {_name(found)}"
            scene.mesh.demand(Permission.SINGLE_GATEWAYS, what)


def gateway_workload(scene: Scene, gateway: GatewayAddress) -> Workload:
    """The Deployment behind a gateway's Service."""
    namespace, _, name = gateway.service.partition("/")
    if not name:
        thing, step = f"gateway {gateway.address} of {gateway.network}", "its pods are not known"
        raise MeshError(thing, step, "no Service has its address")
    service = scene.kubes[gateway.cluster].read("Service", name, namespace)
    selector = (service or {}).get("spec", {}).get("selector") or {}
    if not selector:
        thing = f'cluster "{gateway.cluster}": gateway {gateway.service}'
        raise MeshError(thing, "its pods are not known", "its Service selects none")
    return workload(scene, gateway.cluster, namespace, _labels(selector))


def workload(scene: Scene, cluster: str, namespace: str, labels: str) -> Workload:
    """The Deployment of the pods with these labels.

    Raises :class:`MeshError` where it is not exactly one.
    """
    kube = scene.kubes[cluster]
    pods = list(filter(_stays, kube.list("Pod", namespace, labels=labels)))
    owners = [owner for pod in pods for owner in _owners(pod)]
    owned = {owner["name"] for owner in owners if owner["kind"] == "ReplicaSet"}
    sets = kube.list("ReplicaSet", namespace)
    sets = [item for item in sets if item["metadata"]["name"] in owned]
    names = {owner["name"] for item in sets for owner in _owners(item)}
    if len(names) != 1:
        thing = f'cluster "{cluster}": pods {labels} in {namespace}'
        raise MeshError(thing, "do not belong to one Deployment", f"to {sorted(names) or 'none'}")
    before = sorted(pod["metadata"]["name"] for pod in pods)
    return Workload(cluster, namespace, names.pop(), tuple(before))


@contextmanager
def scaled(scene: Scene, found: Workload, replicas: int) -> Iterator[None]:
    """The Deployment has so many available pods; at the end as many as before."""
    kube, name, namespace = scene.kubes[found.cluster], found.deployment, found.namespace
    deployment = kube.read("Deployment", name, namespace)
    if deployment is None:
        raise MeshError(_name(found), "is gone")
    before = {"spec": {"replicas": int(deployment["spec"].get("replicas", 1))}}
    ours = {"spec": {"replicas": replicas}}
    owners = deployment["metadata"].get("managedFields") or ()
    back = Merge(found.cluster, "Deployment", name, namespace, before, ours, tuple(owners))
    with scene.healed(_name(found), lambda: _prove(scene, found, ())), scene.undone([back]):
        _scale(scene, found, before, ours)
        seconds = scene.timeouts.control_plane_ready
        kube.wait_available([("Deployment", name)], namespace, within_seconds=seconds)
        yield


def _scale(scene: Scene, found: Workload, before: Manifest, after: Manifest) -> None:
    """Change the number of pods, unless somebody else has since it was read."""

    def change(item: Mapping[str, Any]) -> dict[str, Any]:
        if int(item["spec"].get("replicas", 1)) != before["spec"]["replicas"]:
            raise MeshError(_name(found), "is being scaled by somebody else")
        return dict(after)

    changed(scene.kubes[found.cluster], "Deployment", found.deployment, found.namespace, change)


@contextmanager
def _replaced(scene: Scene, found: Workload, killed: Sequence[str]) -> Iterator[None]:
    """Delete pods without a grace period; at the end wait for others."""
    with scene.healed(_name(found), lambda: _prove(scene, found, killed)):
        for pod in killed:
            scene.kubes[found.cluster].delete("Pod", pod, found.namespace, grace_seconds=0)
        yield


def _prove(scene: Scene, found: Workload, killed: Sequence[str]) -> None:
    """Wait until there are as many ready pods as before, none of them killed."""

    def ready() -> bool:
        here = list(filter(_stays, pods_of(scene, found)))
        return len(here) == len(found.pods) and all(
            pod["metadata"]["name"] not in killed and is_ready(pod) for pod in here
        )

    scene.until(f"{_name(found)} has {len(found.pods)} ready pods", ready)


def pods_of(scene: Scene, found: Workload) -> list[dict[str, Any]]:
    """The Deployment's pods as they are now."""
    kube = scene.kubes[found.cluster]
    deployment = kube.read("Deployment", found.deployment, found.namespace) or {}
    labels = deployment.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    return kube.list("Pod", found.namespace, labels=_labels(labels))


def is_ready(item: Mapping[str, Any]) -> bool:
    """Whether the kubelet says that a pod or node is ready."""
    conditions = item["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _name(found: Workload) -> str:
    return f'cluster "{found.cluster}": Deployment {found.namespace}/{found.deployment}'


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _owners(item: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return item["metadata"].get("ownerReferences") or ()


def _stays(pod: Mapping[str, Any]) -> bool:
    return not pod["metadata"].get("deletionTimestamp")
