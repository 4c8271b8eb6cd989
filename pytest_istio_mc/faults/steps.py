"""Steps: all the ways in which a change is taken back.

Each is three-way: it takes back what a run did, and nothing that others did since.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import shell
from ..errors import KubeError, MeshError
from ..istio_names import KUBE_SYSTEM, MULTI_CLUSTER_LABEL
from ..probes import manifests
from . import service_settings
from .owners import Entry, put_back
from .undo import Manifest, Step

if TYPE_CHECKING:
    from ..kube import Kube

MESH_KEY = "mesh"
"""Where a ConfigMap has the mesh configuration's text."""

RUN_ANNOTATION = "istio-mc.dev/run"
"""On a ConfigMap while it is changed: the run whose journal says what it was."""

_REMOVABLE = ("Service", "EndpointSlice.discovery.k8s.io")
_MESH_CONFIG = re.compile(r"istio(-[a-z0-9-]+)?")


@dataclass(frozen=True)
class Restore(Step):
    """Make an object again that was deleted, unless it is there again."""

    manifest: Manifest = field(repr=False)

    @property
    def about(self) -> str:
        """See :class:`Step`."""
        metadata = self.manifest["metadata"]
        return f"{self.manifest['kind']} {metadata['namespace']}/{metadata['name']}"

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Make it, and give its fields back to their owners."""
        kube, metadata = kubes[self.cluster], dict(self.manifest["metadata"])
        owners = metadata.pop("managedFields", [])
        place = (self.manifest["kind"], metadata["name"], metadata["namespace"])
        there = kube.read(*place)
        if there is not None:
            if there["metadata"].get("deletionTimestamp"):
                thing = f'cluster "{kube.name}": {self.about}'
                raise MeshError(thing, "is still being deleted")
            return
        try:
            made = kube.create({**self.manifest, "metadata": metadata})
        except KubeError as error:
            if error.status == 409:
                return  # somebody else was faster
            raise
        if owners:
            version = {"resourceVersion": made["metadata"]["resourceVersion"]}
            try:
                kube.merge(*place, {"metadata": {**version, "managedFields": owners}})
            except KubeError as error:
                if error.status not in (404, 409):
                    raise

    def objection(self, run_id: str, istio_namespace: str) -> str:
        """Only remote secrets come back this way."""
        metadata = self.manifest.get("metadata")
        if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
            return "it has no name"
        labels = metadata.get("labels")
        remote = isinstance(labels, Mapping) and labels.get(MULTI_CLUSTER_LABEL) == "true"
        kind = (self.manifest.get("apiVersion"), self.manifest.get("kind"))
        if kind != ("v1", "Secret") or not remote:
            return "it is no remote secret"
        here = metadata.get("namespace") == istio_namespace
        return "" if here else "it is not in istiod's namespace"


@dataclass(frozen=True)
class Merge(Step):
    """Change a Deployment back, where it still has what a run gave it."""

    kind: str
    name: str
    namespace: str
    patch: Manifest
    ours: Manifest
    owners: Sequence[Entry] = field(repr=False)

    @property
    def about(self) -> str:
        """See :class:`Step`."""
        return f"{self.kind} {self.namespace}/{self.name}"

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Patch it, and give its fields back to their owners."""

        def change(item: Mapping[str, Any]) -> dict[str, Any] | None:
            return dict(self.patch) if _has(item, self.ours) else None

        kube = kubes[self.cluster]
        put_back(kube, self.kind, self.name, self.namespace, self.owners, change)

    def objection(self, run_id: str, istio_namespace: str) -> str:
        """Only the number of a Deployment's pods changes back this way."""
        spec = self.patch.get("spec")
        if self.kind != "Deployment" or set(self.patch) != {"spec"} or not isinstance(spec, dict):
            return "it is no change of a Deployment"
        number = spec.get("replicas")
        only = set(spec) == {"replicas"} and isinstance(number, int) and number >= 0
        return "" if only else "it changes more than the number of pods"


