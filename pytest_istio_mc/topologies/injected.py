"""Injected workloads: which istiod their proxies are of, and restarts that give them another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import MeshError
from ..eventually import eventually
from ..istio_names import INJECTION_LABEL, REVISION_LABEL, is_default

if TYPE_CHECKING:
    from ..kube import Kube

Object = Mapping[str, Any]

RESTARTABLE = ("Deployment", "StatefulSet", "DaemonSet")

_STATUS = "sidecar.istio.io/status"  # istiod writes it into each pod that it injects
_TEMPLATES = "inject.istio.io/templates"
_RESTARTED = "kubectl.kubernetes.io/restartedAt"  # as `kubectl rollout restart` does
_BEFORE = "istio-mc.dev/injection-before-upgrade"


@dataclass(frozen=True)
class Workload:
    """What a pod belongs to, and can be restarted as.

    ``kind`` is Pod where it belongs to nothing.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Proxy:
    """A pod with a proxy: its revision, the proxy's image, and what it belongs to.

    ``created`` is Kubernetes' text of the time, exact to a second.
    """

    workload: Workload
    revision: str
    image: str
    created: str
    gateway: bool


@dataclass(frozen=True)
class Aim:
    """The istiod that proxies are to be of.

    - ``since``: they must have been made after that time (Kubernetes' text).
    - Pods with the label ``spared`` stay as they are.
    """

    revision: str
    image: str
    since: str = ""
    spared: str = ""

    def has(self, proxy: Proxy) -> bool:
        """Whether a proxy is of that istiod."""
        return (
            same_revision(proxy.revision, self.revision)
            and proxy.image == self.image
            and proxy.created > self.since
        )


def same_revision(one: str, other: str) -> bool:
    """Whether two names are of one revision; the default one has two."""
    return one == other or (is_default(one) and is_default(other))


def proxies(kube: Kube, spared: str = "") -> list[Proxy]:
    """The injected pods of a cluster that are not about to go.

    Those with the label ``spared`` are left out.
    """
    owners = {
        (entry["metadata"]["namespace"], entry["metadata"]["name"]): _controller(entry)
        for entry in kube.list("ReplicaSet", metadata_only=True)
    }

    def workload(pod: Object) -> Workload:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        owner = _controller(pod)
        if owner and owner[0] == "ReplicaSet":
            owner = owners.get((namespace, owner[1])) or owner
        kind, named = owner or ("Pod", name)
        return Workload(kind, namespace, named)

    return [
        Proxy(
            workload(pod),
            _revision_of(pod),
            image,
            pod["metadata"]["creationTimestamp"],
            _annotations(pod).get(_TEMPLATES) == "gateway",
        )
        for pod in kube.list("Pod")
        if _STATUS in _annotations(pod)
        and not (spared and spared in (pod["metadata"].get("labels") or {}))
        and "deletionTimestamp" not in pod["metadata"]
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and (image := _proxy_image(pod))
    ]


def turn_namespaces(kube: Kube, source: str, target: str) -> None:
    """Have namespaces that are injected by one revision be injected by another.

    What they had before is noted on them, and put back where ``target`` is what that was.
    """
    for namespace in kube.list("Namespace"):
        metadata = namespace["metadata"]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        has = {name: labels.get(name) for name in (INJECTION_LABEL, REVISION_LABEL)}
        if not _follows(has, source):
            continue
        before = json.loads(annotations.get(_BEFORE, "null"))
        if before and _follows(before, target):
            wanted: dict[str, str | None] = before
            note = None
        elif is_default(target):
            wanted, note = {INJECTION_LABEL: "enabled", REVISION_LABEL: None}, None
        else:
            wanted, note = {INJECTION_LABEL: None, REVISION_LABEL: target}, json.dumps(has)
        patch = {"metadata": {"labels": wanted, "annotations": {_BEFORE: note}}}
        kube.merge("Namespace", metadata["name"], None, patch)


