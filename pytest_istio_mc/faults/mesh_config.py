"""Mesh configuration: the control planes' ConfigMaps, changed for seconds and restored exactly.

Each change carries all that is needed to restore the original, for any of these to do it:

- this process, at the end;
- the dead man's timer, where this process was killed;
- the next run or ``istio-mc sweep``, where the timer was killed, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import shell
from ..errors import KubeError, MeshError, ObservationError
from ..istio_names import REVISION_LABEL
from ..mesh import Mesh
from ..probes import manifests
from ..probes.leftovers import ownership
from ..together import for_each
from . import deadman
from .undo import Step

if TYPE_CHECKING:
    from ..kube import Kube

ORIGINAL_ANNOTATION = "istio-mc.dev/original"
"""JSON: ``mesh``, the text before the first change, and ``managedFields``, who owned the fields."""

WRITTEN_ANNOTATION = "istio-mc.dev/written"
"""SHA-256 of the text that the run wrote last; any other text is somebody else's change."""

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


@dataclass(frozen=True)
class RestoreMeshConfig(Step):
    """Restore a ConfigMap of mesh configuration from a run's notes in it."""

    cluster: str
    namespace: str
    name: str

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Restore it, and prove it, unless that has been done already."""
        restore(kubes[self.cluster], Place(self.cluster, self.namespace, self.name))


class MeshConfigs:
    """The mesh configuration of every control plane, as :func:`changeable` yields it."""

    def __init__(self, mesh: Mesh, kubes: Mapping[str, Kube], places: tuple[Place, ...]) -> None:
        self._mesh = mesh
        self._kubes = kubes
        self.places = places

    def set_service_settings(self, settings: Mapping[str, Settings]) -> None:
        """Add ``serviceSettings`` to the original ones of control planes.

        They are given by the cluster in which the control plane reads configuration. What was
        added before is dropped.
        """
        chosen = [place for place in self.places if place.cluster in settings]
        for_each(lambda place: self._write(place, settings[place.cluster]), chosen)

    def _write(self, place: Place, settings: Settings) -> None:
        import yaml

        kube = self._kubes[place.cluster]

        def change(item: Mapping[str, Any]) -> dict[str, Any]:
            original = _original(item) or {
                _KEY: item["data"][_KEY],
                "managedFields": item["metadata"].get("managedFields") or [],
            }
            document = yaml.safe_load(original[_KEY]) or {}
            theirs = document.get("serviceSettings") or []
            text = yaml.safe_dump(document | {"serviceSettings": [*theirs, *settings]})
            notes = {
                ORIGINAL_ANNOTATION: json.dumps(original),
                WRITTEN_ANNOTATION: _digest(text),
                **ownership(),
            }
            labels = {manifests.RUN_LABEL: self._mesh.run_id}
            return {"metadata": {"labels": labels, "annotations": notes}, "data": {_KEY: text}}

        _change(kube, place, change)


@contextmanager
def changeable(mesh: Mesh, kubes: Mapping[str, Kube], for_seconds: float) -> Iterator[MeshConfigs]:
    """The mesh configuration of every control plane, to be changed.

    - At the end it is as it was, which is proven. Another process restores it where this one is
      killed, or takes longer than ``for_seconds``.
    - Raises :class:`ObservationError` where it cannot be found, and :class:`MeshError` where it
      could not be restored: beside an earlier error, never in its place.
    """
    found = places(mesh, kubes)
    steps = [RestoreMeshConfig(place.cluster, place.namespace, place.name) for place in found]
    with deadman.undone(mesh, kubes, steps, for_seconds):
        yield MeshConfigs(mesh, kubes, found)


def places(mesh: Mesh, kubes: Mapping[str, Kube]) -> tuple[Place, ...]:
    """The ConfigMap of every control plane: ``istio`` or ``istio-<revision>``.

    The revision is the one that injects into the probes.
    """
    spec, found = mesh.spec, []
    for cluster in spec.config_clusters:
        served = [
            client.name
            for plane in spec.control_planes
            if spec.config_cluster(plane).name == cluster
            for client in spec.served_by(plane)
        ]
        for revision in sorted({revision_of(mesh, kubes[name], name) for name in served}):
            name = "istio" if revision in ("", "default") else f"istio-{revision}"
            place = Place(cluster, spec.istio_namespace, name)
            _require_unchanged(kubes[cluster], place)
            found.append(place)
    return tuple(found)


def _require_unchanged(kube: Kube, place: Place) -> None:
    item = kube.read("ConfigMap", place.name, place.namespace)
    thing, config = f'cluster "{place.cluster}"', f"the mesh configuration in ConfigMap {place}"
    if item is None or _KEY not in (item.get("data") or {}):
        raise ObservationError(thing, f"find {config}", "it is not there")
    if _original(item):
        run = item["metadata"]["labels"].get(manifests.RUN_LABEL, "?")
        raise ObservationError(
            thing,
            f"change {config}",
            f"run {run} has changed it and not restored it yet",
            advice="wait for that run, or run `istio-mc sweep --kubeconfig=…` where it was killed",
        )


def restore(kube: Kube, place: Place) -> bool:
    """Undo what a run changed in a ConfigMap; whether one had.

    - Text, labels, annotations and field owners are what they were, which is proven.
    - A text that somebody else wrote meanwhile is left as it is.
    - Raises :class:`MeshError` then, and where the proof fails.
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
    thing = f'cluster "{kube.name}": ConfigMap {place}'
    if foreign:
        raise MeshError(
            thing,
            "was changed by somebody else while a check was at work on it; "
            "it is left as they wrote it",
            advice="see that no cluster-local setting of ours is in it: "
            + shell.kubectl(
                kube.context,
                "get -o yaml",
                f"configmap/{place.name}",
                namespace=place.namespace,
            ),
        )
    # an owner of ours would be in the way of their next server-side apply
    owners = {"metadata": {"managedFields": before["managedFields"]}}
    kube.merge("ConfigMap", place.name, place.namespace, owners)
    now = kube.read("ConfigMap", place.name, place.namespace) or {}
    if (now.get("data") or {}).get(_KEY) != before[_KEY] or _original(now) is not None:
        raise MeshError(thing, "was restored, but is not what it was", str(now)[:500])
    return True


def _change(
    kube: Kube, place: Place, change: Callable[[Mapping[str, Any]], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Patch the ConfigMap with what ``change`` makes of it.

    - ``change`` is asked anew where somebody else wrote the ConfigMap in between.
    - None where nothing is to be changed.
    """
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
    """The revision that injected the sidecar of a cluster's client."""
    probes = mesh.require_probes()
    pod = kube.read("Pod", probes.client(cluster).name, probes.namespace) or {}
    metadata = pod.get("metadata") or {}
    notes, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    return str(notes.get(REVISION_LABEL) or labels.get(REVISION_LABEL, ""))
