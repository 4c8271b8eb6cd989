"""The handling of requests by an Envoy, read from its configuration dump."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_istio_mc.collect.handling import inbound, outbound
from pytest_istio_mc.recorded import Inbound, Outbound

PREFIX = "echo.ns.svc."
HOST = "echo.ns.svc.cluster.local"
MANAGER = "envoy.filters.network.http_connection_manager"
PROXY = "envoy.filters.network.tcp_proxy"


def listener(name: str, port: int, *chains: dict[str, Any]) -> dict[str, Any]:
    address = {"socket_address": {"address": "0.0.0.0", "port_value": port}}
    listened = {"address": address, "filter_chains": list(chains)}
    return {"name": name, "active_state": {"listener": listened}}


def filtered(name: str, **config: Any) -> dict[str, Any]:
    return {"filters": [{"name": name, "typed_config": config}]}


def sections(
    *listeners: dict[str, Any],
    routes: dict[str, list[dict[str, Any]]] | None = None,
    clusters: Any = (),
) -> dict[str, Any]:
    other = {"domains": ["other.ns.svc.x"], "routes": [{"redirect": {}}]}
    routed = [
        {"route_config": {"name": name, "virtual_hosts": [other, *hosts]}}
        for name, hosts in (routes or {}).items()
    ]
    active = [{"cluster": cluster} for cluster in clusters]
    return {
        "ListenersConfigDump": {"dynamic_listeners": list(listeners)},
        "RoutesConfigDump": {"dynamic_route_configs": routed},
        "ClustersConfigDump": {"dynamic_active_clusters": active},
    }


def to_host(*actions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"domains": ["echo", HOST], "routes": list(actions)}]


@pytest.mark.parametrize(
    ("action", "targets"),
    [
        ({"route": {"cluster": f"outbound|80||{HOST}"}}, (f"outbound|80||{HOST}",)),
        (
            {"route": {"weighted_clusters": {"clusters": [{"name": "a"}, {"name": "b"}]}}},
            ("a", "b"),
        ),
        ({"direct_response": {"status": 503}}, ("direct response 503",)),
        ({"redirect": {"host_redirect": "x"}}, ("redirect",)),
    ],
)
def test_routes_say_where_requests_go(action: dict[str, Any], targets: tuple[str, ...]) -> None:
    named = filtered(MANAGER, rds={"route_config_name": "80"})
    by_name = sections(listener("l", 80, named), routes={"80": to_host(action)})
    whole = filtered(MANAGER, route_config={"virtual_hosts": to_host(action)})
    inline = sections(listener("l", 80, whole))

    assert outbound(by_name, PREFIX, [80]) == {"80": Outbound("l", targets)}
    assert outbound(inline, PREFIX, [80]) == {"80": Outbound("l", targets)}


def test_of_several_services_on_a_port_the_watched_one_is_taken() -> None:
    other = filtered(PROXY, cluster="outbound|90||other.ns.svc.cluster.local")
    ours = filtered(PROXY, weighted_clusters={"clusters": [{"name": f"outbound|90||{HOST}"}]})
    taken = sections(listener("other", 90, other), listener("ours", 90, ours))

    found = outbound(taken, PREFIX, [90, 91])

    assert found == {"90": Outbound("ours", (f"outbound|90||{HOST}",)), "91": Outbound()}


@pytest.mark.parametrize("place", ["matches", "whole"])
def test_mutual_tls_of_the_cluster_is_read(place: str) -> None:
    name, sni = f"outbound|90||{HOST}", "outbound_.90_._.echo"
    names = {"match_subject_alt_names": [{"exact": "spiffe://td/x"}]}
    common = {
        "tls_certificate_sds_secret_configs": [{"name": "default"}],
        "combined_validation_context": {"default_validation_context": names},
    }
    socket = {"transport_socket": {"typed_config": {"sni": sni, "common_tls_context": common}}}
    placed = {"transport_socket_matches": [socket]} if place == "matches" else socket
    taken = listener("l", 90, filtered(PROXY, cluster=name))

    found = outbound(sections(taken, clusters=[{"name": name, **placed}]), PREFIX, [90])

    assert found["90"] == Outbound("l", (name,), True, sni, ("spiffe://td/x",))


def chain(protocol: str, *filters: dict[str, Any], tls: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "filter_chain_match": {"destination_port": 80, "transport_protocol": protocol},
        "filters": list(filters),
    }
    return found | ({"transport_socket": {}} if tls else {})


def rules(action: str, *names: str, nobody: bool = False) -> dict[str, Any]:
    principals = [{"not_id": {"any": True}}] if nobody else [{"any": True}]
    policies = {f"ns[a]-policy[{name}]-rule[0]": {"principals": principals} for name in names}
    return {"rules": {"policies": policies, **({"action": action} if action != "ALLOW" else {})}}


def test_policies_of_both_kinds_of_filters_are_named() -> None:
    denied = {"name": "envoy.filters.http.rbac", "typed_config": rules("DENY", "x")}
    over_http = {"name": MANAGER, "typed_config": {"http_filters": [denied]}}
    allowed = rules("ALLOW", "y", nobody=True)
    over_tcp = {"name": "envoy.filters.network.rbac", "typed_config": allowed}
    both = chain("tls", over_tcp, over_http, tls=True)

    found = inbound(sections(listener("virtualInbound", 15006, both)), [80, 81])

    assert found["80"] == Inbound(True, True, False, ("ALLOW a/y", "DENY a/x"), ("ALLOW a/y",))
    assert found["81"] == Inbound()


def test_nobody_is_let_in_only_if_no_policy_lets_anyone() -> None:
    mixed = rules("ALLOW", "none", nobody=True)
    mixed["rules"]["policies"] |= rules("ALLOW", "some")["rules"]["policies"]
    over_tcp = {"name": "envoy.filters.network.rbac", "typed_config": mixed}

    plain = chain("raw_buffer", over_tcp)
    found = inbound(sections(listener("virtualInbound", 15006, plain)), [80])

    assert found["80"] == Inbound(True, False, True, ("ALLOW a/none", "ALLOW a/some"))
