"""Faults of meshes with regions, each with a primary and a remote.

The regions are cluster1 with cluster2, and cluster3 with cluster4.
"""

from __future__ import annotations

from functools import partial

from tests.seeded.changes import SYSTEM
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh
from tests.seeded.remotes import annotate, lead_to

_ha = partial(fault, topology="ha-multi-primary-remote")
SECOND = ("cluster4", "cluster3")
"""The remote of the second region, and its primary."""


@_ha("pr-remote-address-wrong", check="MC-CONTROL-007", clusters=SECOND, recorded=True)
def attached_to_the_other_region(mesh: SeededMesh) -> None:
    """The second region's remote was installed with the address of the other primary.

    Seen: everything works, because that primary knows the cluster, too. It is lost with the other
    region.
    """
    lead_to(mesh.kubes["cluster4"], "198.19.1.1")


@_ha("pr-control-plane-annotation", check="MC-CONTROL-007", clusters=SECOND)
def managed_by_the_other_region(mesh: SeededMesh) -> None:
    """The second region's remote names the first region's primary as its control plane."""
    annotate(mesh.kubes["cluster4"], "cluster1")


@_ha("rs-missing", check="MC-ACCESS-001", clusters=("cluster3", "cluster2"))
def remote_secret_in_one_primary_only(mesh: SeededMesh) -> None:
    """The first region's remote is known to its own primary, not to the second region's."""
    mesh.kubes["cluster3"].delete("Secret", "istio-remote-secret-cluster2", SYSTEM)
