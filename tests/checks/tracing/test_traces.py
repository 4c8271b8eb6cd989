"""The first broken hop: whatever breaks is found where it breaks; a good path has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.checks.tracing import symptoms
from pytest_istio_mc.checks.tracing.trace import MEDIA_TYPE, State, Trace
from pytest_istio_mc.checks.tracing.traces import trace, waits_its_turn
from pytest_istio_mc.observations import ClientCertificate, Ending, Protocol, Request, TlsHandshake
from pytest_istio_mc.snapshot import Snapshot
from tests.checks.seeding import endpoint_configs, forget, own_root
from tests.fake_clusters import HOST, PROBES, SYSTEM, FakeMesh, Json, encoded

RECORDED = Path(__file__).parents[2] / "recorded"
TLS_ERROR = "SSL routines:OPENSSL_internal"
UNVERIFIED = f"TLS_error:|268435581:{TLS_ERROR}:CERTIFICATE_VERIFY_FAILED"
UNKNOWN_CA = f"TLS_error:|268436504:{TLS_ERROR}:TLSV1_ALERT_UNKNOWN_CA"
REFUSED = "transport failure reason: delayed connect error: 111"
PLAINTEXT = "PeerAuthentication default in istio-system"
PATCH = "patch peerauthentications.security.istio.io"
NO_ISSUER = "unable to get local issuer certificate"


def traced(
    mesh: FakeMesh,
    *requests: Request,
    handshakes: Iterable[TlsHandshake] = (),
    past_sidecar: bool = False,
) -> Trace:
    return trace(
        mesh.record(), "cluster1", "cluster2", 8080, requests, handshakes, past_sidecar=past_sidecar
    )


def failed(
    ending: Ending = Ending.ANSWERED, status: int = 503, error: str = "", source: str = "cluster1"
) -> Request:
    status = status if ending is Ending.ANSWERED else 0
    sent = (1.0, source, "client-1", "echo", 8080, Protocol.HTTP)
    return Request(*sent, ending, status, error=error)


def handshake(
    ending: Ending,
    *,
    connected: bool = True,
    completed: bool = False,
    verify_error: str = "",
    status: int = 0,
) -> TlsHandshake:
    way = ("cluster1", "198.19.2.1", 15443, "outbound_.8080_._.echo", ClientCertificate.MESH)
    made = TlsHandshake(*way, ending, connected, completed, verify_error=verify_error)
    return replace(made, status=status, error="the words of the error")


def listeners(mesh: FakeMesh, pod: str) -> list[Json]:
    found: list[Json] = mesh[int(pod[-1])].dump(pod)["configs"][3]["dynamic_listeners"]
    return found


def chains_in(mesh: FakeMesh, pod: str = "server-2") -> list[Json]:
    return [
        chain
        for entry in listeners(mesh, pod)
        if entry["name"] == "virtualInbound"
        for chain in entry["active_state"]["listener"]["filter_chains"]
    ]


def test_a_good_path_has_no_broken_hop_and_a_tick_for_each() -> None:
    found = traced(FakeMesh())

    assert found.broken is None
    assert [hop.state for hop in found.hops] == [State.GOOD] * 12, found.hops
    assert all(str(hop).startswith("✓ ") for hop in found.hops)
    assert [hop.name for hop in found.hops] == [
        "client proxy", "DNS", "listener", "route", "cluster", "endpoint", "client TLS",
        "remote gateway", "remote cluster", "remote inbound", "authorisation", "application",
    ]  # fmt: skip
    assert found.summary == "first broken hop: none was found"


def no_service(mesh: FakeMesh) -> None:
    """The ports come from the other cluster's Service."""
    mesh[1].remove("Service", "echo", PROBES)


def no_listener(mesh: FakeMesh) -> None:
    listeners(mesh, "client-1")[:] = [
        entry for entry in listeners(mesh, "client-1") if entry["name"] != "0.0.0.0_8080"
    ]


def routed_elsewhere(mesh: FakeMesh) -> None:
    mesh[1].dump("client-1")["configs"][5]["dynamic_route_configs"][0]["route_config"][
        "virtual_hosts"
    ][0]["routes"] = [{"direct_response": {"status": 418}}]


def no_cluster(mesh: FakeMesh) -> None:
    mesh[1].dump("client-1")["configs"][1]["dynamic_active_clusters"].clear()


def forgotten(mesh: FakeMesh) -> None:
    forget(mesh)


