"""Faults of meshes with several regions, each with a primary and a remote: cluster1 with cluster2, cluster3 with cluster4."""

from __future__ import annotations

from functools import partial

from tests.seeded.changes import SYSTEM
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh
from tests.seeded.remotes import annotate, lead_to

_ha = partial(fault, topology="ha-multi-primary-remote")


@_ha(
    "pr-remote-address-wrong",
    check="MC-CONTROL-007",
    clusters=("cluster4", "cluster3"),
    recorded=True,
)
def attached_to_the_other_region(mesh: SeededMesh) -> None:
    """The remote of the second region was installed with the address of the first region's primary.

    Seen: everything works, for that one knows the cluster, too; it is lost with the other region.
    """
    lead_to(mesh.kubes["cluster4"], "198.19.1.1")


@_ha("pr-control-plane-annotation", check="MC-CONTROL-007", clusters=("cluster4", "cluster3"))
def managed_by_the_other_region(mesh: SeededMesh) -> None:
    """The remote of the second region names the first region's primary as its control plane."""
    annotate(mesh.kubes["cluster4"], "cluster1")


@_ha("rs-missing", check="MC-ACCESS-001", clusters=("cluster3", "cluster2"))
def remote_secret_in_one_primary_only(mesh: SeededMesh) -> None:
    """The first region's remote is known to its own primary, and not to that of the second region."""
    mesh.kubes["cluster3"].delete("Secret", "istio-remote-secret-cluster2", SYSTEM)
