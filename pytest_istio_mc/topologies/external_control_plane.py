"""External control plane: https://istio.io/latest/docs/setup/install/external-controlplane/

- The istiod runs in a cluster without workloads of the mesh.
- It carries the name of its config cluster: it reads its configuration there and serves the
  proxies.
- It serves remote clusters, too. All clusters reach it at its own Service of type LoadBalancer.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..spec import ClusterSpec, MeshSpec, Role
from ..together import side_by_side
from . import istio, steps
from .topology import Topology


def _clusters(number: int) -> Iterator[ClusterSpec]:
    """``cluster1`` runs istiod, ``cluster2`` is its config cluster, the others are remotes."""
    yield steps.numbered(1, network="network1", role=Role.EXTERNAL)
    for one in range(2, number + 1):
        role = Role.CONFIG if one == 2 else Role.REMOTE
        yield steps.numbered(one, network=f"network{one}", role=role, control_plane="cluster1")


def _problems(spec: MeshSpec) -> Iterator[str]:
    """One external control plane, one config cluster, remotes; a network each."""
    for role, what in ((Role.EXTERNAL, "external control plane"), (Role.CONFIG, "config cluster")):
        found = [cluster.name for cluster in spec if cluster.role is role]
        if len(found) != 1:
            names = f"{len(found)} clusters with role {role.value} ({', '.join(found) or 'none'})"
            yield f"{names}; this topology has one {what}"
    for cluster in spec:
        if cluster.role is Role.PRIMARY:
            yield (
                f'cluster "{cluster.name}" is primary; '
                "in this topology no cluster with workloads runs an istiod"
            )
    yield from steps.not_a_network_each(spec)
    yield from steps.not_one_mesh(spec)


def _build(build: steps.Build) -> None:
    """The external istiod then injects everywhere and has synced the remotes."""
    (plane,) = build.spec.control_planes
    served = [(cluster.name, cluster) for cluster in build.spec.data_planes]
    with build.progress.step(
        "the control plane's address, and what leads to it in the clusters that it serves"
    ):
        build.reserve_external_istiod(plane)
        side_by_side(build.install_remote, served)
    with build.progress.step("control plane outside of the clusters that it serves"):
        build.start_external_istiod(plane)
    with build.progress.step("remote secrets and east-west gateways"):
        side_by_side(lambda cluster: _join(build, cluster), served)
    with build.progress.step("endpoint discovery across clusters"):
        side_by_side(build.verify_gateway, served)
        build.verify_control_plane(plane)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """Make the cluster known to its istiod, and give it a gateway.

    What passes through the gateways is read in the config cluster.
    """
    build.enable_endpoint_discovery(cluster)
    build.wait_for_injection(cluster)
    exposed = [istio.cross_network_gateway(build.spec)] if cluster.role is Role.CONFIG else []
    build.install_gateway(cluster, *exposed)


EXTERNAL_CONTROL_PLANE = Topology(
    name="external-control-plane",
    summary="An istiod outside of the clusters that it serves: a config cluster, and remotes; "
    "traffic goes through gateways.",
    documentation="https://istio.io/latest/docs/setup/install/external-controlplane/",
    clusters=_clusters,
    problems=_problems,
    build=_build,
    least=3,
    needs="the external istiod's cluster, its config cluster and a remote",
)
