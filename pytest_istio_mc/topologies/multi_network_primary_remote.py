"""Primary-remote on different networks: https://istio.io/latest/docs/setup/install/multicluster/primary-remote_multi-network/

One istiod, in the primary, serves every cluster. The remotes reach it at the primary's east-west gateway (15012 for configuration and
certificates, 15017 for injection), which is also the way to the primary's services; every remote has a gateway for its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..eventually import Timeouts
from ..progress import Progress
from ..spec import ClusterSpec, MeshSpec, Role
from . import TIMEOUTS, ClusterAccess, istio, operators, steps
from .together import side_by_side


@dataclass(frozen=True)
class MultiNetworkPrimaryRemote:
    """A primary and one or more remotes, each on a network of its own."""

    name: str = "multi-network-primary-remote"
    summary: str = "A primary whose istiod also serves remote clusters on other networks; traffic goes through east-west gateways."
    documentation: str = "https://istio.io/latest/docs/setup/install/multicluster/primary-remote_multi-network/"

    def default_spec(self, clusters: int = 2) -> MeshSpec:
        """``cluster1`` is the primary; the others, each on its own network, are its remotes."""
        remotes = (
            steps.numbered(number, network=f"network{number}", role=Role.REMOTE, control_plane="cluster1")
            for number in range(2, clusters + 1)
        )
        return MeshSpec(self.name, (steps.numbered(1, network="network1"), *remotes))

    def check(self, spec: MeshSpec) -> None:
        """One primary, all others its remotes, each alone on its network."""
        problems = (*steps.not_one_primary_with_remotes(spec), *steps.not_a_network_each(spec), *steps.not_one_mesh(spec))
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
        """Build the mesh; returns when the primary's istiod injects in every cluster and has synced every remote."""
        self.check(spec)
        build = steps.Build(spec, clusters, istio, progress, timeouts)
        with progress.step("control plane in the primary, and what leads to it in the remotes"):
            side_by_side(lambda cluster: _start(build, cluster), build.everywhere)
        with progress.step("remote secrets and east-west gateways"):
            side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
        with progress.step("endpoint discovery across clusters"):
            side_by_side(build.verify_gateway, build.everywhere)
            side_by_side(build.verify_control_plane, [(one.name, one) for one in spec.control_planes])


def _start(build: steps.Build, cluster: ClusterSpec) -> None:
    if cluster.role is Role.PRIMARY:
        build.start_control_plane(cluster)
    else:
        build.install_remote(cluster)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """The primary exposes its istiod and its services; a remote hands over its secret, and can inject its gateway from then on."""
    build.enable_endpoint_discovery(cluster)
    if cluster.role is Role.PRIMARY:
        build.wait_for_istiod(cluster)
        build.install_gateway(cluster, *operators.expose_istiod(build.spec), istio.cross_network_gateway(build.spec))
    else:
        build.wait_for_injection(cluster)
        build.install_gateway(cluster)
