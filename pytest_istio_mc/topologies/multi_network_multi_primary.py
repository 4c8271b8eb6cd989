"""Multi-primary on different networks: https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/

Every cluster has a network and an istiod of its own; every istiod watches all apiservers; traffic between clusters goes through the
target's east-west gateway, which passes mutual TLS on unopened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..eventually import Timeouts
from ..progress import Progress
from ..spec import ClusterSpec, MeshSpec
from . import TIMEOUTS, ClusterAccess, istio, steps
from .together import side_by_side


@dataclass(frozen=True)
class MultiNetworkMultiPrimary:
    """Two or more primaries, each on a network of its own."""

    name: str = "multi-network-multi-primary"
    summary: str = "Two or more primaries, each on its own network; traffic between them goes through east-west gateways."
    documentation: str = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/"

    def default_spec(self, clusters: int = 2) -> MeshSpec:
        """``cluster1`` on ``network1`` in ``region1/zone1``, and so on."""
        return MeshSpec(self.name, tuple(steps.numbered(number, network=f"network{number}") for number in range(1, clusters + 1)))

    def check(self, spec: MeshSpec) -> None:
        """Every cluster must be a primary, alone on its network."""
        problems = (*steps.not_all_primaries(spec), *steps.not_a_network_each(spec), *steps.not_one_mesh(spec))
        steps.refuse(self.name, problems)

    def install(
        self,
        spec: MeshSpec,
        clusters: Mapping[str, ClusterAccess],
        istio: istio.IstioDistribution,
        progress: Progress,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Build the mesh; returns when every gateway has an address and every istiod has synced every other cluster."""
        self.check(spec)
        build = steps.Build(spec, clusters, istio, progress, timeouts)
        with progress.step("CA certificates and control planes"):
            side_by_side(build.start_control_plane, build.everywhere)
        with progress.step("remote secrets and east-west gateways"):
            side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
        with progress.step("endpoint discovery across clusters"):
            side_by_side(build.verify_gateway, build.everywhere)
            side_by_side(build.verify_control_plane, build.everywhere)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """What connects one cluster with the others, as soon as it can be done."""
    build.enable_endpoint_discovery(cluster)
    build.wait_for_istiod(cluster)
    build.install_gateway(cluster, istio.cross_network_gateway(build.spec))