def plaintext_rule(mesh: FakeMesh) -> None:
    forget(mesh)
    rule = {
        "metadata": {"name": "plain", "namespace": SYSTEM},
        "spec": {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    }
    mesh[1].objects["DestinationRule.networking.istio.io"] = [rule]


def nothing_ready(mesh: FakeMesh) -> None:
    forget(mesh)
    mesh[2].find("EndpointSlice.discovery.k8s.io", "echo-abc", PROBES)["endpoints"].clear()


def all_ejected(mesh: FakeMesh) -> None:
    for entry in endpoint_configs(mesh, "client-1"):
        entry["endpoint_config"]["endpoints"][1]["lb_endpoints"][0]["health_status"] = "UNHEALTHY"


def another_root(mesh: FakeMesh) -> None:
    root = certificates.make_root("Another Root")
    own_root(mesh, root, certificates.make_intermediate(root, "cluster2"))


def another_account(mesh: FakeMesh) -> None:
    for entry in mesh[1].dump("client-1")["configs"][1]["dynamic_active_clusters"]:
        context = entry["cluster"]["transport_socket_matches"][0]["transport_socket"][
            "typed_config"
        ]["common_tls_context"]
        context["combined_validation_context"]["default_validation_context"][
            "match_subject_alt_names"
        ] = [{"exact": "spiffe://td/x"}]


def no_chain_at_the_gateway(mesh: FakeMesh) -> None:
    listeners(mesh, "gateway-2").clear()


def no_gateway_pod(mesh: FakeMesh) -> None:
    mesh[2].remove("Pod", "gateway-2", SYSTEM)


def nothing_behind_the_gateway(mesh: FakeMesh) -> None:
    for entry in endpoint_configs(mesh, "gateway-2"):
        entry["endpoint_config"]["endpoints"].clear()


def servers_that_trust_another_root(mesh: FakeMesh) -> None:
    secrets = mesh[2].dump("server-2")["configs"][4]["dynamic_active_secrets"]
    root = certificates.make_root("Old Root").certificate
    secrets[1]["secret"]["validation_context"]["trusted_ca"]["inline_bytes"] = encoded(root)


def plaintext_servers(mesh: FakeMesh) -> None:
    for chain in chains_in(mesh):
        chain.pop("transport_socket", None)


def servers_told_to_take_plaintext(mesh: FakeMesh) -> None:
    plaintext_servers(mesh)
    mesh[2].objects["PeerAuthentication.security.istio.io"] = [
        {
            "metadata": {"name": "default", "namespace": SYSTEM},
            "spec": {"mtls": {"mode": "DISABLE"}},
        }
    ]


def nobody_may(mesh: FakeMesh) -> None:
    policies = {
        f"ns[{SYSTEM}]-policy[deny-all]-rule[0]": {"principals": [{"not_id": {"any": True}}]}
    }
    for chain in chains_in(mesh):
        chain["filters"][0]["typed_config"]["http_filters"] = [
            {"name": "envoy.filters.http.rbac", "typed_config": {"rules": {"policies": policies}}}
        ]


@pytest.mark.parametrize(
    ("break_it", "hop", "seen", "remedy"),
    [
        (no_service, "DNS", "no such Service",
         "kubectl --context=ctx-1 -n istio-mc-test create service clusterip --tcp=8080:8080"),
        (no_listener, "listener", "none",
         "istioctl --context=ctx-1 proxy-config listeners client-1.istio-mc-test"),
        (routed_elsewhere, "route", "direct response 418", "proxy-config routes client-1"),
        (no_cluster, "cluster", "none of that name", "proxy-config clusters client-1"),
        (forgotten, "endpoint",
         "only 10.1.0.5:8080: istiod istiod-1 of cluster1 has none of cluster2 either",
         "proxy-config endpoints"),
        (plaintext_rule, "endpoint", "DestinationRule plain in istio-system",
         "patch destinationrules.networking.istio.io/plain"),
        (nothing_ready, "endpoint", "no instance is ready in cluster2",
         "kubectl --context=ctx-2 -n istio-mc-test get pods"),
        (all_ejected, "endpoint", "198.19.2.1:15443 unhealthy", "proxy-config endpoints"),
        (another_root, "client TLS", "client-1 does not accept the certificate of server-2",
         "istio-ca-root-cert"),
        (another_account, "client TLS", "spiffe://td/x", "proxy-config clusters"),
        (no_chain_at_the_gateway, "remote gateway", "gateway-2 has no listener",
         "--context=ctx-2 proxy-config listeners gateway-2"),
        (no_gateway_pod, "remote gateway", "no gateway pod runs",
         "kubectl --context=ctx-2 -n istio-system get deployments"),
        (nothing_behind_the_gateway, "remote cluster", "gateway gateway-2 has no endpoints",
         "proxy-config endpoints gateway-2"),
        (servers_that_trust_another_root, "remote inbound",
         "server-2 does not accept the certificate of client-1", "ctx-2"),
        (plaintext_servers, "remote inbound", "plaintext only", "get peerauthentications"),
        (servers_told_to_take_plaintext, "remote inbound",
         f"{PLAINTEXT} of cluster2 turns mutual TLS off, which cluster1 was not told",
         f"kubectl --context=ctx-2 -n istio-system {PATCH}/default"),
        (nobody_may, "authorisation", "ALLOW istio-system/deny-all lets nobody in",
         '"kind": "AuthorizationPolicy"'),
    ],
)  # fmt: skip
def test_what_the_configuration_breaks_is_found_where_it_breaks(
    break_it: Callable[[FakeMesh], None], hop: str, seen: str, remedy: str
) -> None:
    mesh = FakeMesh()
    break_it(mesh)

    found = traced(mesh)

    assert found.broken is not None, found.hops
    assert found.broken.name == hop, found.hops
    assert seen in found.broken.seen
    assert remedy in found.remedy
    place = found.hops.index(found.broken)
    assert {one.state for one in found.hops[:place]} <= {State.GOOD}
    assert {one.state for one in found.hops[place + 1 :]} <= {State.NOT_REACHED}
    assert all(not one.remedy for one in found.hops if one is not found.broken)
    assert found.summary.startswith(f"first broken hop: {hop}: ")


@pytest.mark.parametrize(
    ("failure", "hop"),
    [
        (failed(Ending.UNRESOLVED), symptoms.DNS),
        (failed(status=404), symptoms.ROUTE),
        (failed(error="no healthy upstream"), symptoms.ENDPOINT),
        (failed(error=f"disconnect/reset before headers. {UNVERIFIED}"), symptoms.CLIENT_TLS),
        (failed(error=f"reset reason: remote connection failure, {REFUSED}"), symptoms.GATEWAY),
        (failed(error=UNKNOWN_CA), symptoms.INBOUND),
        (failed(status=403, error="RBAC: access denied"), symptoms.AUTHORISATION),
        (failed(status=500, error="Internal Server Error"), symptoms.APPLICATION),
        (handshake(Ending.TIMEOUT, connected=False), symptoms.GATEWAY),
        (handshake(Ending.CLOSED), symptoms.GATEWAY),
        (handshake(Ending.ANSWERED, completed=True, verify_error=NO_ISSUER), symptoms.CLIENT_TLS),
        (handshake(Ending.ALERT, completed=True), symptoms.INBOUND),
        (handshake(Ending.ANSWERED, completed=True, status=403), symptoms.AUTHORISATION),
        (handshake(Ending.ANSWERED, completed=True, status=503), symptoms.APPLICATION),
    ],
)
def test_what_the_configuration_does_not_show_is_told_by_how_requests_fail(
    failure: Request | TlsHandshake, hop: str
) -> None:
    mesh = FakeMesh()

    sent = [failure] if isinstance(failure, Request) else []
    tried = [failure] if isinstance(failure, TlsHandshake) else []

    found = traced(mesh, *sent, handshakes=tried)

    assert found.broken is not None
    assert found.broken.name == hop
    assert found.remedy


def test_a_failure_of_another_clusters_client_says_nothing() -> None:
    denied = failed(status=403, error="RBAC: access denied", source="cluster2")

    assert traced(FakeMesh(), denied).broken is None


def test_what_broke_first_wins_over_what_the_failure_says() -> None:
    mesh = FakeMesh()
    no_gateway_pod(mesh)

    found = traced(mesh, failed(status=403, error="RBAC: access denied"))

    assert found.broken is not None
    assert found.broken.name == symptoms.GATEWAY


def test_past_the_sidecar_there_are_only_the_hops_beyond_it() -> None:
    mesh = FakeMesh()
    no_listener(mesh)

    found = traced(mesh, past_sidecar=True)

    assert found.broken is None
    assert [hop.name for hop in found.hops][:2] == ["client TLS", "remote gateway"]


def test_within_a_cluster_there_is_no_gateway_on_the_path() -> None:
    found = trace(FakeMesh().record(), "cluster1", "cluster1", 8080)

    assert found.broken is None
    assert not {hop.name for hop in found.hops} & symptoms.BEYOND_GATEWAY


def test_what_could_not_be_read_is_unknown_and_the_rest_is_looked_at() -> None:
    mesh = FakeMesh()
    del mesh[1].answers[("client-1", 15000, "/config_dump?include_eds")]
    no_chain_at_the_gateway(mesh)

    found = traced(mesh)

    assert found.broken is not None
    assert found.broken.name == "remote gateway"
    assert [hop.name for hop in found.hops if hop.state is State.UNKNOWN] == [
        "client proxy", "listener", "route", "cluster", "endpoint", "client TLS",
    ]  # fmt: skip
    assert "nothing is known of: client proxy, listener" in found.summary


def test_the_evidence_can_be_read_by_programs() -> None:
    mesh = FakeMesh()
    no_cluster(mesh)

    evidence = traced(mesh).evidence
    document = json.loads(evidence.text)

    assert evidence.media_type == MEDIA_TYPE
    assert evidence.name == "hops from cluster1 to cluster2"
    assert len(evidence.text) < 4000  # what a certificate quotes
    assert document["firstBroken"] == "cluster"
    assert [hop["state"] for hop in document["hops"]] == ["good"] * 4 + ["broken"] + [
        "not reached"
    ] * 7


def by_priority(mesh: FakeMesh, priority: int = 1) -> None:
    for entry in endpoint_configs(mesh, "client-1"):
        entry["endpoint_config"]["endpoints"][1]["priority"] = priority


def test_endpoints_of_a_lower_priority_wait_their_turn() -> None:
    mesh = FakeMesh()
    by_priority(mesh)

    assert waits_its_turn(mesh.record(), "cluster1", "cluster2", 8080)
    assert not waits_its_turn(mesh.record(), "cluster2", "cluster1", 8080)
    assert not waits_its_turn(mesh.record(), "cluster1", "cluster1", 8080)


def test_endpoints_that_are_absent_or_unhealthy_do_not_wait() -> None:
    gone, ejected = FakeMesh(), FakeMesh()
    forget(gone)
    by_priority(ejected)
    all_ejected(ejected)

    assert not waits_its_turn(gone.record(), "cluster1", "cluster2", 8080)
    assert not waits_its_turn(ejected.record(), "cluster1", "cluster2", 8080)


def test_nothing_waits_behind_a_priority_without_healthy_endpoints() -> None:
    mesh = FakeMesh()
    by_priority(mesh)
    for entry in endpoint_configs(mesh, "client-1"):
        entry["endpoint_config"]["endpoints"][0]["lb_endpoints"][0]["health_status"] = "UNHEALTHY"

    assert not waits_its_turn(mesh.record(), "cluster1", "cluster2", 8080)


@pytest.mark.parametrize(
    ("name", "source", "target", "hop"),
    [
        ("healthy", "cluster1", "cluster2", None),
        ("healthy", "cluster2", "cluster1", None),
        ("rs-missing", "cluster1", "cluster2", "endpoint"),
        ("ew-passthrough-missing", "cluster1", "cluster2", "remote gateway"),
        ("ew-passthrough-mode", "cluster1", "cluster2", "remote gateway"),
        ("trust-different-roots", "cluster1", "cluster2", "client TLS"),
        ("ew-svc-label-missing", "cluster1", "cluster2", "endpoint"),
    ],
)
def test_recorded_meshes_break_where_they_should(
    name: str, source: str, target: str, hop: str | None
) -> None:
    found = trace(Snapshot.load(RECORDED / name), source, target, 5000)

    assert (found.broken.name if found.broken else None) == hop, found.hops


def test_the_host_of_the_fake_mesh_is_what_the_hops_look_for() -> None:
    assert traced(FakeMesh()).hops[3].seen == f"outbound|8080||{HOST}"


@pytest.mark.parametrize(
    ("kind", "namespace", "spec", "request_", "hop", "told"),
    [
        (
            "AuthorizationPolicy.security.istio.io",
            SYSTEM,
            {"action": "DENY", "rules": [{"from": [{"source": {"namespaces": [PROBES]}}]}]},
            failed(status=403, error="RBAC: access denied"),
            symptoms.AUTHORISATION,
            "AuthorizationPolicy istio-system/users of cluster2 denies it",
        ),
        (
            "DestinationRule.networking.istio.io",
            SYSTEM,
            {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
            failed(error="upstream connect error or disconnect/reset before headers. "
                   "reset reason: connection termination"),
            symptoms.GATEWAY,
            "DestinationRule istio-system/users of cluster1",
        ),
    ],
)  # fmt: skip
def test_a_failed_probe_names_the_object_of_users_that_breaks_it(
    kind: str, namespace: str, spec: Json, request_: Request, hop: str, told: str
) -> None:
    mesh = FakeMesh()
    for number in (1, 2):
        item = {"metadata": {"name": "users", "namespace": namespace}, "spec": spec}
        mesh[number].objects.setdefault(kind, []).append(item)

    broken = traced(mesh, request_).broken

    assert broken is not None
    assert told in broken.seen, broken
    assert "/users" in broken.remedy, broken


def test_a_broken_hop_without_such_an_object_stays_as_it_is() -> None:
    request = failed(status=403, error="RBAC: access denied")

    broken = traced(FakeMesh(), request).broken

    assert broken is not None
    assert "users" not in broken.seen + broken.remedy
