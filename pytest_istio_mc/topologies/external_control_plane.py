"""External control plane: https://istio.io/latest/docs/setup/install/external-controlplane/

The istiod runs in a cluster without workloads of the mesh. It reads its configuration in a config cluster, whose name it carries and whose
proxies it serves, and serves remote clusters besides. All of them reach it at its own Service of type LoadBalancer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..eventually import Timeouts
from ..progress import Progress
from ..spec import ClusterSpec, MeshSpec, Role
from . import TIMEOUTS, ClusterAccess, istio, steps
from .together import side_by_side


@dataclass(frozen=True)
class ExternalControlPlane:
    """A cluster that runs istiod only, its config cluster, and one or more remotes, each on a network of its own."""

    name: str = "external-control-plane"
    summary: str = "An istiod outside of the clusters that it serves: a config cluster, and remotes; traffic goes through gateways."
    documentation: str = "https://istio.io/latest/docs/setup/install/external-controlplane/"

    def default_spec(self, clusters: int = 3) -> MeshSpec:
        """``cluster1`` runs istiod, ``cluster2`` is its config cluster, the others are remotes."""
        steps.too_few(self.name, clusters, 3, "the external istiod's cluster, its config cluster and a remote")

        def served(number: int) -> ClusterSpec:
            role = Role.CONFIG if number == 2 else Role.REMOTE
            return steps.numbered(number, network=f"network{number}", role=role, control_plane="cluster1")

        external = steps.numbered(1, network="network1", role=Role.EXTERNAL)
        return MeshSpec(self.name, (external, *map(served, range(2, clusters + 1))))

    def check(self, spec: MeshSpec) -> None:
        """One external control plane, one config cluster, one or more remotes, each of these on its own network."""
        steps.refuse(self.name, (*_problems(spec), *steps.not_a_network_each(spec), *steps.not_one_mesh(spec)))

    def install(
        self,
        spec: MeshSpec,
        clusters: Mapping[str, ClusterAccess],
        istio: istio.IstioDistribution,
        progress: Progress,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Build the mesh; returns when the external istiod injects in every cluster that it serves and has synced the remotes."""
        self.check(spec)
        build = steps.Build(spec, clusters, istio, progress, timeouts)
        (plane,) = spec.control_planes
        served = [(cluster.name, cluster) for cluster in spec.data_planes]
        with progress.step("the control plane's address, and what leads to it in the clusters that it serves"):
            build.reserve_external_istiod(plane)
            side_by_side(build.install_remote, served)
        with progress.step("control plane outside of the clusters that it serves"):
            build.start_external_istiod(plane)
        with progress.step("remote secrets and east-west gateways"):
            side_by_side(lambda cluster: _join(build, cluster), served)
        with progress.step("endpoint discovery across clusters"):
            side_by_side(build.verify_gateway, served)
            build.verify_control_plane(plane)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """What a cluster needs besides its istiod: to be known to it, and a gateway. What passes through is read in the config cluster."""
    build.enable_endpoint_discovery(cluster)
    build.wait_for_injection(cluster)
    exposed = [istio.cross_network_gateway(build.spec)] if cluster.role is Role.CONFIG else []
    build.install_gateway(cluster, *exposed)


def _problems(spec: MeshSpec) -> Iterator[str]:
    for role, what in ((Role.EXTERNAL, "external control plane"), (Role.CONFIG, "config cluster")):
        found = [cluster.name for cluster in spec if cluster.role is role]
        if len(found) != 1:
            yield f"{len(found)} clusters with role {role.value} ({', '.join(found) or 'none'}); this topology has one {what}"
    for cluster in spec:
        if cluster.role is Role.PRIMARY:
            yield f'cluster "{cluster.name}" is primary; in this topology no cluster with workloads runs an istiod'
