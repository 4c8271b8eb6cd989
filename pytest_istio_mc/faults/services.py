"""Endpoints lost: a service without any in one cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MeshError
from .scene import Scene
from .undo import Merge

_NOBODY = {"istio-mc.dev/nobody": "here"}


@contextmanager
def emptied(scene: Scene, cluster: str, service: str, namespace: str) -> Iterator[None]:
    """A Service selects no pod any more in one cluster; at the end it selects those that it did, and has endpoints again."""
    kube = scene.kubes[cluster]
    found = kube.read("Service", service, namespace)
    selector = (found or {}).get("spec", {}).get("selector") or {}
    if not selector:
        raise MeshError(
            f'cluster "{cluster}": Service {namespace}/{service}',
            "selects no pods",
            "so it cannot be emptied",
        )

    def has_endpoints() -> bool:
        slices = kube.list(
            "EndpointSlice", namespace, labels=f"kubernetes.io/service-name={service}"
        )
        return any(
            endpoint.get("conditions", {}).get("ready") is not False
            for item in slices
            for endpoint in item.get("endpoints") or ()
        )

    back = {"spec": {"selector": {**dict.fromkeys(_NOBODY), **selector}}}
    what = f'cluster "{cluster}": endpoints of Service {namespace}/{service}'
    with (
        scene.healed(what, lambda: scene.until(f"{what} are there", has_endpoints)),
        scene.undone([Merge(cluster, "Service", service, namespace, back)]),
    ):
        kube.merge(
            "Service",
            service,
            namespace,
            {"spec": {"selector": {**dict.fromkeys(selector), **_NOBODY}}},
        )
        yield
