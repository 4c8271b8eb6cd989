"""Healthy snapshots of real meshes of the other topologies, for tests to spoil."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_istio_mc.snapshot import Snapshot, name_of

RECORDED = Path(__file__).parent.parent / "recorded"


def recorded(topology: str) -> Snapshot:
    """A fresh copy of the healthy mesh of that topology; its objects may be changed in place."""
    return Snapshot.load(RECORDED / f"healthy-{topology}")


def changed(snapshot: Snapshot, cluster: str, **changes: Any) -> Snapshot:
    """The snapshot with fields of one cluster changed."""
    spoiled = replace(snapshot.clusters[cluster], **changes)
    return replace(snapshot, clusters={**snapshot.clusters, cluster: spoiled})


def found(snapshot: Snapshot, cluster: str, kind: str, name: str) -> dict[str, Any]:
    """An object of a cluster, to be changed."""
    return next(item for item in snapshot.clusters[cluster].objects[kind] if name_of(item) == name)
