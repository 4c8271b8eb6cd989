"""Topologies: kinds of mesh to build and certify, a module each."""

from __future__ import annotations

from .access import ClusterAccess
from .topology import Topology

__all__ = ["ClusterAccess", "Topology", "known"]


def known() -> dict[str, Topology]:
    """Every topology of this package, by name."""
    from .external_control_plane import EXTERNAL_CONTROL_PLANE
    from .federated import FEDERATED
    from .flat_multi_primary import FLAT_MULTI_PRIMARY
    from .flat_primary_remote import FLAT_PRIMARY_REMOTE
    from .ha_multi_primary_remote import HA_MULTI_PRIMARY_REMOTE
    from .multi_network_multi_primary import MULTI_NETWORK_MULTI_PRIMARY
    from .multi_network_primary_remote import MULTI_NETWORK_PRIMARY_REMOTE

    topologies = (
        MULTI_NETWORK_MULTI_PRIMARY,
        MULTI_NETWORK_PRIMARY_REMOTE,
        FLAT_MULTI_PRIMARY,
        FLAT_PRIMARY_REMOTE,
        EXTERNAL_CONTROL_PLANE,
        HA_MULTI_PRIMARY_REMOTE,
        FEDERATED,
    )
    return {topology.name: topology for topology in topologies}
