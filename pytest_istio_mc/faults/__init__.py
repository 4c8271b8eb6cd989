"""Faults: things broken on purpose, as contexts that mend them.

- Each proves that what it broke works again, and raises ``NotHealed`` where it does not.
- Each is undone even where this process is killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ..eventually import Timeouts
from ..mesh import Mesh
from ..observations import GatewayAddress
from . import access, apiserver, pods
from .access import Held
from .pods import Workload
from .scene import Scene

if TYPE_CHECKING:
    from ..kube import Kube

__all__ = ["Faults", "Held", "Scene", "Workload"]


class Faults:
    """What can be broken in a mesh, each for as long as a context.

    At its end it works again, or ``NotHealed`` is raised.
    """

    def __init__(
        self,
        mesh: Mesh,
        kubes: Mapping[str, Kube],
        timeouts: Timeouts,
        *,
        longest_seconds: float = 180.0,
    ) -> None:
        self.scene = Scene(mesh, kubes, timeouts, longest_seconds)

    def apiserver_hung(self, cluster: str) -> AbstractContextManager[None]:
        """A cluster's API server takes connections and never answers."""
        return apiserver.hung(self.scene, cluster)

    def apiserver_refused(self, cluster: str) -> AbstractContextManager[None]:
        """A cluster's API server is gone and refuses connections."""
        return apiserver.refused(self.scene, cluster)

    def address_unreachable(
        self, address: str, port: int, sources: Sequence[str]
    ) -> AbstractContextManager[None]:
        """Packets of some clusters to an address and port are lost."""
        return apiserver.address_unreachable(self.scene, address, port, sources)

    def istiod_restarted(self, cluster: str) -> AbstractContextManager[Workload]:
        """All pods of a control plane are killed at once."""
        return pods.istiod_restarted(self.scene, cluster)

    def gateway_killed(self, gateway: GatewayAddress) -> AbstractContextManager[Workload]:
        """One pod of an east-west gateway is killed."""
        return pods.gateway_killed(self.scene, gateway)

    def remote_secret_removed(self, target: str) -> AbstractContextManager[tuple[Held, ...]]:
        """No control plane elsewhere has a remote secret for a cluster."""
        return access.remote_secret_removed(self.scene, target)
