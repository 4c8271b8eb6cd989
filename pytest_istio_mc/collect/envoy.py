"""The configuration dump of an Envoy, reduced to what checks read.

That is endpoints, filter chains, certificates and the handling of requests.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ..certificates import only_certificates
from ..errors import KubeError
from ..recorded import Failure, FilterChain, ProxyEndpoint, ProxyFacts
from . import fields
from .handling import inbound, outbound

ADMIN_PORT = 15000
_METADATA = dict.fromkeys((
    "CLUSTER_ID", "NETWORK", "MESH_ID", "ISTIO_VERSION", "NAMESPACE", "SERVICE_ACCOUNT",
    "REQUESTED_NETWORK_VIEW", "DNS_CAPTURE", "ISTIO_PROXY_SHA", "WORKLOAD_NAME",
    "CLUSTER_DOMAIN", "INSTANCE_IPS",
))  # fmt: skip
_LONGEST_ERROR = 500

Get = Callable[[int, str], bytes]


def read_proxy(
    namespace: str,
    pod: str,
    kind: str,
    get: Get,
    host_prefix: str,
    *,
    ports: Collection[int] = (),
    **known: Any,
) -> ProxyFacts:
    """The facts of one proxy.

    - ``host_prefix`` (``echo.ns.svc.``) and ``ports`` name the service whose endpoints are kept.
    - ``known``: further fields of the facts, which the caller knows of the pod.
    - A dump that cannot be read is a recorded failure.
    """
    try:
        dump = json.loads(get(ADMIN_PORT, dump_path(kind, host_prefix, ports)))
        return reduce_dump(namespace, pod, kind, dump, host_prefix, ports=ports, **known)
    except KubeError as error:
        failure = Failure("/config_dump", str(error), error.status)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # the texts of such errors may quote the document
        failure = Failure("/config_dump", f"is not what an Envoy answers ({type(error).__name__})")
    return ProxyFacts(namespace, pod, kind, failures=(failure,), **known)


def dump_path(kind: str, host_prefix: str, ports: Collection[int] = ()) -> str:
    """The request for the part of a configuration dump that is read of a proxy.

    - Envoy itself leaves out what has another name (``name_regex``), so that neither it nor we
      handle the configuration of services that nobody asks about.
    - Of an east-west gateway all listeners are read: which names it lets in is judged.
    """
    names = [r"default|ROOTCA"]
    if host_prefix:
        names.append(f".*{re.escape(host_prefix)}.*")
    if kind == "east-west":
        names.append(r".*_[0-9]+|connect_.*|virtual.*")
    else:
        names.append("virtualInbound")
        # listeners are named after address and port, routes after the port or host and port
        names += [rf"(.*[_.:])?{port}" for port in ports]
    return f"/config_dump?include_eds&name_regex={quote('|'.join(names), safe='')}"


def reduce_dump(
    namespace: str,
    pod: str,
    kind: str,
    dump: Mapping[str, Any],
    host_prefix: str,
    *,
    ports: Collection[int] = (),
    **known: Any,
) -> ProxyFacts:
    """The facts in a ``/config_dump?include_eds`` document."""
    sections = {
        str(entry.get("@type", "")).rpartition(".")[2]: entry for entry in dump.get("configs") or ()
    }
    node = (sections.get("BootstrapConfigDump", {}).get("bootstrap") or {}).get("node") or {}
    metadata = node.get("metadata") or {}
    place = node.get("locality") or {}
    chain, roots = _certificates(sections.get("SecretsConfigDump", {}))
    chains, errors = _listeners(sections.get("ListenersConfigDump", {}), ports=kind == "east-west")
    names = _cluster_names(sections.get("ClustersConfigDump", {}))
    return ProxyFacts(
        namespace=namespace,
        pod=pod,
        kind=kind,
        metadata=fields.keep(_METADATA, metadata) or {},
        locality="/".join(place[key] for key in ("region", "zone", "sub_zone") if place.get(key)),
        version=str(node.get("user_agent_build_version", {}).get("version", "") or _semantic(node)),
        clusters=tuple(sorted(name for name in names if _concerns(name, host_prefix))),
        endpoints=dict(sorted(_endpoints(sections.get("EndpointsConfigDump", {}), host_prefix))),
        chains=chains,
        listener_errors=errors,
        outbound=outbound(sections, host_prefix, ports if kind == "client" else ()),
        inbound=inbound(sections, ports if kind == "server" else ()),
        certificate_chain=chain,
        roots=roots,
        **known,
    )


def _semantic(node: Mapping[str, Any]) -> str:
    version = (node.get("user_agent_build_version") or {}).get("version") or {}
    parts = ("major_number", "minor_number", "patch") if version else ()
    return ".".join(str(version.get(part, 0)) for part in parts)


def _concerns(cluster: str, host_prefix: str) -> bool:
    """Whether an Envoy cluster belongs to the watched service.

    Names are ``outbound|80||host`` or ``outbound_.80_._.host``.
    """
    separator = "|" if "|" in cluster else "_."
    return bool(host_prefix) and cluster.rpartition(separator)[2].startswith(host_prefix)


def _cluster_names(section: Mapping[str, Any]) -> Iterator[str]:
    for key in ("static_clusters", "dynamic_active_clusters"):
        for entry in section.get(key) or ():
            yield (entry.get("cluster") or {}).get("name", "")


def _endpoints(
    section: Mapping[str, Any], host_prefix: str
) -> Iterator[tuple[str, tuple[ProxyEndpoint, ...]]]:
    for key in ("static_endpoint_configs", "dynamic_endpoint_configs"):
        for entry in section.get(key) or ():
            config = entry.get("endpoint_config") or {}
            if _concerns(config.get("cluster_name", ""), host_prefix):
                yield config["cluster_name"], tuple(_flat(config))


def _flat(config: Mapping[str, Any]) -> Iterator[ProxyEndpoint]:
    for group in config.get("endpoints") or ():
        place = group.get("locality") or {}
        for item in group.get("lb_endpoints") or ():
            address = (item.get("endpoint") or {}).get("address") or {}
            address = address.get("socket_address") or {}
            metadata = (item.get("metadata") or {}).get("filter_metadata") or {}
            match = metadata.get("envoy.transport_socket_match") or {}
            workload = str((metadata.get("istio") or {}).get("workload", "")).split(";")
            yield ProxyEndpoint(
                address=address.get("address", ""),
                port=int(address.get("port_value", 0)),
                health=item.get("health_status", "") or "HEALTHY",
                region=place.get("region", ""),
                zone=place.get("zone", ""),
                subzone=place.get("sub_zone", ""),
                priority=int(group.get("priority", 0)),
                weight=int(item.get("load_balancing_weight", 0)),
                tls_mode=str(match.get("tlsMode", "")),
                cluster=workload[4] if len(workload) > 4 else "",
            )


def _listeners(
    section: Mapping[str, Any], *, ports: bool
) -> tuple[dict[str, tuple[FilterChain, ...]], dict[str, str]]:
    chains: dict[str, tuple[FilterChain, ...]] = {}
    errors: dict[str, str] = {}
    for entry in section.get("dynamic_listeners") or ():
        if (entry.get("error_state") or {}).get("details"):
            details = str(entry["error_state"]["details"])
            errors[entry.get("name", "")] = details[:_LONGEST_ERROR]
        listener = (entry.get("active_state") or {}).get("listener") or {}
        address = (listener.get("address") or {}).get("socket_address") or {}
        if ports and address.get("port_value"):
            chains[str(address["port_value"])] = tuple(
                _chain(chain) for chain in listener.get("filter_chains") or ()
            )
    return chains, errors


def _chain(chain: Mapping[str, Any]) -> FilterChain:
    configs = [entry.get("typed_config") or {} for entry in chain.get("filters") or ()]
    clusters = [config.get("cluster") for config in configs]
    return FilterChain(
        server_names=tuple((chain.get("filter_chain_match") or {}).get("server_names") or ()),
        cluster=next((cluster for cluster in clusters if isinstance(cluster, str)), ""),
        terminates_tls="transport_socket" in chain,
    )


def _certificates(section: Mapping[str, Any]) -> tuple[str, str]:
    secrets = {}
    for key in ("static_secrets", "dynamic_active_secrets"):
        for entry in section.get(key) or ():
            secrets[entry.get("name", "")] = entry.get("secret") or {}
    chain = (secrets.get("default", {}).get("tls_certificate") or {}).get("certificate_chain")
    roots = (secrets.get("ROOTCA", {}).get("validation_context") or {}).get("trusted_ca")
    return _inline(chain), _inline(roots)


def _inline(source: Mapping[str, Any] | None) -> str:
    if not source:
        return ""
    text = str(source.get("inline_string", ""))
    if source.get("inline_bytes"):
        try:
            text = base64.b64decode(source["inline_bytes"]).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return ""
    return only_certificates(text)
