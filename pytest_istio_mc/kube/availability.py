"""Availability: waits for Deployments, and says what their pods wait for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import shell
from ..errors import KubeError, NotInTime
from .failures import may_pass
from .objects import Objects

_LOG_LINES = 10
_PAUSE_SECONDS = 0.5


def wait_available(
    kube: Objects, kind_and_name: Sequence[tuple[str, str]], namespace: str, within_seconds: float
) -> None:
    """Do what :meth:`Kube.wait_available` promises."""
    if odd := [kind for kind, _ in kind_and_name if kind != "Deployment"]:
        raise ValueError(f"only Deployments can be waited for, not {', '.join(odd)}")
    waiting = {name for _, name in kind_and_name}
    deadline = time.monotonic() + within_seconds
    while waiting:
        collection = kube.get_path(f"/apis/apps/v1/namespaces/{namespace}/deployments")
        there = [entry for entry in collection["items"] if is_available(entry)]
        waiting -= {entry["metadata"]["name"] for entry in there}
        left = deadline - time.monotonic()
        if not waiting:
            return
        if left <= 0:
            raise _not_in_time(kube, namespace, sorted(waiting), within_seconds)
        try:
            version = collection["metadata"]["resourceVersion"]
            changes = kube.watch("Deployment", namespace, version, within_seconds=left)
            for change, deployment in changes:
                if change == "ERROR":
                    break  # the version is too old: list again
                if change != "DELETED" and is_available(deployment):
                    waiting.discard(deployment["metadata"]["name"])
                if not waiting or time.monotonic() >= deadline:
                    break
        except KubeError as error:
            if time.monotonic() >= deadline:
                raise _not_in_time(kube, namespace, sorted(waiting), within_seconds) from error
            if not may_pass(error):
                raise
            time.sleep(min(_PAUSE_SECONDS, left))  # then list again, which is patient itself


def is_available(deployment: Mapping[str, Any]) -> bool:
    """Whether a Deployment's latest state has rolled out and is available."""
    status = deployment.get("status", {})
    replicas = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == replicas
        and status.get("availableReplicas", 0) == replicas
    )


def _not_in_time(
    kube: Objects, namespace: str, names: Sequence[str], within_seconds: float
) -> NotInTime:
    reasons: list[str] = []
    log: list[str] = []
    for name in names:
        try:
            reasons.append(f"{name}: " + "; ".join(_reasons(kube, namespace, name, log)))
        except KubeError as error:
            reasons.append(f"{name}: and its pods could not be read: {error}")
    return NotInTime(
        f'cluster "{kube.name}": {", ".join(names)} in namespace {namespace}',
        f"not available after {within_seconds:g} s",
        " | ".join(reasons),
        log_tail=log,
        advice=shell.kubectl(kube.context, "describe pods", namespace=namespace),
    )


def _reasons(kube: Objects, namespace: str, name: str, log: list[str]) -> Iterator[str]:
    deployment = kube.read("Deployment", name, namespace)
    if deployment is None:
        yield "there is no such Deployment"
        return
    selector = deployment["spec"]["selector"]["matchLabels"]
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = kube.list("Pod", namespace, labels=labels)
    events = kube.list("Event", namespace)
    if not pods:
        yield "no pod was made"
        replica_sets = kube.list("ReplicaSet", namespace, labels=labels)
        names = [name, *(entry["metadata"]["name"] for entry in replica_sets)]
        yield from _last_event(events, names)
    for pod in pods:
        pod_name = pod["metadata"]["name"]
        yield f"pod {pod_name} is {pod['status'].get('phase')}"
        yield from _container_states(pod)
        yield from _last_event(events, [pod_name])
        log.extend(_log_of_first_unready(kube, namespace, pod))


def _container_states(pod: Mapping[str, Any]) -> Iterator[str]:
    status = pod["status"]
    initial = status.get("initContainerStatuses", [])
    for container in [*initial, *status.get("containerStatuses", [])]:
        for kind, details in container.get("state", {}).items():
            if kind == "running" and container.get("ready"):
                continue
            told = [details.get("reason", ""), details.get("message", "")]
            if "exitCode" in details:
                told.append(f"exit code {details['exitCode']}")
            text = ", ".join(filter(None, told))
            if not (kind == "terminated" and details.get("exitCode") == 0):
                unready = "running but not ready" if kind == "running" else kind
                yield f"container {container['name']} {unready}" + (f" ({text})" if text else "")
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            yield f"not scheduled: {condition.get('message', condition.get('reason', ''))}"


def _last_event(events: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    mine = [event for event in events if event["involvedObject"].get("name") in names]
    if mine:
        last = max(mine, key=lambda one: one.get("lastTimestamp") or one.get("eventTime") or "")
        yield f"last event: {last.get('reason')}: {last.get('message')}"


def _log_of_first_unready(kube: Objects, namespace: str, pod: Mapping[str, Any]) -> Iterator[str]:
    pod_name = pod["metadata"]["name"]
    for status in pod["status"].get("containerStatuses", []):
        if status.get("ready"):
            continue
        name = status["name"]
        gone = "running" not in status.get("state", {}) and status.get("restartCount", 0) > 0
        try:
            text = kube.logs(namespace, pod_name, name, tail_lines=_LOG_LINES, previous=gone)
        except KubeError:
            continue  # a container that has never run has no log
        yield from (f"{pod_name}/{name}: {line}" for line in text.splitlines())
        return
