"""Istiods: what the replicas of a control plane say of the clusters that they watch, asked one by one while something is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ..errors import KubeError
from .scene import Scene

DEBUG_PORT, MONITORING_PORT = 8080, 15014
_PATIENCE_SECONDS = 5.0


def replicas(scene: Scene, cluster: str) -> tuple[str, ...]:
    """The names of a control plane's pods."""
    pods = scene.kubes[cluster].list("Pod", scene.mesh.spec.istio_namespace, labels="app=istiod")
    return tuple(
        sorted(
            pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")
        )
    )


def sync_status(scene: Scene, cluster: str, pod: str, target: str) -> str:
    """What a replica says of a cluster (``synced``, ``syncing``, ``timeout``, ``initialFailure``); empty where it does not know it."""
    for entry in debug(scene, cluster, pod, "clusterz") or ():
        if entry.get("id") == target:
            return str(entry.get("syncStatus", ""))
    return ""


def debug(scene: Scene, cluster: str, pod: str, endpoint: str) -> Any:
    """A debug endpoint of a replica."""
    body = scene.kubes[cluster].http_get(
        scene.mesh.spec.istio_namespace,
        pod,
        DEBUG_PORT,
        f"/debug/{endpoint}",
        timeout_seconds=_PATIENCE_SECONDS,
    )
    try:
        return json.loads(body or b"null")
    except ValueError as error:
        raise KubeError(
            f"istiod {pod}", f"/debug/{endpoint} does not answer with JSON", str(error)
        ) from error


def metrics(scene: Scene, cluster: str, pod: str) -> dict[str, float]:
    """All samples of a replica's metrics."""
    body = scene.kubes[cluster].http_get(
        scene.mesh.spec.istio_namespace,
        pod,
        MONITORING_PORT,
        "/metrics",
        timeout_seconds=_PATIENCE_SECONDS,
    )
    samples = re.findall(
        r"^([a-zA-Z_:]\w*(?:\{[^}\n]*\})?) (\S+)$", body.decode("utf-8", "replace"), re.MULTILINE
    )
    return {name: float(value) for name, value in samples}


def log(scene: Scene, cluster: str, pod: str, since: float) -> Iterator[tuple[float, str]]:
    """The lines that a replica has logged since a moment, each with when (seconds since the epoch, by its node's clock)."""
    path = f"/api/v1/namespaces/{scene.mesh.spec.istio_namespace}/pods/{pod}/log"
    begin = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = str(
        scene.kubes[cluster].get_path(
            path, container="discovery", sinceTime=begin, timestamps="true"
        )
    )
    for line in text.splitlines():
        stamp, _, rest = line.partition(" ")
        try:
            when = datetime.fromisoformat(f"{stamp[:26].rstrip('Z')}Z").timestamp()
        except ValueError:
            continue  # the end of a line that was longer than the kubelet's limit
        if when >= since:
            yield when, rest
