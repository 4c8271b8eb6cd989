"""A site on a real mesh, for tests that observe one: connections, traffic and a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_istio_mc.checks.site import Here
from pytest_istio_mc.checks.upgrade.facts import Watched
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import Faults
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes.paths import gateway_addresses
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.snapshot import Snapshot
from tests.checks.live_mesh import here

TIMEOUTS = Timeouts()


@dataclass(frozen=True)
class OpenSite:
    """A mesh with probes, open connections to it, and traffic through it."""

    mesh: Mesh
    open_kubes: Mapping[str, Kube]
    open_traffic: Traffic
    timeouts: Timeouts = TIMEOUTS
    snapshot: Snapshot | None = None
    may_disrupt: bool = True

    @property
    def here(self) -> Here:
        """Without a snapshot, one that knows nothing."""
        return replace(here(self.mesh, self.snapshot), timeouts=self.timeouts)

    def kubes(self) -> Mapping[str, Kube]:
        return self.open_kubes

    def traffic(self) -> Traffic:
        return self.open_traffic

    def faults(self) -> Faults:
        return Faults(self.mesh, self.open_kubes, self.timeouts)

    def gateways(self) -> Sequence[GatewayAddress]:
        return gateway_addresses(self.mesh.spec, self.open_kubes)

    def watched(self) -> Watched | None:
        return None
