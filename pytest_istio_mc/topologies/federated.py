"""Federated meshes: https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-meshes

- Every cluster is a mesh of its own, with its own configuration, mesh id and trust domain. Its
  istiod watches no other cluster.
- The meshes share a root CA and name each other's trust domains as aliases: so their workloads can
  speak mutual TLS.
- A ServiceEntry names a service of another mesh. Its traffic goes through that mesh's gateway,
  which passes TLS on unopened.
- The sidecars resolve such names
  (https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/).
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
    """``cluster1`` is ``mesh1`` of ``mesh1.lab`` on ``network1``, and so on."""
    return (
        replace(
            steps.numbered(one, network=f"network{one}"),
            mesh_id=f"mesh{one}",
            trust_domain=f"mesh{one}.lab",
        )
        for one in range(1, number + 1)
    )


def _problems(spec: MeshSpec) -> Iterator[str]:
    """Every cluster must be a primary, alone in its network and mesh."""
    yield from _not_separate(spec)
    yield from steps.not_all_primaries(spec)
    yield from steps.not_a_network_each(spec)


def _build(build: steps.Build) -> None:
    """Every gateway then has an address; istiods know their own cluster only."""
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
    """Mesh configuration for the others: trust domains, and DNS in sidecars."""
    own = spec.trust_domain_of(cluster)
    domains = dict.fromkeys(spec.trust_domain_of(other) for other in spec)
    aliases = [domain for domain in domains if domain != own]
    dns_in_sidecars = {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}
    return {"defaultConfig": dns_in_sidecars} | ({"trustDomainAliases": aliases} if aliases else {})


def _expose(build: steps.Build, cluster: ClusterSpec) -> None:
    build.wait_for_istiod(cluster)
    build.install_gateway(cluster, istio.cross_network_gateway(build.spec))


def _not_separate(spec: MeshSpec) -> Iterator[str]:
    if not spec.federated:
        yield (
            "federated is not true, so that istiods would be given remote secrets of the other "
            "meshes; these share none"
        )
    for mesh, count in Counter(map(spec.mesh_id_of, spec)).items():
        if count > 1:
            names = ", ".join(f'"{one.name}"' for one in spec if spec.mesh_id_of(one) == mesh)
            yield (
                f'clusters {names} carry one mesh id, "{mesh}"; '
                "here every cluster is a mesh of its own (meshId)"
            )


FEDERATED = Topology(
    name="federated",
    summary="Separate meshes under one root CA; "
    "a service of another mesh is reached by ServiceEntry through its gateway.",
    documentation="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-meshes",
    clusters=_clusters,
    problems=_problems,
    build=_build,
    federated=True,
)
