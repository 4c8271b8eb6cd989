"""Remote access lost: the remote secrets for a cluster removed, and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import MeshError
from ..istio_names import REMOTE_SECRETS
from ..rights import Permission
from .istiods import replicas, sync_status
from .scene import Scene
from .steps import Restore
from .undo import as_it_was


@dataclass(frozen=True)
class Held:
    """A remote secret: which control plane uses it, where it is, and which one it was."""

    control_plane: str
    holder: str
    manifest: Mapping[str, Any] = field(repr=False)
    uid: str = ""
    resource_version: str = ""

    @property
    def name(self) -> str:
        """The Secret's name."""
        return str(self.manifest["metadata"]["name"])


def held_for(scene: Scene, target: str) -> tuple[Held, ...]:
    """The remote secrets with which control planes elsewhere reach a cluster.

    Raises :class:`MeshError` where there is none.
    """
    spec, namespace = scene.mesh.spec, scene.mesh.spec.istio_namespace
    found = []
    for plane in spec.control_planes:
        if spec.cluster(target) in spec.watched_by(plane):
            holder = spec.config_cluster(plane).name
            secrets = scene.kubes[holder].list("Secret", namespace, labels=REMOTE_SECRETS)
            found += [
                Held(
                    plane.name,
                    holder,
                    as_it_was(secret),
                    secret["metadata"].get("uid", ""),
                    secret["metadata"].get("resourceVersion", ""),
                )
                for secret in secrets
                if target in (secret.get("data") or {})
            ]
    if not found:
        problem = "no control plane elsewhere holds a remote secret for it"
        raise MeshError(f'cluster "{target}"', problem)
    return tuple(found)


@contextmanager
def remote_secret_removed(scene: Scene, target: str) -> Iterator[tuple[Held, ...]]:
    """All remote secrets for a cluster are gone.

    - Raises :class:`NotAllowed` where that was not permitted.
    - At the end they are back, and every control plane has synchronised the cluster again.
    """
    what = f'removing the remote secrets for cluster "{target}"'
    scene.mesh.demand(Permission.REMOTE_SECRETS, what)
    held = held_for(scene, target)
    with (
        scene.healed(f'remote access to cluster "{target}"', lambda: prove(scene, target, held)),
        scene.undone([Restore(entry.holder, _with_kind(entry.manifest)) for entry in held]),
    ):
        for entry in held:
            scene.kubes[entry.holder].delete(
                "Secret",
                entry.name,
                scene.mesh.spec.istio_namespace,
                uid=entry.uid,
                resource_version=entry.resource_version,
            )
        yield held


def prove(scene: Scene, target: str, held: Sequence[Held]) -> None:
    """Wait until every replica of the holders' control planes has synchronised the cluster."""
    for plane in dict.fromkeys(entry.control_plane for entry in held):

        def synced(plane: str = plane) -> bool:
            found = replicas(scene, plane)
            return bool(found) and all(
                sync_status(scene, plane, pod, target) == "synced" for pod in found
            )

        what = f'istiod in cluster "{plane}" says that cluster "{target}" is synchronised'
        scene.until(what, synced)


def _with_kind(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its kind, which lists leave out of their items."""
    return {"apiVersion": "v1", "kind": "Secret", **manifest}
