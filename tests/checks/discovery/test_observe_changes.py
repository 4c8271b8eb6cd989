"""Endpoints that come and go, headless services and protocols on a real mesh: conformant, and found out where it is spoilt."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_istio_mc.checks.discovery.changes import leaving_endpoints_gone, new_endpoints_seen
from pytest_istio_mc.checks.discovery.headless import headless_instances_reached
from pytest_istio_mc.checks.discovery.observe import headless_calls
from pytest_istio_mc.checks.discovery.observe_changes import appearing, leaving
from pytest_istio_mc.checks.discovery.reach import every_protocol_reaches
from pytest_istio_mc.collect import collect
from pytest_istio_mc.eventually import Timeouts, eventually
from pytest_istio_mc.fixtures.expect import in_words
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Protocol
from pytest_istio_mc.probes import manifests, workloads
from pytest_istio_mc.probes.traffic import Traffic, open_traffic
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.conftest import LabMesh

pytestmark = pytest.mark.lab

EAST, WEST = "cluster1", "cluster2"
BUDGET = Timeouts().endpoint_propagation


@dataclass(frozen=True)
class Probed:
    """A mesh with probes, connections to it, and traffic through it."""

    mesh: Mesh
    kubes: Mapping[str, Kube]
    traffic: Traffic

    @property
    def namespace(self) -> str:
        assert self.mesh.probes is not None
        return self.mesh.probes.namespace

    def impatient(self, seconds: float) -> Traffic:
        """The same traffic with a shorter budget for endpoints, for what will not come about."""
        return Traffic(
            self.mesh,
            self.traffic._sessions,
            replace(self.traffic.timeouts, endpoint_propagation=seconds),
        )

    @contextmanager
    def applied(self, cluster: str, manifest: Mapping[str, Any]) -> Iterator[None]:
        """A manifest in the probe namespace of one cluster, for as long as the block goes on."""
        kube = self.kubes[cluster]
        kube.apply(manifest, namespace=self.namespace)
        try:
            yield
        finally:
            kube.delete(manifest["kind"], manifest["metadata"]["name"], self.namespace)


@pytest.fixture(scope="module")
def probed(lab_mesh: LabMesh) -> Iterator[Probed]:
    """Probes in the shared mesh."""
    timeouts = Timeouts()
    run = replace(lab_mesh.mesh, run_id=f"endpoints-{os.getpid()}")
    with (
        connected(run, timeouts) as kubes,
        workloads.deployed(run, kubes, timeouts, Progress()) as mesh,
        open_traffic(mesh, kubes, timeouts) as traffic,
    ):
        yield Probed(mesh, kubes, traffic)


def faults(verdict: Verdict) -> set[tuple[str, tuple[str, ...]]]:
    return {(finding.fault, finding.clusters) for finding in verdict.findings}


def test_new_endpoints_are_seen_everywhere(probed: Probed) -> None:
    verdict = new_endpoints_seen(probed.mesh, appearing(probed.traffic, probed.kubes), BUDGET)

    assert verdict.outcome is Outcome.CONFORMANT, in_words(verdict)
    assert not _services(probed, "new-in-")


def test_endpoints_leave_without_a_failed_request(probed: Probed) -> None:
    seen = leaving(probed.traffic, probed.kubes)
    verdict = leaving_endpoints_gone(probed.mesh, seen, BUDGET)

    assert verdict.outcome is Outcome.CONFORMANT, in_words(verdict)
    assert {
        flow.answered_by().keys() >= {EAST, WEST} for flow in seen.timeline.flows if not flow.stream
    } == {True}
    assert not _services(probed, "leaves-")


def test_a_headless_service_leads_to_the_own_networks_instances(probed: Probed) -> None:
    calls, _ = headless_calls(probed.traffic, probed.kubes)

    verdict = headless_instances_reached(probed.mesh, calls, BUDGET)

    assert verdict.outcome is Outcome.CONFORMANT, in_words(verdict)
    assert not _services(probed, "headless")


def test_a_control_plane_without_access_to_a_cluster_does_not_see_its_new_endpoints(
    probed: Probed,
) -> None:
    kube = probed.kubes[EAST]
    (secret,) = kube.list("Secret", "istio-system", labels="istio/multiCluster=true")
    kube.delete("Secret", secret["metadata"]["name"], "istio-system")
    try:
        verdict = new_endpoints_seen(
            probed.mesh, appearing(probed.impatient(4.0), probed.kubes), 4.0
        )
    finally:
        kept = {
            key: value
            for key, value in secret["metadata"].items()
            if key in ("name", "namespace", "labels", "annotations")
        }
        kube.apply(
            {**secret, "apiVersion": "v1", "kind": "Secret", "metadata": kept},
            namespace="istio-system",
        )
        _reached_again(probed)

    assert faults(verdict) == {("new-endpoint-not-seen", (EAST, WEST))}
    assert "no healthy upstream" in verdict.findings[0].seen


def test_a_service_whose_requests_fail_now_and_then_is_found_out_while_endpoints_leave(
    probed: Probed,
) -> None:
    host = f"leaves-{WEST}.{probed.namespace}.svc.cluster.local"
    abort = {"abort": {"percentage": {"value": 20}, "httpStatus": 500}}
    route = {"fault": abort, "route": [{"destination": {"host": host}}]}
    spoilt = _istio("networking", "VirtualService", {"hosts": [host], "http": [route]})

    with probed.applied(EAST, spoilt):
        verdict = leaving_endpoints_gone(probed.mesh, leaving(probed.traffic, probed.kubes), BUDGET)

    assert faults(verdict) == {("removal-fails-requests", (EAST, WEST))}
    assert "500 fault filter abort" in verdict.findings[0].seen


def test_a_headless_service_without_mutual_tls_is_found_out(probed: Probed) -> None:
    host = f"headless.{probed.namespace}.svc.cluster.local"
    spoilt = _istio(
        "networking",
        "DestinationRule",
        {"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    )

    with probed.applied(WEST, spoilt):
        calls, _ = headless_calls(probed.impatient(4.0), probed.kubes)
        verdict = headless_instances_reached(probed.mesh, calls, BUDGET)

    # whether plaintext is answered over TCP differs from run to run
    assert ("headless-without-identity", (WEST,)) in faults(verdict)
    assert {clusters for _, clusters in faults(verdict)} == {(WEST,)}


def test_a_cluster_that_refuses_tcp_is_found_out(probed: Probed) -> None:
    rule = {"to": [{"operation": {"ports": [str(manifests.TCP)]}}]}
    spoilt = _istio("security", "AuthorizationPolicy", {"action": "DENY", "rules": [rule]})
    snapshot = collect(probed.mesh, Progress(), kubes=probed.kubes, ask=probed.traffic.ask)

    with probed.applied(WEST, spoilt):
        eventually(
            lambda: probed.traffic.requests(
                WEST, probed.traffic.host(manifests.SERVICE), manifests.TCP, Protocol.TCP, count=6
            ),
            lambda sent: any(not request.succeeded for request in sent),
            within_seconds=BUDGET,
            what="the policy to be in force",
        )
        sent = {
            protocol: probed.traffic.reach(protocol) for protocol in (Protocol.TCP, Protocol.HTTP2)
        }
        verdict = every_protocol_reaches(probed.mesh, snapshot, sent, 1e-6)

    assert faults(verdict) == {
        ("protocol-does-not-reach", (source, WEST)) for source in (EAST, WEST)
    }
    assert all("over TCP" in finding.summary for finding in verdict.findings)
    assert (
        every_protocol_reaches(
            probed.mesh, snapshot, {Protocol.HTTP2: sent[Protocol.HTTP2]}, 1e-6
        ).outcome
        is Outcome.CONFORMANT
    )


def _istio(group: str, kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "spoilt"},
        "spec": dict(spec),
    }


def _services(probed: Probed, prefix: str) -> list[str]:
    names = (
        item["metadata"]["name"]
        for kube in probed.kubes.values()
        for item in kube.list("Service", probed.namespace)
    )
    return [name for name in names if name.startswith(prefix)]


def _reached_again(probed: Probed) -> None:
    eventually(
        lambda: {
            request.answer.cluster
            for request in probed.traffic.reach()
            if request.source == EAST and request.answer
        },
        lambda clusters: clusters == {EAST, WEST},
        within_seconds=60,
        what="every cluster to answer again",
    )
