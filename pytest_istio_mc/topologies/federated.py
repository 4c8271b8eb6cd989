"""Federated meshes: https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-meshes

Every cluster is a mesh of its own: its istiod watches no other cluster, its configuration is its own, it has its own mesh id and trust
domain. The meshes share a root CA and name each other's trust domains as aliases, so that their workloads can speak mutual TLS; a service
of another mesh is reached under the name that a ServiceEntry gives it, through that mesh's gateway, which passes TLS on unopened. Such
names are resolved by the sidecars (https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..spec import ClusterSpec, MeshSpec
from ..together import side_by_side
from . import istio, steps
from .topology import Topology


def _clusters(number: int) -> Iterator[ClusterSpec]:
    """``cluster1`` is ``mesh1`` with the trust domain ``mesh1.lab`` on ``network1``, and so on."""
    return (
        replace(
            steps.numbered(one, network=f"network{one}"),
            mesh_id=f"mesh{one}",
            trust_domain=f"mesh{one}.lab",
        )
        for one in range(1, number + 1)
    )


def _problems(spec: MeshSpec) -> Iterator[str]:
    """Every cluster must be a primary, alone on its network and in its mesh."""
    yield from _not_separate(spec)
    yield from steps.not_all_primaries(spec)
    yield from steps.not_a_network_each(spec)


def _build(build: steps.Build) -> None:
    """In the end every gateway has an address and every istiod knows its own cluster, and no other."""
    with build.progress.step("CA certificates and control planes"):
        side_by_side(
            lambda cluster: build.start_control_plane(cluster, _federation(build.spec, cluster)),
            build.everywhere,
        )
    with build.progress.step("gateways of the meshes"):
        side_by_side(lambda cluster: _expose(build, cluster), build.everywhere)
    with build.progress.step("separate control planes"):
        side_by_side(build.verify_gateway, build.everywhere)
        side_by_side(build.verify_control_plane, build.everywhere)


def _federation(spec: MeshSpec, cluster: ClusterSpec) -> dict[str, Any]:
    """What a mesh's configuration needs for the others: their trust domains, and sidecars that resolve the names of their services."""
    own = spec.trust_domain_of(cluster)
    others = dict.fromkeys(spec.trust_domain_of(other) for other in spec)
    mesh_config: dict[str, Any] = {
        "defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}
    }
    aliases = [domain for domain in others if domain != own]
    return mesh_config | ({"trustDomainAliases": aliases} if aliases else {})


def _expose(build: steps.Build, cluster: ClusterSpec) -> None:
    build.wait_for_istiod(cluster)
    build.install_gateway(cluster, istio.cross_network_gateway(build.spec))


def _not_separate(spec: MeshSpec) -> Iterator[str]:
    if not spec.federated:
        yield "federated is not true, so that istiods would be given remote secrets of the other meshes; these share none"
    for mesh, count in Counter(map(spec.mesh_id_of, spec)).items():
        if count > 1:
            names = ", ".join(
                f'"{cluster.name}"' for cluster in spec if spec.mesh_id_of(cluster) == mesh
            )
            yield f'clusters {names} carry one mesh id, "{mesh}"; here every cluster is a mesh of its own (meshId)'


FEDERATED = Topology(
    name="federated",
    summary="Separate meshes under one root CA; a service of another mesh is reached by ServiceEntry through its gateway.",
    documentation="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-meshes",
    clusters=_clusters,
    problems=_problems,
    build=_build,
    federated=True,
)
