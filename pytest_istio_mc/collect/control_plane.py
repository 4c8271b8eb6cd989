"""The control plane from a remote cluster's pods: do istiod's addresses answer?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import MeshError
from ..istio_names import SERVICE_LABEL
from ..recorded import EndpointFacts
from ..snapshot import labels_of, namespace_of
from .access import NO_PROBE, Ask


def istiod_endpoints(
    slices: Iterable[Mapping[str, Any]], istio_namespace: str
) -> tuple[tuple[str, int], ...]:
    """Address and port of every endpoint of the Services ``istiod`` or ``istiod-<revision>``."""
    found = (
        (address, int(port["port"]))
        for item in slices
        if namespace_of(item) == istio_namespace
        and labels_of(item).get(SERVICE_LABEL, "").partition("-")[0] == "istiod"
        for endpoint in item["endpoints"]
        for address in endpoint["addresses"]
        for port in item["ports"]
        if port.get("port")
    )
    return tuple(dict.fromkeys(found))


def probe_endpoint(
    cluster: str,
    address: str,
    port: int,
    istio_namespace: str,
    ask: Ask | None,
    timeout_seconds: float,
) -> EndpointFacts:
    """One TLS handshake with istiod's name, from a pod of ``cluster``.

    It is verified against the root that this pod was given.
    """
    if ask is None:
        return EndpointFacts(address, port, unprobed=NO_PROBE)
    operation = {
        "op": "tls",
        "address": address,
        "port": port,
        "sni": f"istiod.{istio_namespace}.svc",
        "certificate": None,
        "ca_pem": "mesh",
        "timeout": timeout_seconds,
    }
    try:
        result = ask(cluster, operation)
    except MeshError as error:
        return EndpointFacts(address, port, unprobed=str(error))
    completed = bool(result.get("completed"))
    return EndpointFacts(
        address,
        port,
        connected=bool(result.get("connected")),
        completed=completed,
        verified=bool(result.get("verified")),
        error=str(result.get("verify_error") or ("" if completed else result.get("error")) or ""),
    )
