"""Settling: the time that a mesh may take to spread new endpoints, given to it so that no check judges one that is still on its way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..collect.envoy import ADMIN_PORT, reduce_dump
from ..errors import KubeError, MeshError
from ..eventually import Timeouts, eventually
from ..mesh import Mesh
from ..observations import Request
from ..progress import Progress
from ..spec import Feature
from . import manifests
from .traffic import open_traffic

if TYPE_CHECKING:
    from ..kube import Kube


def settle(mesh: Mesh, kubes: Mapping[str, Kube], timeouts: Timeouts, progress: Progress) -> None:
    """Wait until every client reaches the servers of every cluster, or would if nearer ones did not come first.

    Whatever the end, it is only noted: the checks judge.
    """
    shared = Feature.SHARED_SERVICES in mesh.spec.features
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    wanted = {(source, target) for source in clusters for target in clusters if shared or source == target}

    def settled(requests: tuple[Request, ...]) -> bool:
        missing = wanted - {(request.source, request.answer.cluster) for request in requests if request.answer}
        if not all(request.succeeded for request in requests):
            return False
        return all(missing_from <= held_back(mesh, kubes[source], source) for source, missing_from in _by_source(missing).items())

    try:
        with open_traffic(mesh, kubes, timeouts) as traffic:
            converged = eventually(
                lambda: traffic.reach_instances(timeout_seconds=1.0),
                settled,
                within_seconds=timeouts.endpoint_propagation,
                what="every client to reach the servers of every cluster",
            )
            progress.note(f"every client reaches the servers of every cluster, {converged.first_seconds:.1f} s after the pods were ready")
    except MeshError as error:
        progress.note(f"not every client reaches the servers of every cluster ({type(error).__name__}); the checks will say why")


def held_back(mesh: Mesh, kube: Kube, source: str) -> set[str]:
    """The clusters whose healthy endpoints the client's proxy in ``source`` has, but of a lower priority than others: locality load
    balancing keeps them for later. None where the proxy cannot be asked, or does not say whose its endpoints are."""
    assert mesh.probes is not None
    probes, pod = mesh.probes, mesh.probes.client(source).name
    host = f"{probes.service}.{probes.namespace}.svc."
    name = f"outbound|{manifests.HTTP}||{host}"
    query = f"/config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex=.*{host.replace('.', '[.]')}.*"
    try:
        found = json.loads(kube.http_get(probes.namespace, pod, ADMIN_PORT, query))
    except (KubeError, ValueError):
        return set()
    section = {"@type": "EndpointsConfigDump", "dynamic_endpoint_configs": found.get("configs") or []}
    facts = reduce_dump(probes.namespace, pod, "client", {"configs": [section]}, host)
    held = next((endpoints for cluster, endpoints in facts.endpoints.items() if cluster.startswith(name)), ())
    healthy = [one for one in held if one.health == "HEALTHY"]
    first = min((one.priority for one in healthy), default=0)
    return {one.cluster for one in healthy if one.priority > first}


def _by_source(pairs: set[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for source, target in pairs:
        found.setdefault(source, set()).add(target)
    return found
