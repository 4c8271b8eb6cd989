"""Multi-primary on one network: https://istio.io/latest/docs/setup/install/multicluster/multi-primary/

Every cluster has an istiod of its own, which watches all apiservers; pods of all clusters reach each other directly, so there are no
east-west gateways.
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
class FlatMultiPrimary:
    """Two or more primaries on one network."""

    name: str = "flat-multi-primary"
    summary: str = "Two or more primaries on one network; pods of different clusters reach each other directly."
    documentation: str = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary/"

    def default_spec(self, clusters: int = 2) -> MeshSpec:
        """``cluster1`` in ``region1/zone1``, and so on, all on ``network1``."""
        return MeshSpec(self.name, tuple(steps.numbered(number, network="network1") for number in range(1, clusters + 1)))

    def check(self, spec: MeshSpec) -> None:
        """Every cluster must be a primary, and all on one network."""
        steps.refuse(self.name, (*steps.not_all_primaries(spec), *steps.not_one_network(spec), *steps.not_one_mesh(spec)))

    def install(
        self,
        spec: MeshSpec,
        clusters: Mapping[str, ClusterAccess],
        istio: istio.IstioDistribution,
        progress: Progress,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Build the mesh; returns when every istiod has synced every other cluster."""
        self.check(spec)
        build = steps.Build(spec, clusters, istio, progress, timeouts)
        with progress.step("CA certificates and control planes"):
            side_by_side(build.start_control_plane, build.everywhere)
        with progress.step("remote secrets"):
            side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
        with progress.step("endpoint discovery across clusters"):
            side_by_side(build.verify_control_plane, build.everywhere)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    build.enable_endpoint_discovery(cluster)
    build.wait_for_istiod(cluster)
