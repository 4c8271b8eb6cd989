"""Snapshots of real meshes of the other topologies, recorded healthy, for tests to spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_istio_mc.snapshot import Snapshot, name_of

RECORDED = Path(__file__).parent.parent / "recorded"


def recorded(topology: str) -> Snapshot:
    """A fresh copy of the healthy mesh of that topology; its objects may be changed in place."""
    return Snapshot.load(RECORDED / f"healthy-{topology}")


def found(snapshot: Snapshot, cluster: str, kind: str, name: str) -> dict[str, Any]:
    """An object of a cluster, to be changed."""
    return next(item for item in snapshot.clusters[cluster].objects[kind] if name_of(item) == name)
