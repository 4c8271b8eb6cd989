"""API servers lost: hung, gone, or out of reach of other clusters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..lab.breakages import BLOCK_ADDRESS, KILL_COMPONENT, STOP_COMPONENT
from .alone import alone, silent
from .pods import is_ready
from .scene import Scene

API_SERVER = "kube-apiserver"

_TRIAL = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "istio-mc", "namespace": "default"},
}


@contextmanager
def hung(scene: Scene, cluster: str) -> Iterator[None]:
    """A cluster's API server takes connections and never answers.

    Connections that exist stay open, and silent.
    """
    with _broken(scene, cluster, STOP_COMPONENT):
        yield


@contextmanager
def refused(scene: Scene, cluster: str) -> Iterator[None]:
    """A cluster's API server is gone; at the end it is started again."""
    with _broken(scene, cluster, KILL_COMPONENT):
        yield


@contextmanager
def address_unreachable(
    scene: Scene, address: str, port: int, sources: Sequence[str]
) -> Iterator[None]:
    """Packets of the clusters ``sources`` to an address and port are lost.

    So are those on connections that exist.
    """
    details = {"address": address, "port": port, "sources": list(sources)}
    with scene.controls.broken(BLOCK_ADDRESS, for_seconds=scene.longest_seconds, **details):
        yield


@contextmanager
def _broken(scene: Scene, cluster: str, what: str) -> Iterator[None]:
    """Break a cluster's API server, and prove it mended at the end."""
    seconds = scene.longest_seconds
    with (
        alone(scene.mesh, scene.kubes),
        silent(scene.mesh, scene.kubes[cluster], seconds),
        scene.healed(f'API server of cluster "{cluster}"', lambda: prove(scene, cluster)),
        scene.controls.broken(what, for_seconds=seconds, cluster=cluster, component=API_SERVER),
    ):
        yield


def prove(scene: Scene, cluster: str) -> None:
    """Wait until the API server takes writes and every node is ready."""
    kube = scene.kubes[cluster]

    def works() -> bool:
        kube.create(_TRIAL, dry_run=True)
        nodes = kube.list("Node")
        return kube.get_path("/readyz") == "ok" and bool(nodes) and all(map(is_ready, nodes))

    scene.until(f'cluster "{cluster}": the API server works and every node is ready', works)
