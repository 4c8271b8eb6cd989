"""Endpoints, headless services and protocols on a real mesh: healthy, and spoilt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.discovery.changes import leaving_endpoints_gone, new_endpoints_seen
from pytest_istio_mc.checks.discovery.headless import headless_instances_reached
from pytest_istio_mc.checks.discovery.observe import headless_calls, protocols
from pytest_istio_mc.checks.discovery.observe_changes import appearing, leaving
from pytest_istio_mc.checks.discovery.reach import every_protocol_reaches
from pytest_istio_mc.collect import collect
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.fixtures.expect import in_words
from pytest_istio_mc.observations import Protocol
from pytest_istio_mc.probes import manifests
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.lab_site import SYSTEM, faults_by_clusters
from tests.checks.open_site import OpenSite

pytestmark = pytest.mark.lab

EAST, WEST = "cluster1", "cluster2"


def impatient(probed: OpenSite, seconds: float) -> OpenSite:
    """The same site with a shorter budget for endpoints, for what will not come about."""
    timeouts = replace(probed.timeouts, endpoint_propagation=seconds)
    traffic = Traffic(probed.mesh, probed.open_traffic._sessions, timeouts)
    return replace(probed, open_traffic=traffic, timeouts=timeouts)


@contextmanager
def applied(probed: OpenSite, cluster: str, manifest: Mapping[str, Any]) -> Iterator[None]:
    """A manifest in the probe namespace of one cluster, for as long as the block goes on."""
    kube, namespace = probed.kubes()[cluster], probed.mesh.require_probes().namespace
    kube.apply(manifest, namespace=namespace)
    try:
        yield
    finally:
        kube.delete(manifest["kind"], manifest["metadata"]["name"], namespace)


def new_endpoints(site: OpenSite) -> Verdict:
    return new_endpoints_seen(site.here, appearing(site))


def test_new_endpoints_are_seen_everywhere(probed: OpenSite) -> None:
    verdict = new_endpoints(probed)

    assert verdict.outcome is Outcome.CONFORMANT, in_words(verdict)
    assert not _services(probed, "new-in-")


def test_endpoints_leave_without_a_failed_request(probed: OpenSite) -> None:
    seen = leaving(probed)
    verdict = leaving_endpoints_gone(probed.here, seen)

    assert verdict.outcome is Outcome.CONFORMANT, in_words(verdict)
    assert {
        flow.answered_by().keys() >= {EAST, WEST} for flow in seen.timeline.flows if not flow.stream
    } == {True}
    assert not _services(probed, "leaves-")


def test_a_headless_service_leads_to_the_own_networks_instances(probed: OpenSite) -> None:
    verdict = headless_instances_reached(probed.here, headless_calls(probed))

    assert verdict.outcome is Outcome.CONFORMANT, in_words(verdict)
    assert not _services(probed, "headless")


def test_a_control_plane_without_access_to_a_cluster_does_not_see_its_new_endpoints(
    probed: OpenSite,
) -> None:
    kube = probed.kubes()[EAST]
    (secret,) = kube.list("Secret", SYSTEM, labels="istio/multiCluster=true")
    kube.delete("Secret", secret["metadata"]["name"], SYSTEM)
    try:
        verdict = new_endpoints(impatient(probed, 4.0))
    finally:
        kept = {
            key: value
            for key, value in secret["metadata"].items()
            if key in ("name", "namespace", "labels", "annotations")
        }
        kube.apply(
            {**secret, "apiVersion": "v1", "kind": "Secret", "metadata": kept},
            namespace=SYSTEM,
        )
        _reached_again(probed)

    assert faults_by_clusters(verdict) == {("new-endpoint-not-seen", (EAST, WEST))}
    assert "no healthy upstream" in verdict.findings[0].seen


def test_a_service_whose_requests_fail_now_and_then_is_found_out_while_endpoints_leave(
    probed: OpenSite,
) -> None:
    host = f"leaves-{WEST}.{probed.mesh.require_probes().namespace}.svc.cluster.local"
    abort = {"abort": {"percentage": {"value": 20}, "httpStatus": 500}}
    route = {"fault": abort, "route": [{"destination": {"host": host}}]}
    spoilt = _istio("networking", "VirtualService", {"hosts": [host], "http": [route]})

    with applied(probed, EAST, spoilt):
        verdict = leaving_endpoints_gone(probed.here, leaving(probed))

    assert faults_by_clusters(verdict) == {("removal-fails-requests", (EAST, WEST))}
    assert "500 fault filter abort" in verdict.findings[0].seen


def test_a_headless_service_without_mutual_tls_is_found_out(probed: OpenSite) -> None:
    host = f"headless.{probed.mesh.require_probes().namespace}.svc.cluster.local"
    spoilt = _istio(
        "networking",
        "DestinationRule",
        {"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    )

    with applied(probed, WEST, spoilt):
        seen = headless_calls(impatient(probed, 4.0))
        verdict = headless_instances_reached(probed.here, seen)

    # whether plaintext is answered over TCP differs from run to run
    assert ("headless-without-identity", (WEST,)) in faults_by_clusters(verdict)
    assert {clusters for _, clusters in faults_by_clusters(verdict)} == {(WEST,)}


def test_a_cluster_that_refuses_tcp_is_found_out(probed: OpenSite) -> None:
    rule = {"to": [{"operation": {"ports": [str(manifests.TCP)]}}]}
    spoilt = _istio("security", "AuthorizationPolicy", {"action": "DENY", "rules": [rule]})
    snapshot = collect(probed.mesh, Progress(), kubes=probed.kubes(), ask=probed.traffic().ask)
    here = replace(probed, snapshot=snapshot).here

    with applied(probed, WEST, spoilt):
        eventually(
            lambda: probed.traffic().requests(
                WEST, probed.traffic().host(manifests.SERVICE), manifests.TCP, Protocol.TCP, count=6
            ),
            lambda sent: any(not request.succeeded for request in sent),
            within_seconds=probed.timeouts.endpoint_propagation,
            what="the policy to be in force",
        )
        sent = protocols(probed)
        verdict = every_protocol_reaches(here, sent)

    assert faults_by_clusters(verdict) == {
        ("protocol-does-not-reach", (source, WEST)) for source in (EAST, WEST)
    }
    assert all("over TCP" in finding.summary for finding in verdict.findings)
    over_http2 = every_protocol_reaches(here, {Protocol.HTTP2: sent[Protocol.HTTP2]})
    assert over_http2.outcome is Outcome.CONFORMANT


def _istio(group: str, kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "spoilt"},
        "spec": dict(spec),
    }


def _services(probed: OpenSite, prefix: str) -> list[str]:
    names = (
        item["metadata"]["name"]
        for kube in probed.kubes().values()
        for item in kube.list("Service", probed.mesh.require_probes().namespace)
    )
    return [name for name in names if name.startswith(prefix)]


def _reached_again(probed: OpenSite) -> None:
    eventually(
        lambda: {
            request.answer.cluster
            for request in probed.traffic().reach()
            if request.source == EAST and request.answer
        },
        lambda clusters: clusters == {EAST, WEST},
        within_seconds=60,
        what="every cluster to answer again",
    )
