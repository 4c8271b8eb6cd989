"""Healthy meshes that look unusual to checks of access, control planes and trust.

Each is judged as the plain mesh is, and a fault in it is still found.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.verdicts import Outcome
from tests.checks.seeding import Seed, hold, issue, replace_remote_secret
from tests.fake_clusters import (
    PROBES,
    SYSTEM,
    FakeCluster,
    FakeMesh,
    Json,
    meta,
    remote_secret,
)
from tests.static_checks import judge_all, root_causes


@dataclass(frozen=True)
class Shape:
    """A healthy but unusual mesh.

    - ``fault`` is one in it, found by ``check`` under the name ``named``.
    - ``undecided``: checks that cannot decide there, for a reason that they state.
    """

    make: Seed
    fault: Seed
    check: str
    named: str
    undecided: frozenset[str] = frozenset()


SHAPES: list[Shape] = []


def shape(
    make: Seed, check: str, named: str, *, undecided: tuple[str, ...] = ()
) -> Callable[[Seed], Seed]:
    """Register a shape with a fault in it, which the decorated function seeds."""

    def register(fault: Seed) -> Seed:
        SHAPES.append(Shape(make, fault, check, named, frozenset(undecided)))
        return fault

    return register


# policies of others that hold the probes, but not istiod


def held_probes(mesh: FakeMesh) -> None:
    """A policy of the CNI's own kind lets pods of new namespaces connect to nothing outside."""
    mesh[1].holds_pods = True


@shape(
    held_probes,
    "MC-ACCESS-002",
    "rs-unreachable",
    undecided=tuple(f"MC-ACCESS-00{number}" for number in range(2, 7)),
)
def nor_does_istiod_get_through(mesh: FakeMesh) -> None:
    mesh[1].istiod("clusterz")[1]["syncStatus"] = "timeout"


# members that are not certified here


def more_members(mesh: FakeMesh) -> None:
    """A third cluster works in the mesh; two of the three are certified."""
    third = FakeCluster("cluster3", 3, "network3")
    mesh.beyond = (third,)
    for n in (1, 2):
        mesh[n].objects["Secret"].append(remote_secret(third))
        secret = f"{SYSTEM}/istio-remote-secret-cluster3"
        known = {"id": "cluster3", "secretName": secret, "syncStatus": "synced"}
        mesh[n].istiod("clusterz").append(known)
        shards = mesh[n].istiod("endpointShardz")
        shards["shop.shop.svc.cluster.local"] = {"shop": {"Shards": {"Kubernetes/cluster3": []}}}


@shape(more_members, "MC-ACCESS-008", "rs-stale")
def and_one_of_them_is_gone(mesh: FakeMesh) -> None:
    mesh.beyond = ()
    for n in (1, 2):
        mesh[n].istiod("clusterz")[-1]["syncStatus"] = "timeout"


def a_member_beyond_a_firewall(mesh: FakeMesh) -> None:
    """Our pods do not reach its API server, istiod does."""
    more_members(mesh)
    mesh.beyond[0].blocked_from = ("cluster1", "cluster2")


@shape(a_member_beyond_a_firewall, "MC-ACCESS-008", "rs-duplicate")
def and_a_member_has_two_secrets(mesh: FakeMesh) -> None:
    second = remote_secret(mesh[2])
    second["metadata"]["name"] = "second"
    mesh[1].objects["Secret"].append(second)


# remote credentials


def a_reader_of_ones_own(mesh: FakeMesh) -> None:
    """It may read what istiod reads, and a single namespace is not among that."""
    for cluster in mesh.clusters.values():
        cluster.hides_namespaces = True


@shape(a_reader_of_ones_own, "MC-ACCESS-002", "rs-wrong-cluster")
def and_a_secret_leads_to_the_wrong_cluster(mesh: FakeMesh) -> None:
    mesh[2].find("Service", "kubernetes", "default")["metadata"]["uid"] = "another"


def a_proxy_on_the_way(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], proxy_url="http://proxy.corp:3128"))
    mesh[2].blocked_from = ("cluster1",)


@shape(
    a_proxy_on_the_way,
    "MC-ACCESS-006",
    "rs-not-synced",
    undecided=("MC-ACCESS-002", "MC-ACCESS-003", "MC-ACCESS-004", "MC-ACCESS-005", "MC-ACCESS-006"),
)
def and_istiod_does_not_get_through(mesh: FakeMesh) -> None:
    mesh[1].istiod("clusterz")[1]["syncStatus"] = "timeout"


# clocks


