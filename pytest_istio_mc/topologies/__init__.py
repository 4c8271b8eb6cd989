"""Topologies: the shapes of mesh that can be built and certified; each is one module that reads like its page on istio.io."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ..eventually import Timeouts
from ..progress import Progress
from ..spec import MeshSpec
from .access import TIMEOUTS, ClusterAccess

if TYPE_CHECKING:
    from .istio import IstioDistribution


class Topology(Protocol):
    """A shape of mesh: what it is called, where Istio documents it, and how it is built."""

    @property
    def name(self) -> str:
        """What ``--mesh-topology`` takes."""

    @property
    def summary(self) -> str:
        """One sentence."""

    @property
    def documentation(self) -> str:
        """The page on istio.io."""

    def default_spec(self, clusters: int = 0) -> MeshSpec:
        """The spec of this topology with so many clusters, or with as few as make sense."""

    def check(self, spec: MeshSpec) -> None:
        """Raise :class:`UsageProblem`, with a sentence for each thing, where the spec is not of this topology."""

    def install(
        self,
        spec: MeshSpec,
        clusters: Mapping[str, ClusterAccess],
        istio: IstioDistribution,
        progress: Progress,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Build the mesh in empty clusters; returns when it is in force, :class:`MeshError` names the cluster that failed."""


def known() -> dict[str, Topology]:
    """Every topology, by name."""
    from .external_control_plane import EXTERNAL_CONTROL_PLANE
    from .federated import FEDERATED
    from .flat_multi_primary import FLAT_MULTI_PRIMARY
    from .flat_primary_remote import FLAT_PRIMARY_REMOTE
    from .ha_multi_primary_remote import HA_MULTI_PRIMARY_REMOTE
    from .multi_network_multi_primary import MULTI_NETWORK_MULTI_PRIMARY
    from .multi_network_primary_remote import MULTI_NETWORK_PRIMARY_REMOTE

    topologies: list[Topology] = [
        MULTI_NETWORK_MULTI_PRIMARY,
        MULTI_NETWORK_PRIMARY_REMOTE,
        FLAT_MULTI_PRIMARY,
        FLAT_PRIMARY_REMOTE,
        EXTERNAL_CONTROL_PLANE,
        HA_MULTI_PRIMARY_REMOTE,
        FEDERATED,
    ]
    return {topology.name: topology for topology in topologies}