def restart(kube: Kube, workload: Workload, revision: str) -> None:
    """Restart a workload, with pods of that revision.

    - Where the pods name a revision, or their namespace has none, they name this one then. What
      they had before is noted on the workload, and put back where ``revision`` is what that was.
    """
    found = kube.read(workload.kind, workload.name, workload.namespace)
    if found is None:
        return
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    template: dict[str, Any] = {"annotations": {_RESTARTED: now}}
    patch: dict[str, Any] = {"spec": {"template": {"metadata": template}}}
    label = (found["spec"]["template"]["metadata"].get("labels") or {}).get(REVISION_LABEL)
    namespace = kube.read("Namespace", workload.namespace) or {"metadata": {}}
    by_namespace = label is None and _is_injected(namespace["metadata"].get("labels") or {})
    if not by_namespace and not same_revision(label or "", revision):
        before = json.loads(_annotations(found).get(_BEFORE, "null"))
        restored = before is not None and same_revision(before.get(REVISION_LABEL) or "", revision)
        if restored:
            wanted, note = before[REVISION_LABEL], None
        else:
            wanted, note = revision or "default", json.dumps({REVISION_LABEL: label})
        template["labels"] = {REVISION_LABEL: wanted}
        patch["metadata"] = {"annotations": {_BEFORE: note}}
    kube.merge(workload.kind, workload.name, workload.namespace, patch)


def wait_rolled_out(kube: Kube, workload: Workload, within_seconds: float) -> None:
    """Wait until a workload's latest state is what runs and is ready."""
    if workload.kind == "Deployment":
        named = [(workload.kind, workload.name)]
        kube.wait_available(named, workload.namespace, within_seconds=within_seconds)
        return
    eventually(
        lambda: kube.read(workload.kind, workload.name, workload.namespace) or {},
        lambda found: not found or _rolled_out(found),
        within_seconds=within_seconds,
        what=f'cluster "{kube.name}": {workload} has rolled out',
    )


def restart_until(
    kube: Kube, aim: Aim, *, gateways: bool, within_seconds: float
) -> tuple[Workload, ...]:
    """Restart the workloads, or the gateways, that are not of that istiod, in waves.

    - A wave is a namespace; the next begins when the last one has rolled out.
    - Returns what cannot be restarted: pods that belong to nothing, and jobs.
    - :class:`MeshError`: one is of another istiod also after its restart.
    """
    late = _late(kube, aim, gateways=gateways)
    waves: dict[str, list[Workload]] = {}
    for workload in late:
        if workload.kind in RESTARTABLE:
            waves.setdefault(workload.namespace, []).append(workload)
    for wave in waves.values():
        for workload in wave:
            restart(kube, workload, aim.revision)
        for workload in wave:
            wait_rolled_out(kube, workload, within_seconds)
    still = _late(kube, aim, gateways=gateways)
    if restarted := [one for one in still if one.kind in RESTARTABLE]:
        raise MeshError(
            f'cluster "{kube.name}"',
            f"{', '.join(map(str, restarted))}: restarted, and still not of revision "
            f"{aim.revision or 'default'}",
            advice="look at the labels of its namespace and of its pods "
            f"({INJECTION_LABEL}, {REVISION_LABEL}), then run the same command again",
        )
    return still


def _late(kube: Kube, aim: Aim, *, gateways: bool) -> tuple[Workload, ...]:
    found = proxies(kube, aim.spared)
    late = (one for one in found if one.gateway == gateways and not aim.has(one))
    return tuple(dict.fromkeys(one.workload for one in late))


def _follows(labels: Mapping[str, str | None], revision: str) -> bool:
    """Whether a namespace with these labels is injected by that revision."""
    if labels.get(INJECTION_LABEL) == "enabled":
        return is_default(revision)  # istio-injection goes before istio.io/rev
    named = labels.get(REVISION_LABEL)
    return named is not None and same_revision(named, revision)


def _is_injected(labels: Mapping[str, str]) -> bool:
    return labels.get(INJECTION_LABEL) == "enabled" or REVISION_LABEL in labels


def _rolled_out(found: Object) -> bool:
    status, generation = found.get("status", {}), found["metadata"]["generation"]
    wanted = status.get("desiredNumberScheduled", found["spec"].get("replicas", 1))
    updated = status.get("updatedNumberScheduled", status.get("updatedReplicas", 0))
    ready = status.get("numberReady", status.get("readyReplicas", 0))
    return bool(status.get("observedGeneration", 0) >= generation and updated == ready == wanted)


def _revision_of(pod: Object) -> str:
    try:
        told = json.loads(_annotations(pod)[_STATUS])
    except ValueError:
        return ""
    return str(told.get("revision", "")) if isinstance(told, Mapping) else ""


def _proxy_image(pod: Object) -> str:
    return next((one["image"] for one in _containers(pod) if one["name"] == "istio-proxy"), "")


def _containers(pod: Object) -> Iterator[Object]:
    yield from pod["spec"]["containers"]
    yield from pod["spec"].get("initContainers") or ()


def _annotations(item: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = item["metadata"].get("annotations") or {}
    return found


def _controller(item: Object) -> tuple[str, str] | None:
    for owner in item["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return owner["kind"], owner["name"]
    return None
