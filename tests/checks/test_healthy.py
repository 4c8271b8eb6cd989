"""Nothing at all is wrong with a healthy mesh, nor with what only looks wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.verdicts import Outcome
from tests.checks.seeding import below_a_policy_ca, endpoint_configs, hand_out
from tests.fake_clusters import PROBES, SYSTEM, FakeMesh, cacerts, encoded
from tests.static_checks import STATIC, judge_all

ONE_REPLICA = {"MC-ACCESS-007"}
"""Not applicable where every control plane has one replica."""

NO_SERVICES = {id for id in STATIC if STATIC[id].area == "SERVICE"}
"""Not applicable where nobody but the probes has services."""

OTHER_TOPOLOGIES = {"MC-CONTROL-007", "MC-CONTROL-010", "MC-FEDERATION-002"}
"""About remote clusters, external control planes and federated meshes."""


@pytest.mark.parametrize("clusters", [2, 3])
def test_every_static_check_is_conformant_on_a_healthy_mesh(clusters: int) -> None:
    verdicts = judge_all(FakeMesh(clusters).record())

    assert {id: verdict.outcome for id, verdict in verdicts.items()} == {
        id: Outcome.NOT_APPLICABLE if id in ONE_REPLICA | NO_SERVICES else Outcome.CONFORMANT
        for id in STATIC
        if id not in OTHER_TOPOLOGIES
    }, "\n".join(f"{verdict.check}: {verdict.reason}" for verdict in verdicts.values())


def a_longer_chain_in_one_cluster(mesh: FakeMesh) -> None:
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    mesh[2].objects["Secret"].append(cacerts(below_a_policy_ca(mesh), mesh.root))


def another_node_port(mesh: FakeMesh) -> None:
    mesh[2].find("Service", "echo", PROBES)["spec"]["ports"][0]["nodePort"] = 31999


def an_expired_root_that_nobody_uses(mesh: FakeMesh) -> None:
    old = certificates.make_root("Old Root", valid=certificates.DAY / 1440)
    both = mesh.root.certificate + old.certificate
    for n in (1, 2):
        mesh[n].find("Secret", "cacerts", SYSTEM)["data"]["root-cert.pem"] = encoded(both)
        hand_out(mesh, n, both)


def a_newer_patch_release(mesh: FakeMesh) -> None:
    mesh[2].answers[("istiod-2", 15014, "/version")] = "1.31.4-abc-Clean"


def unhealthy_endpoints_as_istio_1_31_sends_them(mesh: FakeMesh) -> None:
    endpoints = endpoint_configs(mesh, "client-1")[0]["endpoint_config"]["endpoints"][0]
    address = {"socket_address": {"address": "10.1.0.99", "port_value": 8080}}
    endpoints["lb_endpoints"].append(
        {"endpoint": {"address": address}, "health_status": "UNHEALTHY"}
    )


def services_of_kubernetes_that_differ(mesh: FakeMesh) -> None:
    for n, port in ((1, 53), (2, 54)):
        for namespace, name in (("kube-system", "kube-dns"), ("default", "kubernetes")):
            metadata = {"name": name, "namespace": namespace}
            spec = {"ports": [{"name": "a", "port": port}]}
            mesh[n].objects["Service"].append({"metadata": metadata, "spec": spec})


def a_gateway_port_of_another_name(mesh: FakeMesh) -> None:
    mesh[1].find("Service", "istio-eastwestgateway", SYSTEM)["spec"]["ports"][0]["name"] = "mtls"


def a_newer_push_that_is_not_answered_yet(mesh: FakeMesh) -> None:
    resource = next(iter(mesh[1].istiod("syncz")[0]["resources"].values()))
    resource |= {"sent": "b", "acked": "a", "sentTime": "2999-01-01T00:00:00Z"}


def an_istio_label_on_another_secret(mesh: FakeMesh) -> None:
    metadata = {"name": "helm", "namespace": SYSTEM}
    secret = {"metadata": metadata, "type": "helm.sh/release.v1", "data": {}}
    mesh[1].objects["Secret"].append(secret)


@pytest.mark.parametrize(
    "control",
    [
        a_longer_chain_in_one_cluster,
        another_node_port,
        an_expired_root_that_nobody_uses,
        a_newer_patch_release,
        unhealthy_endpoints_as_istio_1_31_sends_them,
        services_of_kubernetes_that_differ,
        a_gateway_port_of_another_name,
        a_newer_push_that_is_not_answered_yet,
        an_istio_label_on_another_secret,
    ],
)
def test_what_only_looks_wrong_is_not_blamed(control: Callable[[FakeMesh], None]) -> None:
    mesh = FakeMesh()
    control(mesh)

    verdicts = judge_all(mesh.record()).values()

    wrong = [one for one in verdicts if one.outcome is Outcome.NON_CONFORMANT]
    assert [f"{one.check}: {one.reason}" for one in wrong] == []
