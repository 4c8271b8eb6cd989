"""Multi-primary on different networks: https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/

- Every cluster has its own network and its own istiod. Every istiod watches all apiservers.
- Traffic between clusters goes through the target's east-west gateway, which passes mutual TLS on
  unopened.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..spec import ClusterSpec, MeshSpec
from ..together import side_by_side
from . import istio, steps
from .topology import Topology


def _clusters(number: int) -> Iterator[ClusterSpec]:
    """``cluster1`` on ``network1`` in ``region1/zone1``, and so on."""
    return (steps.numbered(one, network=f"network{one}") for one in range(1, number + 1))


def _problems(spec: MeshSpec) -> Iterator[str]:
    """Every cluster must be a primary, alone on its network."""
    yield from steps.not_all_primaries(spec)
    yield from steps.not_a_network_each(spec)
    yield from steps.not_one_mesh(spec)


def _build(build: steps.Build) -> None:
    """Every gateway then has an address; every istiod has synced all clusters."""
    with build.progress.step("CA certificates and control planes"):
        side_by_side(build.start_control_plane, build.everywhere)
    with build.progress.step("remote secrets and east-west gateways"):
        side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
    with build.progress.step("endpoint discovery across clusters"):
        side_by_side(build.verify_gateway, build.everywhere)
        side_by_side(build.verify_control_plane, build.everywhere)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """Connect one cluster with the others, as soon as possible."""
    build.enable_endpoint_discovery(cluster)
    build.wait_for_istiod(cluster)
    build.install_gateway(cluster, istio.cross_network_gateway(build.spec))


MULTI_NETWORK_MULTI_PRIMARY = Topology(
    name="multi-network-multi-primary",
    summary="Two or more primaries, each on its own network; "
    "traffic between them goes through east-west gateways.",
    documentation="https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/",
    clusters=_clusters,
    problems=_problems,
    build=_build,
)
