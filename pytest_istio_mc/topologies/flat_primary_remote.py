"""Primary-remote on one network: https://istio.io/latest/docs/setup/install/multicluster/primary-remote/

- One istiod, in the primary, serves every cluster.
- Pods of all clusters reach each other directly.
- Only the remotes' way to istiod leads through a gateway, the primary's (15012 for configuration
  and certificates, 15017 for injection).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..spec import ClusterSpec, MeshSpec, Role
from ..together import side_by_side
from . import operators, steps
from .topology import Topology


def _clusters(number: int) -> Iterator[ClusterSpec]:
    """``cluster1`` is the primary, the others are its remotes, all on ``network1``."""
    return steps.primary_with_remotes(range(1, number + 1), lambda _: "network1")


def _problems(spec: MeshSpec) -> Iterator[str]:
    """One primary, all others its remotes, all on one network."""
    yield from steps.not_one_primary_with_remotes(spec)
    yield from steps.not_one_network(spec)
    yield from steps.not_one_mesh(spec)


def _build(build: steps.Build) -> None:
    """The primary's istiod then injects everywhere and has synced every remote."""
    with build.progress.step("control plane in the primary, and what leads to it in the remotes"):
        side_by_side(build.start, build.everywhere)
    with build.progress.step("remote secrets and the control plane's gateway"):
        side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
    with build.progress.step("endpoint discovery across clusters"):
        side_by_side(build.verify_control_plane, build.with_istiod)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """The primary exposes istiod, no services; a remote gives its secret.

    From then on the remote gets sidecars.
    """
    build.enable_endpoint_discovery(cluster)
    if cluster.role is Role.PRIMARY:
        build.wait_for_istiod(cluster)
        build.install_gateway(cluster, *operators.expose_istiod(build.spec))
    else:
        build.wait_for_injection(cluster)


FLAT_PRIMARY_REMOTE = Topology(
    name="flat-primary-remote",
    summary="A primary whose istiod also serves remote clusters on the same network; "
    "pods reach each other directly.",
    documentation="https://istio.io/latest/docs/setup/install/multicluster/primary-remote/",
    clusters=_clusters,
    problems=_problems,
    build=_build,
)
