"""API servers lost: hung, gone, or out of reach of the other clusters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import MeshError
from ..lab.breakages import BLOCK_ADDRESS, KILL_COMPONENT, STOP_COMPONENT
from .scene import Scene

API_SERVER = "kube-apiserver"


@contextmanager
def hung(scene: Scene, cluster: str) -> Iterator[None]:
    """The API server of a cluster takes connections and never answers; connections that exist stay open, and silent."""
    with _broken(scene, cluster, STOP_COMPONENT, cluster=cluster, component=API_SERVER):
        yield


@contextmanager
def refused(scene: Scene, cluster: str) -> Iterator[None]:
    """The API server of a cluster is gone, and whoever asks is refused; at the end it is started again."""
    with _broken(scene, cluster, KILL_COMPONENT, cluster=cluster, component=API_SERVER):
        yield


@contextmanager
def unreachable(scene: Scene, cluster: str, sources: Sequence[str]) -> Iterator[None]:
    """What the clusters in ``sources`` send to the API server of ``cluster`` is lost on the way; for the cluster itself it works."""
    address, port = own_address(scene, cluster)
    with _broken(scene, cluster, BLOCK_ADDRESS, address=address, port=port, sources=list(sources)):
        yield


@contextmanager
def _broken(scene: Scene, owner: str, what: str, /, **details: Any) -> Iterator[None]:
    """Something that keeps the API server of a cluster from working, which is proven to be mended at the end."""
    with (
        scene.healed(f'API server of cluster "{owner}"', lambda: prove(scene, owner)),
        scene.controls.broken(what, for_seconds=scene.longest_seconds, **details),
    ):
        yield


def own_address(scene: Scene, cluster: str) -> tuple[str, int]:
    """Where an API server says that it is; :class:`MeshError` where it does not."""
    for item in scene.kubes[cluster].list(
        "EndpointSlice", "default", labels="kubernetes.io/service-name=kubernetes"
    ):
        for endpoint in item.get("endpoints") or ():
            return str(endpoint["addresses"][0]), int(item["ports"][0]["port"])
    raise MeshError(
        f'cluster "{cluster}"',
        "its API server's address is not known",
        "Service default/kubernetes has no endpoints",
    )


def prove(scene: Scene, cluster: str) -> None:
    """The API server is ready, takes writes, and no node of the cluster was lost."""
    kube = scene.kubes[cluster]

    def works() -> bool:
        kube.create(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "istio-mc", "namespace": "default"},
            },
            dry_run=True,
        )
        nodes = kube.list("Node")
        ready = [
            any(
                one["type"] == "Ready" and one["status"] == "True"
                for one in node["status"]["conditions"]
            )
            for node in nodes
        ]
        return kube.get_path("/readyz") == "ok" and bool(nodes) and all(ready)

    scene.until(f'cluster "{cluster}": the API server works and every node is ready', works)
