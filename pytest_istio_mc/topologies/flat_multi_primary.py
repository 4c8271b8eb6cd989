"""Multi-primary on one network: https://istio.io/latest/docs/setup/install/multicluster/multi-primary/

- Every cluster has its own istiod, which watches all apiservers.
- Pods of all clusters reach each other directly: there are no east-west gateways.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..spec import ClusterSpec, MeshSpec
from ..together import side_by_side
from . import steps
from .topology import Topology


def _clusters(number: int) -> Iterator[ClusterSpec]:
    """``cluster1`` in ``region1/zone1``, and so on, all on ``network1``."""
    return (steps.numbered(one, network="network1") for one in range(1, number + 1))


def _problems(spec: MeshSpec) -> Iterator[str]:
    """Every cluster must be a primary, and all on one network."""
    yield from steps.not_all_primaries(spec)
    yield from steps.not_one_network(spec)
    yield from steps.not_one_mesh(spec)


def _build(build: steps.Build) -> None:
    """Every istiod then has synced every other cluster."""
    with build.progress.step("CA certificates and control planes"):
        side_by_side(build.start_control_plane, build.everywhere)
    with build.progress.step("remote secrets"):
        side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
    with build.progress.step("endpoint discovery across clusters"):
        side_by_side(build.verify_control_plane, build.everywhere)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    build.enable_endpoint_discovery(cluster)
    build.wait_for_istiod(cluster)


FLAT_MULTI_PRIMARY = Topology(
    name="flat-multi-primary",
    summary="Two or more primaries on one network; "
    "pods of different clusters reach each other directly.",
    documentation="https://istio.io/latest/docs/setup/install/multicluster/multi-primary/",
    clusters=_clusters,
    problems=_problems,
    build=_build,
)
