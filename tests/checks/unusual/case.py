"""A case: an unusual shape of a healthy mesh, and faults that must be found in that shape, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pytest_istio_mc.plain import from_json, to_plain
from pytest_istio_mc.snapshot import ClusterSnapshot, Snapshot
from tests.fake_clusters import FakeMesh

RECORDED = Path(__file__).parents[2] / "recorded"
HEALTHY = "healthy"
PRIMARY_REMOTE = "healthy-multi-network-primary-remote"
HA = "healthy-ha-multi-primary-remote"
EXTERNAL = "healthy-external-control-plane"
FAKE = "fake"
"""A mesh of fake clusters, whose CAs can be used."""

Json = dict[str, Any]
Change = Callable[["Draft"], None]


class Draft:
    """A recorded mesh as plain documents, by cluster, to be changed in place."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.spec = snapshot.spec
        self.clusters: dict[str, Json] = {
            name: to_plain(cluster) for name, cluster in snapshot.clusters.items()
        }

    def snapshot(self) -> Snapshot:
        """The mesh with all that was changed."""
        clusters = {
            name: from_json(ClusterSnapshot, json.dumps(document).encode())
            for name, document in self.clusters.items()
        }
        return replace(self._snapshot, spec=self.spec, clusters=clusters)

    def __iter__(self) -> Iterator[tuple[str, Json]]:
        """Name and document of every cluster with workloads."""
        return ((one.name, self.clusters[one.name]) for one in self.spec.data_planes)

    def listed(self, cluster: str, kind: str) -> list[Json]:
        """The objects of a kind; the list may be changed, too."""
        found: list[Json] = self.clusters[cluster]["objects"].setdefault(kind, [])
        return found

    def find(self, cluster: str, kind: str, name: str) -> Json:
        """One object."""
        return next(one for one in self.listed(cluster, kind) if one["metadata"]["name"] == name)

    def istiods(self) -> Iterator[Json]:
        """Every replica of every control plane."""
        return (one for cluster in self.clusters.values() for one in cluster.get("istiods", ()))

    def proxies(self, kind: str = "") -> Iterator[tuple[str, Json]]:
        """Every recorded proxy, with its cluster."""
        return (
            (name, proxy)
            for name, cluster in self.clusters.items()
            for proxy in cluster.get("proxies", ())
            if not kind or proxy["kind"] == kind
        )


@dataclass(frozen=True)
class Fault:
    """A mistake in a mesh of the shape, the check that must find it, and its name for it."""

    seed: Change
    check: str
    name: str


@dataclass(frozen=True)
class Case:
    """An unusual shape.

    - ``why`` such a mesh is healthy, with the source of the fact.
    - ``less``: the checks that decide less than on the plain mesh, with the reason.
    - ``mesh``: the recorded mesh that is changed.
    """

    name: str
    mutate: Change
    why: str
    faults: tuple[Fault, ...] = ()
    less: Mapping[str, str] = field(default_factory=dict)
    mesh: str = HEALTHY

    def __str__(self) -> str:
        return self.name if self.mesh == HEALTHY else f"{self.name}-{self.mesh}"

    def snapshot(self, *faults: Fault) -> Snapshot:
        """The mesh of that shape, with these faults in it."""
        draft = Draft(plain(self.mesh))
        self.mutate(draft)
        for fault in faults:
            fault.seed(draft)
        return draft.snapshot()


@cache
def fake() -> FakeMesh:
    """The mesh of fake clusters; nobody changes it."""
    return FakeMesh()


@cache
def plain(mesh: str) -> Snapshot:
    """The mesh as it is; nobody changes it."""
    if mesh == FAKE:
        return fake().record()
    return Snapshot.load(RECORDED / mesh)