def clocks_that_are_behind(mesh: FakeMesh) -> None:
    """Ours is half an hour ahead of the clusters'; a push is under way."""
    for cluster in mesh.clusters.values():
        cluster.clock_ahead = -1800.0
    push(mesh, seconds_ago=1800.0 + 5.0)


@shape(clocks_that_are_behind, "MC-CONTROL-005", "proxy-stale")
def and_a_proxy_does_not_answer(mesh: FakeMesh) -> None:
    push(mesh, seconds_ago=1800.0 + 60.0)


def push(mesh: FakeMesh, *, seconds_ago: float) -> None:
    """A push that has no answer yet, so long ago by our clock."""
    from datetime import UTC, datetime, timedelta

    sent = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    resource = next(iter(mesh[1].istiod("syncz")[0]["resources"].values()))
    resource |= {"sent": "b", "acked": "a", "sentTime": sent}


# services


def services_that_nobody_shares(mesh: FakeMesh) -> None:
    """Monitoring outside the mesh, a service exported to nobody, one that is kept local."""
    for n in (1, 2):
        mesh[n].objects["Namespace"].append({"metadata": meta("monitoring")})
        add_service(mesh, n, "prometheus", "monitoring", 9090 + n)
        hidden = add_service(mesh, n, "hidden", PROBES, 80 + n)
        hidden["metadata"]["annotations"] = {"networking.istio.io/exportTo": "~"}
        add_service(mesh, n, "local", PROBES, 80 + n)
        host = f"local.{PROBES}.svc.cluster.local"
        settings = [{"settings": {"clusterLocal": True}, "hosts": [host]}]
        mesh[n].istiod("mesh")["serviceSettings"] = settings


@shape(services_that_nobody_shares, "MC-CONTROL-008", "svc-port-number")
def and_one_that_is_shared_differs(mesh: FakeMesh) -> None:
    for n in (1, 2):
        add_service(mesh, n, "shop", PROBES, 80 + n)


def add_service(mesh: FakeMesh, n: int, name: str, namespace: str, port: int) -> Json:
    """A service with one port."""
    ports = [{"name": "http", "port": port}]
    service: Json = {"metadata": meta(name, namespace), "spec": {"ports": ports}}
    mesh[n].objects["Service"].append(service)
    return service


# roots


def another_mesh_beside(mesh: FakeMesh) -> None:
    """Its namespaces are left out by discoverySelectors, and have its root."""
    other = certificates.make_root("Another Mesh").certificate
    for n in (1, 2):
        selectors = [{"matchLabels": {"mesh": "ours"}}]
        mesh[n].istiod("mesh")["discoverySelectors"] = selectors
        for item in mesh[n].objects["Namespace"]:
            item["metadata"].setdefault("labels", {})["mesh"] = "ours"
        mesh[n].objects["Namespace"].append({"metadata": meta("theirs")})
        config = {
            "metadata": meta("istio-ca-root-cert", "theirs"),
            "data": {"root-cert.pem": other},
        }
        mesh[n].objects["ConfigMap"].append(config)


@shape(another_mesh_beside, "MC-TRUST-004", "trust-root-rotation-half")
def and_a_namespace_of_ours_has_its_root(mesh: FakeMesh) -> None:
    theirs = mesh[1].find("ConfigMap", "istio-ca-root-cert", "theirs")["data"]["root-cert.pem"]
    config = mesh[1].find("ConfigMap", "istio-ca-root-cert", PROBES)
    config["data"] = {"root-cert.pem": theirs}


def more_roots(mesh: FakeMesh) -> None:
    """meshConfig.caCertificates gives proxies further roots."""
    partner = certificates.make_root("Partner Root").certificate
    both = mesh.root.certificate + partner
    for n in (1, 2):
        mesh[n].istiod("mesh")["caCertificates"] = [{"pem": partner}]
        for pod in (f"client-{n}", f"server-{n}", f"gateway-{n}"):
            hold(mesh, pod, roots=both)


@shape(more_roots, "MC-TRUST-007", "trust-root-rotation-half")
def and_a_proxy_trusts_a_stranger(mesh: FakeMesh) -> None:
    stranger = certificates.make_root("Stranger").certificate
    hold(mesh, "client-1", roots=mesh.root.certificate + stranger)


def signed_by_spire(mesh: FakeMesh) -> None:
    """Workloads are signed by SPIRE; istiods have CAs of their own, for themselves alone."""
    spire = mesh.root
    for n in (1, 2):
        own = certificates.make_root(f"istiod {n}").certificate
        mesh[n].remove("Secret", "cacerts", SYSTEM)
        for item in mesh[n].objects["ConfigMap"]:
            if item["metadata"]["name"] == "istio-ca-root-cert":
                item["data"] = {"root-cert.pem": own}
        for pod in mesh[n].objects["Pod"]:
            if not pod["metadata"]["name"].startswith("istiod"):
                volume = {"name": "workload-socket", "csi": {"driver": "csi.spiffe.io"}}
                pod["spec"]["volumes"] = [volume]
                hold(mesh, pod["metadata"]["name"], roots=spire.certificate)


