"""Istiods: a control plane's replicas, asked one by one while something is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ..errors import KubeError
from ..istio_names import ISTIOD_PODS
from .scene import Scene

DEBUG_PORT, MONITORING_PORT = 8080, 15014
_PATIENCE_SECONDS = 5.0
_SAMPLE = re.compile(r"^([a-zA-Z_:]\w*(?:\{[^}\n]*\})?) (\S+)$", re.MULTILINE)


def replicas(scene: Scene, cluster: str) -> tuple[str, ...]:
    """The names of a control plane's pods."""
    pods = scene.kubes[cluster].list("Pod", scene.mesh.spec.istio_namespace, labels=ISTIOD_PODS)
    metadata = [pod["metadata"] for pod in pods]
    return tuple(sorted(one["name"] for one in metadata if not one.get("deletionTimestamp")))


def sync_status(scene: Scene, cluster: str, pod: str, target: str) -> str:
    """What a replica says of a cluster.

    ``synced``, ``syncing``, ``timeout`` or ``initialFailure``; empty where it does not know it.
    """
    for entry in debug(scene, cluster, pod, "clusterz") or ():
        if entry.get("id") == target:
            return str(entry.get("syncStatus", ""))
    return ""


def debug(scene: Scene, cluster: str, pod: str, endpoint: str) -> Any:
    """What a debug endpoint of a replica answers."""
    path = f"/debug/{endpoint}"
    body = _get(scene, cluster, pod, DEBUG_PORT, path)
    try:
        return json.loads(body or b"null")
    except ValueError as error:
        step = f"{path} does not answer with JSON"
        raise KubeError(f"istiod {pod}", step, str(error)) from error


def metrics(scene: Scene, cluster: str, pod: str) -> dict[str, float]:
    """All samples of a replica's metrics."""
    text = _get(scene, cluster, pod, MONITORING_PORT, "/metrics").decode("utf-8", "replace")
    return {name: float(value) for name, value in _SAMPLE.findall(text)}


def log(scene: Scene, cluster: str, pod: str, since: float) -> Iterator[tuple[float, str]]:
    """The lines that a replica logged since a moment, with their times.

    Times are seconds since the epoch, by the clock of the replica's node.
    """
    path = f"/api/v1/namespaces/{scene.mesh.spec.istio_namespace}/pods/{pod}/log"
    begin = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    options = {"container": "discovery", "sinceTime": begin, "timestamps": "true"}
    text = str(scene.kubes[cluster].get_path(path, **options))
    for line in text.splitlines():
        stamp, _, rest = line.partition(" ")
        try:
            when = datetime.fromisoformat(f"{stamp[:26].rstrip('Z')}Z").timestamp()
        except ValueError:
            continue  # the end of a line that was longer than the kubelet's limit
        if when >= since:
            yield when, rest


def _get(scene: Scene, cluster: str, pod: str, port: int, path: str) -> bytes:
    namespace = scene.mesh.spec.istio_namespace
    kube = scene.kubes[cluster]
    return kube.http_get(namespace, pod, port, path, timeout_seconds=_PATIENCE_SECONDS)
