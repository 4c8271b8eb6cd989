"""Mesh configuration: the control planes' ConfigMaps, changed for seconds and restored exactly.

All that is needed to restore them is in the clusters' journals before they are changed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ObservationError
from ..istio_names import REVISION_LABEL, of_revision
from ..mesh import Mesh
from ..rights import Permission
from ..together import for_each
from . import deadman, service_settings
from .owners import changed, given_back
from .steps import MESH_KEY, RUN_ANNOTATION, RestoreMeshConfig

if TYPE_CHECKING:
    from ..kube import Kube

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
    """The mesh configuration of every control plane, as :func:`changeable` yields it."""

    def __init__(
        self,
        mesh: Mesh,
        kubes: Mapping[str, Kube],
        places: tuple[Place, ...],
        undoing: deadman.Undoing,
    ) -> None:
        self._mesh = mesh
        self._kubes = kubes
        self._undoing = undoing
        self._lock = threading.Lock()
        self._back: dict[Place, RestoreMeshConfig] = {}
        self.places = places

    def set_service_settings(self, settings: Mapping[str, Settings]) -> None:
        """Add ``serviceSettings`` to those of control planes.

        They are given by the cluster in which the control plane reads configuration. What was
        added before is dropped. Raises :class:`NotAllowed` where they are for services of
        others, and that was not permitted.
        """
        _demand_own(self._mesh, settings)
        chosen = [place for place in self.places if place.cluster in settings]
        for_each(lambda place: self._write(place, settings[place.cluster]), chosen)

    def _write(self, place: Place, settings: Settings) -> None:
        run_id = self._mesh.run_id
        entries = service_settings.marked(settings, run_id)

        def change(item: Mapping[str, Any]) -> dict[str, Any]:
            back = self._way_back(place, item, settings)
            self._undoing.add(back)  # in the journal, and only then in the object
            with self._lock:
                self._back[place] = back
            text = service_settings.put_in(back.original, entries)
            notes = {"annotations": {RUN_ANNOTATION: run_id}}
            return {"metadata": notes, "data": {MESH_KEY: text}}

        changed(self._kubes[place.cluster], "ConfigMap", place.name, place.namespace, change)

    def _way_back(
        self, place: Place, item: Mapping[str, Any], settings: Settings
    ) -> RestoreMeshConfig:
        """From these settings to what the ConfigMap is without any of ours."""
        text, earlier = _text(place, item), self._back.get(place)
        hosts = [str(host) for entry in settings for host in entry["hosts"]]
        owners = item["metadata"].get("managedFields") or []
        original = text
        if earlier is not None:
            hosts = [*earlier.hosts, *hosts]
            owners = given_back(owners, earlier.owners)
            run_id, before = self._mesh.run_id, earlier.original
            original = service_settings.taken_out(text, run_id, earlier.hosts, before)
        strangers = service_settings.runs_in(original)
        if strangers:
            raise _cannot_change(place, f"run {', '.join(sorted(strangers))} has settings in it")
        return RestoreMeshConfig(
            cluster=place.cluster,
            namespace=place.namespace,
            name=place.name,
            run_id=self._mesh.run_id,
            hosts=tuple(dict.fromkeys(hosts)),
            original=original,
            owners=tuple(owners),
        )


def _demand_own(mesh: Mesh, settings: Mapping[str, Settings]) -> None:
    """See that settings are for services in namespaces of the run, unless others are permitted."""
    hosts = [host for some in settings.values() for one in some for host in one.get("hosts", ())]
    for host in hosts:
        # *.NAMESPACE.svc.DOMAIN or SERVICE.NAMESPACE.svc.DOMAIN; any other may match any service
        parts = str(host).split(".")
        if len(parts) < 3 or parts[2] != "svc" or not mesh.owns(parts[1]):
            what = f'the cluster-local pattern "{host}", not for services of the run alone'
            mesh.demand(Permission.EVERY_SERVICE, what)


@contextmanager
def changeable(mesh: Mesh, kubes: Mapping[str, Kube], for_seconds: float) -> Iterator[MeshConfigs]:
    """The mesh configuration of every control plane, to be changed.

    - At the end it is as it was, but for what others wrote meanwhile, which is proven. Others
      restore it where this process is killed, or takes longer than ``for_seconds``.
    - Raises :class:`ObservationError` where it cannot be found, and :class:`MeshError` where it
      could not be restored: beside an earlier error, never in its place.
    """
    found = places(mesh, kubes)
    with deadman.undone(mesh, kubes, [], for_seconds) as undoing:
        yield MeshConfigs(mesh, kubes, found, undoing)


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
            place = Place(cluster, spec.istio_namespace, of_revision("istio", revision))
            _text(place, kubes[cluster].read("ConfigMap", place.name, place.namespace))
            found.append(place)
    return tuple(found)


def _text(place: Place, item: Mapping[str, Any] | None) -> str:
    """The text of the mesh configuration, if one can add to it."""
    import yaml

    text = ((item or {}).get("data") or {}).get(MESH_KEY)
    if text is None:
        config = f"the mesh configuration in ConfigMap {place}"
        raise ObservationError(f'cluster "{place.cluster}"', f"find {config}", "it is not there")
    try:
        service_settings.put_in(text, [])
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise _cannot_change(place, f"it cannot be read: {error}") from error
    return str(text)


def _cannot_change(place: Place, why: str) -> ObservationError:
    step = f"change the mesh configuration in ConfigMap {place}"
    advice = "wait for that run, or run istio-mc sweep" if "run " in why else ""
    return ObservationError(f'cluster "{place.cluster}"', step, why, advice=advice)


def revision_of(mesh: Mesh, kube: Kube, cluster: str) -> str:
    """The revision that injected the sidecar of a cluster's client."""
    probes = mesh.require_probes()
    pod = kube.read("Pod", probes.client(cluster).name, probes.namespace) or {}
    metadata = pod.get("metadata") or {}
    notes, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    return str(notes.get(REVISION_LABEL) or labels.get(REVISION_LABEL, ""))
