"""Multi-primary on different networks: https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/

Every cluster has a network and an istiod of its own; every istiod watches all apiservers; traffic between clusters goes through the
target's east-west gateway, which passes mutual TLS on unopened.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import certificates
from ..errors import UsageProblem
from ..eventually import Timeouts, eventually
from ..progress import Progress
from ..spec import ClusterSpec, Locality, MeshSpec, Role
from . import TIMEOUTS, ClusterAccess, istio
from .together import side_by_side


@dataclass(frozen=True)
class MultiNetworkMultiPrimary:
    """Two or more primaries, each on a network of its own."""

    name: str = "multi-network-multi-primary"
    summary: str = "Two or more primaries, each on its own network; traffic between them goes through east-west gateways."
    documentation: str = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/"

    def default_spec(self, clusters: int = 2) -> MeshSpec:
        """``cluster1`` on ``network1`` in ``region1/zone1``, and so on."""
        numbers = range(1, clusters + 1)
        return MeshSpec(
            topology=self.name,
            clusters=tuple(
                ClusterSpec(f"cluster{number}", f"network{number}", locality=Locality(f"region{number}", f"zone{number}"))
                for number in numbers
            ),
        )

    def check(self, spec: MeshSpec) -> None:
        """Every cluster must be a primary, alone on its network."""
        if problems := list(_problems(spec)):
            raise UsageProblem(
                f'mesh spec for topology "{self.name}"',
                "refused: " + "; ".join(problems),
                advice="correct the file given with --mesh-spec, or name another topology; nothing was started",
            )

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
        build = _Build(spec, clusters, istio, progress, timeouts)
        everywhere = [(cluster.name, cluster) for cluster in spec]
        with progress.step("CA certificates and control planes"):
            side_by_side(build.install_control_plane, everywhere)
        with progress.step("remote secrets and east-west gateways"):
            side_by_side(build.join, everywhere)
        with progress.step("endpoint discovery across clusters"):
            side_by_side(build.verify, everywhere)


@dataclass(frozen=True)
class _Build:
    """One installation under way; the methods are the sections of the documentation page."""

    spec: MeshSpec
    clusters: Mapping[str, ClusterAccess]
    istio: istio.IstioDistribution
    progress: Progress
    timeouts: Timeouts
    root: certificates.Authority = field(default_factory=lambda: certificates.make_root("Root CA"))

    def install_control_plane(self, cluster: ClusterSpec) -> None:
        """ "Configure Trust", "Set the default network" and "Configure as a primary"; istiod then starts while we go on."""
        intermediate = certificates.make_intermediate(self.root, f"Intermediate CA of {cluster.name}")
        self.clusters[cluster.name].kube.apply(
            _namespace(self.spec.istio_namespace, {istio.NETWORK_LABEL: cluster.network}),
            _secret("cacerts", self.spec.istio_namespace, certificates.cacerts_files(intermediate, self.root)),
            *istio.render(self.istio, istio.control_plane(self.spec, cluster, self.istio)),
        )

    def join(self, cluster: ClusterSpec) -> None:
        """What connects one cluster with the others, as soon as it can be done."""
        self.enable_endpoint_discovery(cluster)
        kube = self.clusters[cluster.name].kube
        namespace = self.spec.istio_namespace
        within = self.timeouts.control_plane_ready
        kube.wait_available([("Deployment", "istiod")], namespace, within_seconds=within)
        # The gateway's pod is injected, and the Gateway is validated, by the istiod that has just become available.
        gateway = istio.render(self.istio, istio.east_west_gateway(self.spec, cluster, self.istio))
        kube.apply(*gateway, istio.cross_network_gateway(self.spec))
        kube.wait_available([("Deployment", istio.EAST_WEST_GATEWAY)], namespace, within_seconds=within)

    def enable_endpoint_discovery(self, cluster: ClusterSpec) -> None:
        """ "Enable Endpoint Discovery": every other cluster gets a secret that opens this one's apiserver."""
        secret = istio.create_remote_secret(self.istio, self.clusters[cluster.name], self.spec)
        for other in self.spec:
            if other is not cluster:
                self.clusters[other.name].kube.apply(*secret)

    def verify(self, cluster: ClusterSpec) -> None:
        """The claims of this topology about one cluster, or :class:`NotInTime` with what was seen last."""
        kube = self.clusters[cluster.name].kube
        namespace = self.spec.istio_namespace
        eventually(
            lambda: istio.load_balancer_addresses(kube, namespace, istio.EAST_WEST_GATEWAY),
            bool,
            within_seconds=self.timeouts.control_plane_ready,
            what=f'cluster "{cluster.name}": the Service {istio.EAST_WEST_GATEWAY} has an address',
        )
        watched = {other.name for other in self.spec.watched_by(cluster)}

        def all_synced(replicas: Mapping[str, Mapping[str, str]]) -> bool:
            return bool(replicas) and all(
                watched <= {name for name, status in seen.items() if status == "synced"} for seen in replicas.values()
            )

        eventually(
            lambda: istio.remote_clusters(kube, namespace),
            all_synced,
            within_seconds=self.timeouts.remote_sync,
            what=f'cluster "{cluster.name}": every istiod has synced {", ".join(sorted(watched))}',
        )


def _problems(spec: MeshSpec) -> Iterator[str]:
    for cluster in spec:
        if cluster.role is not Role.PRIMARY:
            yield f'cluster "{cluster.name}" is {cluster.role.value}; in this topology every cluster is a primary'
    networks = Counter(cluster.network for cluster in spec)
    if len(networks) < 2:
        yield f"{len(networks)} network; this topology needs two or more"
    for network, count in networks.items():
        if count > 1:
            names = ", ".join(f'"{cluster.name}"' for cluster in spec if cluster.network == network)
            yield f'clusters {names} are on one network, "{network}"; in this topology each has its own'
    if spec.federated:
        yield "federated is true; in this topology all clusters are one mesh"


def _namespace(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}


def _secret(name: str, namespace: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }
