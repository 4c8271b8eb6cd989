"""What the proxies of the probe clients hold, asked at their admin port."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..collect.envoy import ADMIN_PORT, reduce_dump
from ..errors import KubeError, ObservationError
from ..mesh import Mesh
from ..snapshot import ProxyEndpoint

if TYPE_CHECKING:
    from ..kube import Kube

CLUSTERS, ENDPOINTS, ROUTES = (
    "dynamic_active_clusters",
    "dynamic_endpoint_configs",
    "dynamic_route_configs",
)
"""Resources of Envoy's ``/config_dump`` (Envoy, "Administration interface")."""

Dump = list[dict[str, Any]]


def dumped(mesh: Mesh, kube: Kube, source: str, resource: str, host: str = "") -> Dump:
    """The entries of a resource in the client's proxy of cluster ``source``, only those about ``host`` where it is given.

    Raises :class:`ObservationError` where it cannot be asked, or what it says is no dump.
    """
    assert mesh.probes is not None
    pod = mesh.probes.client(source).name
    query = f"/config_dump?include_eds&resource={resource}"
    if host:
        query += f"&name_regex=.*{host.replace('.', '[.]')}.*"
    try:
        found: Dump = (
            json.loads(kube.http_get(mesh.probes.namespace, pod, ADMIN_PORT, query)).get("configs")
            or []
        )
    except (KubeError, ValueError) as error:
        raise ObservationError(
            f'cluster "{source}"', f"read {resource} of the proxy of {pod}", str(error)
        ) from error
    return found


def endpoints(dump: Dump, host: str) -> Mapping[str, tuple[ProxyEndpoint, ...]]:
    """The endpoints for ``host`` (the beginning of a full name) in a dump of ``ENDPOINTS``, by Envoy cluster."""
    return reduce_dump(
        "",
        "",
        "client",
        {"configs": [{"@type": "EndpointsConfigDump", "dynamic_endpoint_configs": dump}]},
        host,
    ).endpoints
