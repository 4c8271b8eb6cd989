"""Primary-remote on one network: https://istio.io/latest/docs/setup/install/multicluster/primary-remote/

One istiod, in the primary, serves every cluster. Pods of all clusters reach each other directly; only the remotes' way to istiod leads
through a gateway, the primary's (15012 for configuration and certificates, 15017 for injection).
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
class FlatPrimaryRemote:
    """A primary and one or more remotes on one network."""

    name: str = "flat-primary-remote"
    summary: str = "A primary whose istiod also serves remote clusters on the same network; pods reach each other directly."
    documentation: str = "https://istio.io/latest/docs/setup/install/multicluster/primary-remote/"

    def default_spec(self, clusters: int = 2) -> MeshSpec:
        """``cluster1`` is the primary, the others are its remotes, all on ``network1``."""
        remotes = (
            steps.numbered(number, network="network1", role=Role.REMOTE, control_plane="cluster1") for number in range(2, clusters + 1)
        )
        return MeshSpec(self.name, (steps.numbered(1, network="network1"), *remotes))

    def check(self, spec: MeshSpec) -> None:
        """One primary, all others its remotes, all on one network."""
        problems = (*steps.not_one_primary_with_remotes(spec), *steps.not_one_network(spec), *steps.not_one_mesh(spec))
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
        with progress.step("remote secrets and the control plane's gateway"):
            side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
        with progress.step("endpoint discovery across clusters"):
            side_by_side(build.verify_control_plane, [(one.name, one) for one in spec.control_planes])


def _start(build: steps.Build, cluster: ClusterSpec) -> None:
    if cluster.role is Role.PRIMARY:
        build.start_control_plane(cluster)
    else:
        build.install_remote(cluster)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """The primary exposes its istiod, and no services; a remote hands over its secret, and gets sidecars from then on."""
    build.enable_endpoint_discovery(cluster)
    if cluster.role is Role.PRIMARY:
        build.wait_for_istiod(cluster)
        build.install_gateway(cluster, *operators.expose_istiod(build.spec))
    else:
        build.wait_for_injection(cluster)
