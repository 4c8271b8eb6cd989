"""Site and Here: what observers reach of a mesh, and what judges may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..eventually import Timeouts
from ..mesh import Mesh
from ..snapshot import Snapshot

if TYPE_CHECKING:
    from ..faults import Faults
    from ..kube import Kube
    from ..observations import GatewayAddress
    from ..probes.traffic import Traffic
    from .upgrade.facts import Watched


@dataclass(frozen=True)
class Here:
    """What the judge of a live check may look at besides its observations."""

    mesh: Mesh
    snapshot: Snapshot
    timeouts: Timeouts


class Site(Protocol):
    """The mesh as observers reach it; any thread may call any method."""

    @property
    def here(self) -> Here:
        """The mesh, its snapshot and the time budgets."""

    @property
    def may_disrupt(self) -> bool:
        """Whether observers may touch more than namespaces of their own."""

    def kubes(self) -> Mapping[str, Kube]:
        """A connection to each cluster, by cluster name."""

    def traffic(self) -> Traffic:
        """The way to send from the client pods."""

    def faults(self) -> Faults:
        """What can be broken."""

    def gateways(self) -> Sequence[GatewayAddress]:
        """The addresses of the east-west gateways of all networks."""

    def watched(self) -> Watched | None:
        """The change that this session watched; None without one."""
