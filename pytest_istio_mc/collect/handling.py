"""Handling: what an Envoy does with requests to the watched service."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..recorded import Inbound, Outbound

_POLICY = re.compile(r"ns\[(?P<namespace>[^\]]*)\]-policy\[(?P<name>[^\]]*)\]")
_NOBODY = {"not_id": {"any": True}}
_RBAC = (".filters.http.rbac", ".filters.network.rbac")
_CONNECTION_MANAGER = ".http_connection_manager"


def outbound(
    sections: Mapping[str, Any], host_prefix: str, ports: Collection[int]
) -> dict[str, Outbound]:
    """By port of the watched service: where requests are led.

    ``host_prefix`` (``echo.ns.svc.``) is the beginning of its host.
    """
    routes = {
        name: tuple(_to_host(config, host_prefix))
        for entry in sections.get("RoutesConfigDump", {}).get("dynamic_route_configs") or ()
        if (name := (config := entry.get("route_config") or {}).get("name", ""))
    }
    clusters = {
        (cluster := entry.get("cluster") or {}).get("name", ""): cluster
        for entry in sections.get("ClustersConfigDump", {}).get("dynamic_active_clusters") or ()
    }
    found = {}
    for port in ports:
        taken = [
            (name, tuple(_targets(chains, routes, host_prefix)))
            for name, chains in _listeners(sections, port)
        ]
        ours = (one for one in taken if any(_of_host(target, host_prefix) for target in one[1]))
        name, targets = next(ours, next(iter(taken), ("", ())))
        own = clusters.get(next((target for target in targets if target in clusters), ""), {})
        found[str(port)] = Outbound(name, targets, *_tls(own))
    return found


def inbound(sections: Mapping[str, Any], ports: Collection[int]) -> dict[str, Inbound]:
    """By port of this workload: which requests are let in."""
    chains: dict[int, list[Mapping[str, Any]]] = {}
    for entry in sections.get("ListenersConfigDump", {}).get("dynamic_listeners") or ():
        if entry.get("name") == "virtualInbound":
            listener = (entry.get("active_state") or {}).get("listener") or {}
            for chain in listener.get("filter_chains") or ():
                match = chain.get("filter_chain_match") or {}
                chains.setdefault(match.get("destination_port", 0), []).append(chain)
    found = {}
    for port in ports:
        mine = chains.get(port, [])
        rules = [rule for chain in mine for rule in _rules(chain)]
        closed = [rule for rule in rules if _lets_nobody_in(rule)]
        matches = [chain.get("filter_chain_match") or {} for chain in mine]
        found[str(port)] = Inbound(
            known=bool(mine),
            tls=any("transport_socket" in chain for chain in mine),
            plaintext=any(match.get("transport_protocol") == "raw_buffer" for match in matches),
            policies=tuple(dict.fromkeys(name for rule in rules for name in _policies(rule))),
            nobody=tuple(dict.fromkeys(name for rule in closed for name in _policies(rule))),
        )
    return found


def _listeners(
    sections: Mapping[str, Any], port: int
) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for entry in sections.get("ListenersConfigDump", {}).get("dynamic_listeners") or ():
        listener = (entry.get("active_state") or {}).get("listener") or {}
        address = (listener.get("address") or {}).get("socket_address") or {}
        if address.get("port_value") == port:
            yield entry.get("name", ""), listener.get("filter_chains") or []


def _targets(
    chains: list[Mapping[str, Any]], routes: Mapping[str, tuple[str, ...]], host_prefix: str
) -> Iterator[str]:
    for chain in chains:
        for entry in chain.get("filters") or ():
            config = entry.get("typed_config") or {}
            if "cluster" in config:
                yield str(config["cluster"])
            for one in (config.get("weighted_clusters") or {}).get("clusters") or ():
                yield str(one.get("name", ""))
            if str(entry.get("name", "")).endswith(_CONNECTION_MANAGER):
                inline = config.get("route_config")
                name = (config.get("rds") or {}).get("route_config_name", "")
                yield from _to_host(inline, host_prefix) if inline else routes.get(name, ())


def _to_host(config: Mapping[str, Any], host_prefix: str) -> Iterator[str]:
    """The Envoy clusters to which a route configuration leads requests for the host.

    Where it does something else with them, that in words.
    """
    for virtual_host in config.get("virtual_hosts") or ():
        if any(str(domain).startswith(host_prefix) for domain in virtual_host.get("domains") or ()):
            for route in virtual_host.get("routes") or ():
                action = route.get("route") or {}
                if "cluster" in action:
                    yield str(action["cluster"])
                for one in (action.get("weighted_clusters") or {}).get("clusters") or ():
                    yield str(one.get("name", ""))
                if "direct_response" in route:
                    yield f"direct response {route['direct_response'].get('status', '')}"
                if "redirect" in route:
                    yield "redirect"


def _of_host(target: str, host_prefix: str) -> bool:
    return target.rpartition("|")[2].startswith(host_prefix)


def _tls(cluster: Mapping[str, Any]) -> tuple[bool, str, tuple[str, ...]]:
    """The mutual TLS of an Envoy cluster: possible, SNI, names taken."""
    sockets = [
        entry.get("transport_socket") or {}
        for entry in cluster.get("transport_socket_matches") or ()
    ]
    for socket in (*sockets, cluster.get("transport_socket") or {}):
        config = socket.get("typed_config") or {}
        common = config.get("common_tls_context") or {}
        if common.get("tls_certificate_sds_secret_configs"):
            combined = common.get("combined_validation_context") or {}
            validation = combined.get("default_validation_context") or {}
            typed = validation.get("match_typed_subject_alt_names") or ()
            names = validation.get("match_subject_alt_names") or [
                entry.get("matcher") or {} for entry in typed
            ]
            exact = tuple(str(name["exact"]) for name in names if name.get("exact"))
            return True, str(config.get("sni", "")), exact
    return False, "", ()


def _rules(chain: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entry in chain.get("filters") or ():
        config = entry.get("typed_config") or {}
        for one in (entry, *(config.get("http_filters") or ())):
            if str(one.get("name", "")).endswith(_RBAC):
                yield (one.get("typed_config") or {}).get("rules") or {}


def _policies(rules: Mapping[str, Any]) -> Iterator[str]:
    for key in rules.get("policies") or ():
        named = _POLICY.search(key)
        name = f"{named['namespace']}/{named['name']}" if named else key
        yield f"{rules.get('action', 'ALLOW')} {name}"


def _lets_nobody_in(rules: Mapping[str, Any]) -> bool:
    """Whether these rules allow no one, as an AuthorizationPolicy without rules."""
    policies = (rules.get("policies") or {}).values()
    return rules.get("action", "ALLOW") == "ALLOW" and all(
        policy.get("principals") == [_NOBODY] for policy in policies
    )
