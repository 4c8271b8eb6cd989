"""Mesh configuration: the ConfigMaps that control planes read it from, changed for some seconds and restored exactly.

Everything that is needed to restore one is written into it together with the change, so that whoever finds it there can: this
process at the end, the dead man's timer where it was killed, and where that was killed, too, the next run or ``istio-mc sweep``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import KubeError, MeshError, ObservationError
from ..mesh import Mesh
from ..probes import manifests
from ..probes.leftovers import ownership
from ..together import for_each
from . import deadman
from .undo import RestoreMeshConfig

if TYPE_CHECKING:
    from ..kube import Kube

ORIGINAL_ANNOTATION = "istio-mc.dev/original"
"""JSON: ``mesh``, the text that was there before the first change, and ``managedFields``, who owned the fields."""

WRITTEN_ANNOTATION = "istio-mc.dev/written"
"""SHA-256 of the text that the run wrote last: whatever else is found there is somebody else's change."""

_OURS = (
    ORIGINAL_ANNOTATION,
    WRITTEN_ANNOTATION,
    manifests.OWNER_ANNOTATION,
    manifests.STARTED_ANNOTATION,
)
_KEY = "mesh"
_TRIES = 5

Settings = list[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """Where a control plane reads its mesh configuration: a ConfigMap."""

    cluster: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class MeshConfigs:
    """The mesh configuration of every control plane of a mesh, as :func:`changeable` yields it."""

    def __init__(self, mesh: Mesh, kubes: Mapping[str, Kube], places: tuple[Place, ...]) -> None:
        self._mesh = mesh
        self._kubes = kubes
        self.places = places

    def set_service_settings(self, settings: Mapping[str, Settings]) -> None:
        """Add these ``serviceSettings`` to the original ones of the control planes that read configuration in these clusters; what
        was added before is dropped."""
        chosen = {
            f"{place.cluster}/{place}": place for place in self.places if place.cluster in settings
        }
        for_each(lambda key: self._write(chosen[key], settings[chosen[key].cluster]), chosen)

    def _write(self, place: Place, settings: Settings) -> None:
        import yaml

        kube = self._kubes[place.cluster]

        def change(item: Mapping[str, Any]) -> dict[str, Any]:
            original = _original(item) or {
                _KEY: item["data"][_KEY],
                "managedFields": item["metadata"].get("managedFields") or [],
            }
            document = yaml.safe_load(original[_KEY]) or {}
            text = yaml.safe_dump(
                document
                | {"serviceSettings": [*(document.get("serviceSettings") or []), *settings]}
            )
            notes = {
                ORIGINAL_ANNOTATION: json.dumps(original),
                WRITTEN_ANNOTATION: _digest(text),
                **ownership(),
            }
            return {
                "metadata": {
                    "labels": {manifests.RUN_LABEL: self._mesh.run_id},
                    "annotations": notes,
                },
                "data": {_KEY: text},
            }

        _change(kube, place, change)


@contextmanager
def changeable(mesh: Mesh, kubes: Mapping[str, Kube], for_seconds: float) -> Iterator[MeshConfigs]:
    """The mesh configuration of every control plane, to be changed; as it was again at the end, which is proven.

    Another process restores it where this one is killed, or takes longer than that. Raises :class:`ObservationError` where it cannot be
    found. That it could not be restored is reported beside an earlier error.
    """
    found = places(mesh, kubes)
    steps = [RestoreMeshConfig(place.cluster, place.namespace, place.name) for place in found]
    with deadman.undone(mesh, kubes, steps, for_seconds):
        yield MeshConfigs(mesh, kubes, found)


def places(mesh: Mesh, kubes: Mapping[str, Kube]) -> tuple[Place, ...]:
    """The ConfigMap of every control plane: ``istio``, or ``istio-<revision>`` of the revision that injects into the probes."""
    spec, found = mesh.spec, []
    for cluster in spec.config_clusters:
        served = [
            client.name
            for plane in spec.control_planes
            if spec.config_cluster(plane).name == cluster
            for client in spec.served_by(plane)
        ]
        for revision in sorted({revision_of(mesh, kubes[name], name) for name in served}):
            place = Place(
                cluster,
                spec.istio_namespace,
                "istio" if revision in ("", "default") else f"istio-{revision}",
            )
            item = kubes[cluster].read("ConfigMap", place.name, place.namespace)
            if item is None or _KEY not in (item.get("data") or {}):
                raise ObservationError(
                    f'cluster "{cluster}"',
                    f"find the mesh configuration in ConfigMap {place}",
                    "it is not there",
                )
            if _original(item):
                raise ObservationError(
                    f'cluster "{cluster}"',
                    f"change the mesh configuration in ConfigMap {place}",
                    f"run {item['metadata']['labels'].get(manifests.RUN_LABEL, '?')} has changed it and not restored it yet",
                    advice="wait for that run, or run `istio-mc sweep --kubeconfig=…` where it was killed",
                )
            found.append(place)
    return tuple(found)


def restore(kube: Kube, place: Place) -> bool:
    """Give a ConfigMap back the text, labels, annotations and field owners that it had before a run changed it; whether one had.

    What somebody else wrote meanwhile is left as it is. Raises :class:`MeshError` then, and where the proof fails.
    """
    before: dict[str, Any] = {}
    foreign: list[str] = []

    def change(item: Mapping[str, Any]) -> dict[str, Any] | None:
        original = _original(item)
        if original is None:
            return None
        before.update(original)
        metadata = {"labels": {manifests.RUN_LABEL: None}, "annotations": dict.fromkeys(_OURS)}
        text = (item.get("data") or {}).get(_KEY, "")
        if _digest(text) not in (
            item["metadata"]["annotations"].get(WRITTEN_ANNOTATION),
            _digest(original[_KEY]),
        ):
            foreign[:] = [text]
            return {"metadata": metadata}
        return {"metadata": metadata, "data": {_KEY: original[_KEY]}}

    item = _change(kube, place, change)
    if item is None or not before:
        return False
    if foreign:
        raise MeshError(
            f'cluster "{kube.name}": ConfigMap {place}',
            "was changed by somebody else while a check was at work on it; it is left as they wrote it",
            advice=f"see that no cluster-local setting of ours is in it: kubectl --context={kube.context} -n {place.namespace} "
            f"get configmap {place.name} -o yaml",
        )
    # The fields are owned as before, too: an owner of ours would be in the way of the next server-side apply of theirs.
    kube.merge(
        "ConfigMap",
        place.name,
        place.namespace,
        {"metadata": {"managedFields": before["managedFields"]}},
    )
    now = kube.read("ConfigMap", place.name, place.namespace) or {}
    if (now.get("data") or {}).get(_KEY) != before[_KEY] or _original(now) is not None:
        raise MeshError(
            f'cluster "{kube.name}": ConfigMap {place}',
            "was restored, but is not what it was",
            str(now)[:500],
        )
    return True


def _change(
    kube: Kube, place: Place, change: Callable[[Mapping[str, Any]], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Patch the ConfigMap with what ``change`` makes of it, provided that nobody else wrote it in between; None where there is
    nothing to change."""
    for attempt in range(_TRIES):
        item = kube.read("ConfigMap", place.name, place.namespace)
        patch = change(item) if item is not None else None
        if item is None or patch is None:
            return None
        patch["metadata"]["resourceVersion"] = item["metadata"]["resourceVersion"]
        try:
            return kube.merge("ConfigMap", place.name, place.namespace, patch)
        except KubeError as error:
            if error.status != 409 or attempt == _TRIES - 1:
                raise
    return None


def _original(item: Mapping[str, Any]) -> dict[str, Any] | None:
    text = ((item.get("metadata") or {}).get("annotations") or {}).get(ORIGINAL_ANNOTATION)
    return dict(json.loads(text)) if text else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def revision_of(mesh: Mesh, kube: Kube, cluster: str) -> str:
    """The revision of the control plane that injected the client's sidecar."""
    assert mesh.probes is not None
    pod = kube.read("Pod", mesh.probes.client(cluster).name, mesh.probes.namespace) or {}
    metadata = pod.get("metadata") or {}
    return str(
        (metadata.get("annotations") or {}).get("istio.io/rev", "")
        or (metadata.get("labels") or {}).get("istio.io/rev", "")
    )
