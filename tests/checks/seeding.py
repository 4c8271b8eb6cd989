"""Faults seeded into a mesh of fake clusters: cases, and what seeds share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_istio_mc import certificates
from tests.fake_clusters import PROBES, SYSTEM, FakeMesh, Json, encoded
from tests.static_checks import judge_all, root_causes, taken_away

Seed = Callable[[FakeMesh], None]


@dataclass(frozen=True)
class Case:
    """A seeded fault and its one root cause.

    ``remedy`` is a part of the remedy; ``members`` is how many clusters the mesh has.
    """

    seed: Seed
    check: str
    fault: str
    clusters: frozenset[str]
    remedy: str
    members: int

    def assert_one_root_cause(self) -> None:
        """Its check finds it by name, with a remedy for the real things."""
        mesh = FakeMesh(self.members)
        self.seed(mesh)
        snapshot = mesh.record()
        causes = root_causes(snapshot)
        shown = "\n".join(
            f"{cause.check} {cause.fault} {cause.clusters}: {cause.summary}\n   {cause.remedy}"
            for cause in causes
        )
        verdicts = judge_all(snapshot).values()
        assert causes, "\n".join(f"{one.check} {one.outcome}: {one.reason}" for one in verdicts)
        assert {(cause.check, cause.fault) for cause in causes} == {(self.check, self.fault)}, shown
        assert all(set(cause.clusters) == self.clusters for cause in causes), shown
        assert all(self.remedy in cause.remedy for cause in causes), shown
        assert not any(taken_away(cause.remedy) for cause in causes), shown


class Faults:
    """The seeded faults of one area, for ``pytest.mark.parametrize``."""

    def __init__(self) -> None:
        self.cases: list[Any] = []

    def __call__(
        self, check: str, fault: str, *clusters: str, remedy: str = "", members: int = 2
    ) -> Callable[[Seed], Seed]:
        """Register a seed with its one root cause."""

        def register(seed: Seed) -> Seed:
            case = Case(seed, check, fault, frozenset(clusters), remedy, members)
            self.cases.append(pytest.param(case, id=seed.__name__))
            return seed

        return register


def hold(mesh: FakeMesh, pod: str, *, chain: str = "", roots: str = "") -> None:
    """Let a proxy hold another certificate chain, or trust other roots."""
    certificate, trusted = mesh[int(pod[-1])].dump(pod)["configs"][4]["dynamic_active_secrets"]
    if chain:
        held = certificate["secret"]["tls_certificate"]["certificate_chain"]
        held["inline_bytes"] = encoded(chain)
    if roots:
        trusted["secret"]["validation_context"]["trusted_ca"]["inline_bytes"] = encoded(roots)


def hand_out(mesh: FakeMesh, number: int, roots: str) -> None:
    """Let an istiod hand out other roots, and its proxies trust them."""
    for item in mesh[number].objects["ConfigMap"]:
        if item["metadata"]["name"] == "istio-ca-root-cert":
            item["data"] = {"root-cert.pem": roots}
    for role in ("client", "server", "gateway"):
        hold(mesh, f"{role}-{number}", roots=roots)


def issue(mesh: FakeMesh, issuer: certificates.Authority, domain: str = "cluster.local") -> None:
    """Give every proxy of cluster2 a certificate of that issuer and trust domain."""
    for pod, namespace, account in (
        ("client-2", PROBES, "client"),
        ("server-2", PROBES, "server"),
        ("gateway-2", SYSTEM, "istio-eastwestgateway-service-account"),
    ):
        name = f"spiffe://{domain}/ns/{namespace}/sa/{account}"
        hold(mesh, pod, chain=certificates.make_leaf(issuer, spiffe_id=name).chain)


def own_root(
    mesh: FakeMesh, root: certificates.Authority, intermediate: certificates.Authority
) -> None:
    """What cluster2 hands out where its istiod signs under a root of its own."""
    hand_out(mesh, 2, root.certificate)
    issue(mesh, intermediate)


def below_a_policy_ca(mesh: FakeMesh) -> certificates.Authority:
    """An intermediate for cluster2 that is not issued by the root itself."""
    lifetime = certificates.DAY * 700
    policy = certificates._make_authority("Policy CA", "istio-mc", mesh.root, lifetime, 1)
    return certificates.make_intermediate(policy, "cluster2")


def replace_remote_secret(mesh: FakeMesh, secret: Json) -> None:
    """Put another secret into the place of cluster1's remote secret for cluster2."""
    mesh[1].remove("Secret", "istio-remote-secret-cluster2", SYSTEM)
    mesh[1].objects["Secret"].append(secret)


def forget(mesh: FakeMesh) -> None:
    """What istiod of cluster1 and its proxies look like without cluster2."""
    clusterz = mesh[1].istiod("clusterz")
    clusterz[:] = [row for row in clusterz if row["id"] != "cluster2"]
    networkz = mesh[1].istiod("networkz")
    networkz[:] = [row for row in networkz if row["Cluster"] != "cluster2"]
    lose_remote_shards(mesh)


def lose_remote_shards(mesh: FakeMesh) -> None:
    """Leave cluster1 without the endpoints of cluster2, in its istiod and in its proxies."""
    for by_namespace in mesh[1].istiod("endpointShardz").values():
        for entry in by_namespace.values():
            entry["Shards"].pop("Kubernetes/cluster2", None)
    lose_remote_endpoints(mesh)


def lose_remote_endpoints(mesh: FakeMesh) -> None:
    """Leave the proxies of cluster1 without the endpoints of other clusters."""
    for pod in ("client-1", "server-1"):
        for entry in endpoint_configs(mesh, pod):
            groups = entry["endpoint_config"]["endpoints"]
            groups[:] = [group for group in groups if group["locality"]["region"] == "region1"]


def endpoint_configs(mesh: FakeMesh, pod: str) -> list[Json]:
    """The endpoints that a proxy holds, by Envoy cluster."""
    found: list[Json] = mesh[int(pod[-1])].dump(pod)["configs"][2]["dynamic_endpoint_configs"]
    return found


def pods_instead_of_gateways(mesh: FakeMesh) -> None:
    """What proxies of cluster1 get where istiod knows no gateway of network2."""
    networkz = mesh[1].istiod("networkz")
    networkz[:] = [row for row in networkz if row["Cluster"] != "cluster2"]
    mesh[2].istiod("networkz")[:] = networkz
    for pod in ("client-1", "server-1"):
        for entry in endpoint_configs(mesh, pod):
            config = entry["endpoint_config"]
            port = int(config["cluster_name"].split("|")[1])
            for item in [one for group in config["endpoints"] for one in group["lb_endpoints"]]:
                address = item["endpoint"]["address"]["socket_address"]
                if address["address"] == mesh[2].gateway:
                    address |= {"address": "10.2.0.5", "port_value": port}
