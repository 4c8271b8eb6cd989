"""Primary-remote on different networks: https://istio.io/latest/docs/setup/install/multicluster/primary-remote_multi-network/

- One istiod, in the primary, serves every cluster.
- The remotes reach it at the primary's east-west gateway (15012 for configuration and certificates,
  15017 for injection). The same gateway leads to the primary's services.
- Every remote has a gateway for its own services.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..spec import ClusterSpec, MeshSpec, Role
from ..together import side_by_side
from . import istio, operators, steps
from .topology import Topology


def _clusters(number: int) -> Iterator[ClusterSpec]:
    """``cluster1`` is the primary, the others its remotes; a network each."""
    return steps.primary_with_remotes(range(1, number + 1), lambda one: f"network{one}")


def _problems(spec: MeshSpec) -> Iterator[str]:
    """One primary, all others its remotes, each alone on its network."""
    yield from steps.not_one_primary_with_remotes(spec)
    yield from steps.not_a_network_each(spec)
    yield from steps.not_one_mesh(spec)


def _build(build: steps.Build) -> None:
    """The primary's istiod then injects everywhere and has synced every remote."""
    with build.progress.step("control plane in the primary, and what leads to it in the remotes"):
        side_by_side(build.start, build.everywhere)
    with build.progress.step("remote secrets and east-west gateways"):
        side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
    with build.progress.step("endpoint discovery across clusters"):
        side_by_side(build.verify_gateway, build.everywhere)
        side_by_side(build.verify_control_plane, build.with_istiod)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """The primary exposes istiod and services; a remote gives its secret.

    From then on the remote's gateway can be injected.
    """
    build.enable_endpoint_discovery(cluster)
    if cluster.role is Role.PRIMARY:
        build.wait_for_istiod(cluster)
        build.install_gateway(
            cluster, *operators.expose_istiod(build.spec), istio.cross_network_gateway(build.spec)
        )
    else:
        build.wait_for_injection(cluster)
        build.install_gateway(cluster)


MULTI_NETWORK_PRIMARY_REMOTE = Topology(
    name="multi-network-primary-remote",
    summary="A primary whose istiod also serves remote clusters on other networks; "
    "traffic goes through east-west gateways.",
    documentation="https://istio.io/latest/docs/setup/install/multicluster/primary-remote_multi-network/",
    clusters=_clusters,
    problems=_problems,
    build=_build,
)
