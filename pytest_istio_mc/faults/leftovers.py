"""Leftovers outside the runs' own namespaces: objects changed or made, to be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..istio_names import KUBE_SYSTEM
from ..probes import manifests
from ..probes.leftovers import Leftover, leftover_of
from . import mesh_config

if TYPE_CHECKING:
    from ..kube import Kube

_KINDS = ("Service", "EndpointSlice.discovery.k8s.io")


@dataclass(frozen=True)
class LeftoverObject:
    """One object: a ConfigMap to be restored, or something to be removed."""

    kind: str
    name: str
    left: Leftover

    def __str__(self) -> str:
        what = "change of ConfigMap" if self.kind == "ConfigMap" else self.kind.partition(".")[0]
        return f"{what} {self.left.namespace}/{self.name} of run {self.left.run_id}"

    def take_back(self, kube: Kube) -> None:
        """Restore or remove it; ``MeshError`` where somebody else has changed it since."""
        if self.kind == "ConfigMap":
            mesh_config.restore(kube, mesh_config.Place(kube.name, self.left.namespace, self.name))
        else:
            kube.delete(self.kind, self.name, self.left.namespace)


def leftover_objects(kube: Kube) -> Iterator[LeftoverObject]:
    """All of them in a cluster, including those of runs at work."""
    for item in kube.list("ConfigMap", labels=manifests.RUN_LABEL):
        if mesh_config.ORIGINAL_ANNOTATION in (item["metadata"].get("annotations") or {}):
            yield LeftoverObject("ConfigMap", item["metadata"]["name"], leftover_of(kube, item))
    for kind in _KINDS:
        for item in kube.list(kind, KUBE_SYSTEM, labels=manifests.RUN_LABEL):
            yield LeftoverObject(kind, item["metadata"]["name"], leftover_of(kube, item))