@dataclass(frozen=True)
class Remove(Step):
    """Remove an object outside of the run's namespaces that bears the run's label."""

    kind: str
    name: str
    namespace: str
    run_id: str

    @property
    def about(self) -> str:
        """See :class:`Step`."""
        return f"{self.kind.partition('.')[0]} {self.namespace}/{self.name}"

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Remove it, unless it is another's that has its name."""
        kube = kubes[self.cluster]
        item = kube.read(self.kind, self.name, self.namespace)
        if item is None:
            return
        metadata = item["metadata"]
        if (metadata.get("labels") or {}).get(manifests.RUN_LABEL) != self.run_id:
            return
        kube.delete(self.kind, self.name, self.namespace, uid=metadata["uid"])

    def objection(self, run_id: str, istio_namespace: str) -> str:
        """Only what a run made in kube-system for itself goes this way."""
        ours = self.name.startswith("istio-mc-") and self.run_id == run_id
        right = self.kind in _REMOVABLE and self.namespace == KUBE_SYSTEM
        return "" if ours and right else "a run makes no such object"


@dataclass(frozen=True)
class RestoreMeshConfig(Step):
    """Take a run's ``serviceSettings`` out of a ConfigMap of mesh configuration.

    - ``hosts`` are all that the run wrote.
    - ``original`` is the text, and ``owners`` are the fields' owners, before the first change.
    """

    namespace: str
    name: str
    run_id: str
    hosts: Sequence[str]
    original: str = field(repr=False)
    owners: Sequence[Entry] = field(repr=False)

    @property
    def about(self) -> str:
        """See :class:`Step`."""
        return f"ConfigMap {self.namespace}/{self.name}"

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Take them out, and prove it; what others wrote meanwhile stays."""
        kube = kubes[self.cluster]

        def change(item: Mapping[str, Any]) -> dict[str, Any] | None:
            text = (item.get("data") or {}).get(MESH_KEY)
            patch: dict[str, Any] = {}
            if isinstance(text, str) and (clean := self._clean(kube, text)) != text:
                patch["data"] = {MESH_KEY: clean}
            notes = item["metadata"].get("annotations") or {}
            if notes.get(RUN_ANNOTATION) == self.run_id:
                patch["metadata"] = {"annotations": {RUN_ANNOTATION: None}}
            return patch or None

        put_back(kube, "ConfigMap", self.name, self.namespace, self.owners, change)
        now = kube.read("ConfigMap", self.name, self.namespace) or {}
        if self.run_id in service_settings.runs_in((now.get("data") or {}).get(MESH_KEY) or ""):
            raise self._error(kube, "was restored, but settings of ours are in it again")

    def _clean(self, kube: Kube, text: str) -> str:
        import yaml

        try:
            return service_settings.taken_out(text, self.run_id, self.hosts, self.original)
        except (ValueError, yaml.YAMLError) as error:
            step = "cannot be restored: what somebody has written meanwhile cannot be read"
            raise self._error(kube, step, str(error)) from error

    def _error(self, kube: Kube, step: str, detail: str = "") -> MeshError:
        host = service_settings.marker(self.run_id)
        edit = ("edit", f"configmap/{self.name}")
        return MeshError(
            f'cluster "{kube.name}": {self.about}',
            step,
            detail,
            advice=f"take the serviceSettings with the host {host} out of it: "
            + shell.kubectl(kube.context, *edit, namespace=self.namespace),
        )

    def objection(self, run_id: str, istio_namespace: str) -> str:
        """Only istiod's own configuration changes back this way."""
        ours = self.run_id == run_id and all(isinstance(host, str) for host in self.hosts)
        right = self.namespace == istio_namespace and _MESH_CONFIG.fullmatch(self.name)
        return "" if ours and right else "it is no mesh configuration of istiod's namespace"


def _has(item: Any, wanted: Any) -> bool:
    """Whether all leaves of ``wanted`` are in the object."""
    if isinstance(wanted, Mapping):
        return isinstance(item, Mapping) and all(
            _has(item.get(key), below) for key, below in wanted.items()
        )
    return bool(item == wanted)
