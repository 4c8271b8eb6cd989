"""What the proxies of the probe clients hold, asked at their admin port."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..collect.envoy import ADMIN_PORT, reduce_dump
from ..errors import KubeError, ObservationError
from ..mesh import Mesh
from ..recorded import ProxyEndpoint

if TYPE_CHECKING:
    from ..kube import Kube

CLUSTERS = "dynamic_active_clusters"
ENDPOINTS = "dynamic_endpoint_configs"
ROUTES = "dynamic_route_configs"
"""Resources of Envoy's ``/config_dump`` (Envoy, "Administration interface")."""

Dump = list[dict[str, Any]]


def dumped(mesh: Mesh, kube: Kube, source: str, resource: str, host: str = "") -> Dump:
    """The entries of a resource in the proxy of the client in ``source``.

    - Only those about ``host``, where it is given.
    - Raises :class:`ObservationError` where it cannot be asked, or its answer is no dump.
    """
    probes = mesh.require_probes()
    pod = probes.client(source).name
    query = f"/config_dump?include_eds&resource={resource}"
    if host:
        query += f"&name_regex=.*{host.replace('.', '[.]')}.*"
    try:
        body = kube.http_get(probes.namespace, pod, ADMIN_PORT, query)
        found: Dump = json.loads(body).get("configs") or []
    except (KubeError, ValueError) as error:
        step = f"read {resource} of the proxy of {pod}"
        raise ObservationError(f'cluster "{source}"', step, str(error)) from error
    return found


def endpoints(dump: Dump, host: str) -> Mapping[str, tuple[ProxyEndpoint, ...]]:
    """The endpoints for ``host`` in a dump of ``ENDPOINTS``, by Envoy cluster.

    ``host`` is the beginning of a full name.
    """
    whole = {"configs": [{"@type": "EndpointsConfigDump", ENDPOINTS: dump}]}
    return reduce_dump("", "", "client", whole, host).endpoints
