"""Faults of trust that static checks find, each as the one root cause."""

from __future__ import annotations

import pytest

from pytest_istio_mc import certificates
from tests.checks.seeding import Case, Faults, below_a_policy_ca, hand_out, hold, issue, own_root
from tests.fake_clusters import PROBES, SYSTEM, FakeMesh, cacerts, encoded

fault = Faults()


@fault(
    "MC-TRUST-001",
    "trust-different-roots",
    "cluster1",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n istio-system create secret generic cacerts",
)
def different_roots(mesh: FakeMesh) -> None:
    root = certificates.make_root("Another Root")
    intermediate = certificates.make_intermediate(root, "cluster2")
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    mesh[2].objects["Secret"].append(cacerts(intermediate, root))
    own_root(mesh, root, intermediate)


@fault("MC-TRUST-002", "trust-no-cacerts", "cluster2", remedy="create secret generic cacerts")
def no_cacerts(mesh: FakeMesh) -> None:
    root = certificates.make_root("cluster.local")
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    data = {"ca-cert.pem": encoded(root.certificate), "ca-key.pem": encoded(root.key)}
    mesh[2].objects["Secret"].append(
        {
            "metadata": {"name": "istio-ca-secret", "namespace": SYSTEM},
            "type": "istio.io/ca-root",
            "data": data,
        }
    )
    own_root(mesh, root, root)


def change_cacerts(mesh: FakeMesh, **files: str) -> None:
    data = mesh[2].find("Secret", "cacerts", SYSTEM)["data"]
    for key, content in files.items():
        data[key.replace("_", "-") + ".pem"] = encoded(content)


@fault("MC-TRUST-003", "trust-cacerts-incomplete", "cluster2", remedy="--from-file=cert-chain.pem")
def cacerts_without_a_chain(mesh: FakeMesh) -> None:
    del mesh[2].find("Secret", "cacerts", SYSTEM)["data"]["cert-chain.pem"]


@fault("MC-TRUST-003", "trust-key-mismatch", "cluster2")
def key_of_another_certificate(mesh: FakeMesh) -> None:
    change_cacerts(mesh, ca_key=certificates.make_root().key)


@fault("MC-TRUST-003", "trust-cacerts-malformed", "cluster2")
def key_that_is_none(mesh: FakeMesh) -> None:
    change_cacerts(mesh, ca_key="hello")


@fault("MC-TRUST-003", "trust-chain-broken", "cluster2", remedy="append")
def chain_without_its_middle(mesh: FakeMesh) -> None:
    issuing = below_a_policy_ca(mesh)
    alone = issuing.certificate
    change_cacerts(mesh, ca_cert=alone, ca_key=issuing.key, cert_chain=alone)


@fault("MC-TRUST-003", "trust-chain-order", "cluster2")
def chain_upside_down(mesh: FakeMesh) -> None:
    own = mesh.intermediates["cluster2"].certificate
    change_cacerts(mesh, cert_chain=mesh.root.certificate + own)


@fault("MC-TRUST-003", "trust-ca-is-leaf", "cluster2")
def end_entity_as_ca(mesh: FakeMesh) -> None:
    leaf = certificates.make_leaf(mesh.root, dns_names=["ca.example"])
    change_cacerts(mesh, ca_cert=leaf.certificate, ca_key=leaf.key, cert_chain=leaf.certificate)


@fault(
    "MC-TRUST-004",
    "trust-root-rotation-half",
    "cluster2",
    remedy="rollout restart deployment -l app=istiod",
)
def root_replaced_without_a_restart(mesh: FakeMesh) -> None:
    both = mesh.root.certificate + certificates.make_root("New Root").certificate
    for n in (1, 2):
        mesh[n].find("Secret", "cacerts", SYSTEM)["data"]["root-cert.pem"] = encoded(both)
    hand_out(mesh, 1, both)


@fault("MC-TRUST-005", "trust-intermediate-expired", "cluster2")
def expired_intermediate(mesh: FakeMesh) -> None:
    expired = certificates._make_authority(
        "cluster2", "istio-mc", mesh.root, certificates.DAY * -0.01, 0
    )
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    mesh[2].objects["Secret"].append(cacerts(expired, mesh.root))
    own_root(mesh, mesh.root, expired)


@fault(
    "MC-TRUST-006",
    "trust-domain-mismatch",
    "cluster1",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n istio-system get configmap/istio -o json | istio-mc mesh",
)
def two_trust_domains(mesh: FakeMesh) -> None:
    mesh[2].istiod("mesh")["trustDomain"] = "td2"
    mesh[2].find("ConfigMap", "istio", SYSTEM)["data"]["mesh"] = "trustDomain: td2\n"
    issue(mesh, mesh.intermediates["cluster2"], "td2")


@fault("MC-TRUST-007", "trust-identity-wrong", "cluster2", remedy="delete pod/server-2")
def certificate_of_somebody_else(mesh: FakeMesh) -> None:
    name = f"spiffe://cluster.local/ns/{PROBES}/sa/other"
    leaf = certificates.make_leaf(mesh.intermediates["cluster2"], spiffe_id=name)
    hold(mesh, "server-2", chain=leaf.chain)


@pytest.mark.parametrize("case", fault.cases)
def test_a_fault_is_the_one_root_cause(case: Case) -> None:
    case.assert_one_root_cause()
