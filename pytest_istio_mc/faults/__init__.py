"""Faults: things broken on purpose, as contexts. Each heals, proves that it healed, and is undone even where this process is killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ..eventually import Timeouts
from ..mesh import Mesh
from ..observations import GatewayAddress
from . import access, apiserver, network, pods, services
from .access import Held
from .pods import Workload
from .scene import Scene

if TYPE_CHECKING:
    from ..kube import Kube

__all__ = ["Faults", "Held", "Scene", "Workload"]


class Faults:
    """What can be broken in a mesh. Methods return contexts in which it is; at their end it works again, or ``NotHealed`` is raised."""

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
        """The API server of a cluster takes connections and never answers."""
        return apiserver.hung(self.scene, cluster)

    def apiserver_refused(self, cluster: str) -> AbstractContextManager[None]:
        """The API server of a cluster is gone: whoever asks is refused."""
        return apiserver.refused(self.scene, cluster)

    def apiserver_unreachable(
        self, cluster: str, sources: Sequence[str]
    ) -> AbstractContextManager[None]:
        """What some clusters send to the API server of another one is lost on the way."""
        return apiserver.unreachable(self.scene, cluster, sources)

    def istiod_restarted(self, cluster: str) -> AbstractContextManager[Workload]:
        """The pods of a control plane are killed, all at once."""
        return pods.istiod_restarted(self.scene, cluster)

    def gateway_killed(self, gateway: GatewayAddress) -> AbstractContextManager[Workload]:
        """One pod of an east-west gateway is killed."""
        return pods.gateway_killed(self.scene, gateway)

    def gateway_unreachable(
        self, gateway: GatewayAddress, from_network: str
    ) -> AbstractContextManager[None]:
        """What one network sends to an east-west gateway is lost on the way."""
        return network.gateway_unreachable(self.scene, gateway, from_network)

    def address_unreachable(
        self, address: str, port: int, sources: Sequence[str]
    ) -> AbstractContextManager[None]:
        """What some clusters send to an address and port is lost on the way."""
        return network.address_unreachable(self.scene, address, port, sources)

    def service_emptied(
        self, cluster: str, service: str, namespace: str
    ) -> AbstractContextManager[None]:
        """A Service has no endpoint any more in one cluster."""
        return services.emptied(self.scene, cluster, service, namespace)

    def remote_secret_removed(self, target: str) -> AbstractContextManager[tuple[Held, ...]]:
        """No control plane elsewhere has a remote secret for a cluster."""
        return access.remote_secret_removed(self.scene, target)

    def token_revoked(self, target: str) -> AbstractContextManager[tuple[Held, ...]]:
        """The token in the remote secrets for a cluster is not accepted any more."""
        return access.token_revoked(self.scene, target)

    def rotate_remote_secret(self, target: str) -> tuple[Held, ...]:
        """Give the remote secrets for a cluster a new token; returns when every control plane has synchronised with it."""
        return access.rotate(self.scene, target)