@shape(
    signed_by_spire,
    "MC-TRUST-001",
    "trust-root-rotation-half",
    undecided=("MC-TRUST-002", "MC-TRUST-003"),
)
def and_one_proxy_has_the_root_of_another_server(mesh: FakeMesh) -> None:
    hold(mesh, "client-2", roots=certificates.make_root("Another SPIRE").certificate)


def domains_with_aliases(mesh: FakeMesh) -> None:
    """Each primary has a trust domain of its own and names the other's."""
    issue(mesh, mesh.intermediates["cluster2"], "two.example")
    mesh[2].istiod("mesh")["trustDomain"] = "two.example"
    for n, alias in ((1, "two.example"), (2, "cluster.local")):
        mesh[n].istiod("mesh")["trustDomainAliases"] = [alias]


@shape(domains_with_aliases, "MC-TRUST-006", "trust-domain-mismatch")
def and_one_does_not_name_the_other(mesh: FakeMesh) -> None:
    mesh[1].istiod("mesh")["trustDomainAliases"] = []


# revisions


def revisions(mesh: FakeMesh) -> None:
    """Everything is installed under a revision, beside what is left of an older one."""
    for n in (1, 2):
        for name in ("istio", "istio-sidecar-injector"):
            config = mesh[n].find("ConfigMap", name, SYSTEM)
            older = copy.deepcopy(config)
            older["metadata"]["name"] = f"{name}-1-30"
            mesh[n].objects["ConfigMap"].append(older)
            config["metadata"]["name"] = f"{name}-1-31"


@shape(revisions, "MC-CONTROL-003", "cp-network-injector-differs")
def and_a_revision_gives_another_network(mesh: FakeMesh) -> None:
    values = mesh[1].find("ConfigMap", "istio-sidecar-injector-1-31", SYSTEM)["data"]
    values["values"] = values["values"].replace("network1", "network9")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda one: one.make.__name__)
def test_a_healthy_mesh_is_not_accused_and_judged_as_far_as_the_plain_one(shape: Shape) -> None:
    plain, mesh = judge_all(FakeMesh().record()), FakeMesh()
    shape.make(mesh)

    verdicts = judge_all(mesh.record())

    odd = {
        f"{id}: {verdict.outcome.value}: {verdict.reason}"
        for id, verdict in verdicts.items()
        if verdict.outcome is not plain[id].outcome
        # where there are services of users, there is more to judge
        and (plain[id].outcome, verdict.outcome) != (Outcome.NOT_APPLICABLE, Outcome.CONFORMANT)
        and (id not in shape.undecided or verdict.outcome is Outcome.NON_CONFORMANT)
    }
    assert odd == set()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda one: one.fault.__name__)
def test_a_fault_in_it_is_found(shape: Shape) -> None:
    mesh = FakeMesh()
    shape.make(mesh)
    shape.fault(mesh)

    causes = root_causes(mesh.record())

    assert (shape.check, shape.named) in {(cause.check, cause.fault) for cause in causes}, (
        "\n".join(f"{cause.check} {cause.fault}: {cause.summary}" for cause in causes)
    )


def namespaces_that_may_not_be_read(mesh: FakeMesh) -> None:
    mesh[1].refused = ("Namespace",)


def an_istiod_that_does_not_tell_its_configuration(mesh: FakeMesh) -> None:
    mesh[1].answers = {key: one for key, one in mesh[1].answers.items() if key[2] != "/debug/mesh"}


@pytest.mark.parametrize("check", ["MC-CONTROL-008", "MC-TRUST-004"])
@pytest.mark.parametrize(
    "lack", [namespaces_that_may_not_be_read, an_istiod_that_does_not_tell_its_configuration]
)
def test_what_could_not_be_found_out_is_neither_green_nor_held_against_the_mesh(
    check: str, lack: Seed
) -> None:
    """Which namespaces count, and which services are kept local, is not known then."""
    mesh = FakeMesh()
    another_mesh_beside(mesh)
    and_one_that_is_shared_differs(mesh)
    lack(mesh)

    verdict = judge_all(mesh.record())[check]

    assert verdict.outcome is Outcome.INCONCLUSIVE, verdict.reason
    assert verdict.findings == ()
