"""What detaches a remote cluster from its control plane is found, and named with its remedy."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.checks.control_plane.remote_clusters import remote_clusters_attached
from pytest_istio_mc.recorded import EndpointFacts, ProxyFacts
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Finding, Outcome
from tests.checks.topologies import changed, found, recorded

TOPOLOGY = "multi-network-primary-remote"
ANNOTATION = "topology.istio.io/controlPlaneClusters"


def no_annotation(snapshot: Snapshot) -> Snapshot:
    del found(snapshot, "cluster2", "Namespace", "istio-system")["metadata"]["annotations"]
    return snapshot


def _annotated(snapshot: Snapshot, value: str) -> Snapshot:
    namespace = found(snapshot, "cluster2", "Namespace", "istio-system")
    namespace["metadata"]["annotations"][ANNOTATION] = value
    return snapshot


def another_control_plane(snapshot: Snapshot) -> Snapshot:
    return _annotated(snapshot, "cluster7,cluster8")


def a_primary_that_manages_no_remotes(snapshot: Snapshot) -> Snapshot:
    (istiod,) = snapshot.clusters["cluster1"].istiods
    environment = {**istiod.environment}
    del environment["EXTERNAL_ISTIOD"]
    return changed(snapshot, "cluster1", istiods=(replace(istiod, environment=environment),))


def _webhooks(snapshot: Snapshot) -> list[dict[str, Any]]:
    webhooks: list[dict[str, Any]] = found(
        snapshot, "cluster2", "MutatingWebhookConfiguration", "istio-sidecar-injector"
    )["webhooks"]
    return webhooks


def no_webhook(snapshot: Snapshot) -> Snapshot:
    snapshot.clusters["cluster2"].objects["MutatingWebhookConfiguration"] = ()  # type: ignore[index]
    return snapshot


def injection_path_of_another_cluster(snapshot: Snapshot) -> Snapshot:
    for webhook in _webhooks(snapshot):
        webhook["clientConfig"]["service"]["path"] = "/inject/cluster/cluster9/net/network2"
    return snapshot


def plain_injection_path(snapshot: Snapshot) -> Snapshot:
    _webhooks(snapshot)[0]["clientConfig"]["service"]["path"] = "/inject"
    return snapshot


def no_ca_bundle(snapshot: Snapshot) -> Snapshot:
    for webhook in _webhooks(snapshot):
        del webhook["clientConfig"]["caBundle"]
    return snapshot


def old_ca_bundle(snapshot: Snapshot) -> Snapshot:
    pem = certificates.make_root("Old Root").certificate.encode()
    for webhook in _webhooks(snapshot):
        webhook["clientConfig"]["caBundle"] = base64.b64encode(pem).decode()
    return snapshot


def address_of_something_else(snapshot: Snapshot) -> Snapshot:
    facts = tuple(
        replace(one, address="203.0.113.9") for one in snapshot.clusters["cluster2"].control_plane
    )
    return changed(snapshot, "cluster2", control_plane=facts)


def a_name_instead_of_an_address(snapshot: Snapshot) -> Snapshot:
    found(snapshot, "cluster2", "Service", "istiod")["spec"] |= {
        "type": "ExternalName",
        "externalName": "istiod.example",
    }
    return snapshot


def gateway_without_istiod(snapshot: Snapshot) -> Snapshot:
    def without(proxy: ProxyFacts) -> ProxyFacts:
        kept = [port for port in proxy.chains if port not in ("15012", "15017")]
        return replace(proxy, chains={port: proxy.chains[port] for port in kept})

    proxies = tuple(map(without, snapshot.clusters["cluster1"].proxies))
    return changed(snapshot, "cluster1", proxies=proxies)


def gateway_service_without_the_ports(snapshot: Snapshot) -> Snapshot:
    service = found(snapshot, "cluster1", "Service", "istio-eastwestgateway")
    service["spec"]["ports"] = [port for port in service["spec"]["ports"] if port["port"] == 15443]
    return snapshot


def never_annotated(snapshot: Snapshot) -> Snapshot:
    return no_annotation(no_ca_bundle(snapshot))


def _answering(snapshot: Snapshot, **changes: Any) -> Snapshot:
    facts = tuple(replace(one, **changes) for one in snapshot.clusters["cluster2"].control_plane)
    return changed(snapshot, "cluster2", control_plane=facts)


def no_answer(snapshot: Snapshot) -> Snapshot:
    return _answering(snapshot, connected=False, completed=False, verified=False, error="timed out")


def an_istiod_of_another_root(snapshot: Snapshot) -> Snapshot:
    return _answering(snapshot, verified=False, error="unable to get local issuer certificate")


@pytest.mark.parametrize(
    ("spoil", "fault", "remedy"),
    [
        (
            no_annotation,
            "pr-control-plane-annotation",
            f"annotate namespace/istio-system {ANNOTATION}=cluster1",
        ),
        (
            never_annotated,
            "pr-control-plane-annotation",
            f"annotate namespace/istio-system {ANNOTATION}=cluster1",
        ),
        (
            another_control_plane,
            "pr-control-plane-annotation",
            f"annotate namespace/istio-system {ANNOTATION}=cluster1 --overwrite",
        ),
        (
            a_primary_that_manages_no_remotes,
            "pr-external-istiod-off",
            "--context=cluster1 -n istio-system set env",
        ),
        (no_webhook, "pr-webhook-missing", "--context=cluster2 install --set profile=remote"),
        (
            injection_path_of_another_cluster,
            "pr-injection-path",
            "/inject/cluster/cluster2/net/network2",
        ),
        (
            plain_injection_path,
            "pr-injection-path",
            '"path":"/webhooks/0/clientConfig/service/path"',
        ),
        (no_ca_bundle, "pr-cabundle-empty", "--context=cluster1 -n istio-system rollout restart"),
        (old_ca_bundle, "pr-cabundle-stale", "--context=cluster1 -n istio-system rollout restart"),
        (
            address_of_something_else,
            "pr-remote-address-wrong",
            "patch endpointslice/istiod --type=json",
        ),
        (
            a_name_instead_of_an_address,
            "pr-externalname",
            "--set values.global.remotePilotAddress=198.19.1.1",
        ),
        (
            gateway_without_istiod,
            "pr-istiod-not-exposed",
            '"istiod.istio-system.svc.cluster.local"',
        ),
        (
            gateway_service_without_the_ports,
            "pr-istiod-not-exposed",
            '{"name":"tls-15012","port":15012,"targetPort":15012}',
        ),
        (no_answer, "pr-istiod-unreachable", "15012"),
        (an_istiod_of_another_root, "pr-istiod-other-root", "rollout restart"),
    ],
)
def test_what_detaches_a_remote_is_found(
    spoil: Callable[[Snapshot], Snapshot], fault: str, remedy: str
) -> None:
    verdict = remote_clusters_attached(spoil(recorded(TOPOLOGY)))

    assert {finding.fault for finding in verdict.findings} == {fault}, verdict.reason
    finding: Finding = verdict.findings[0]
    assert set(finding.clusters) == {"cluster1", "cluster2"}
    assert remedy in finding.remedy


def everybody_may_lead(snapshot: Snapshot) -> Snapshot:
    return _annotated(snapshot, "*")


def several_may_lead(snapshot: Snapshot) -> Snapshot:
    return _annotated(snapshot, "cluster3, cluster1")


def two_roots_in_the_bundle(snapshot: Snapshot) -> Snapshot:
    pem = certificates.make_root("Next Root").certificate.encode()
    for webhook in _webhooks(snapshot):
        both = base64.b64decode(webhook["clientConfig"]["caBundle"]) + pem
        webhook["clientConfig"]["caBundle"] = base64.b64encode(both).decode()
    return snapshot


def parts_in_another_order(snapshot: Snapshot) -> Snapshot:
    for webhook in _webhooks(snapshot):
        webhook["clientConfig"]["service"]["path"] = "/inject/net/network2/cluster/cluster2"
    return snapshot


@pytest.mark.parametrize(
    "harmless",
    [
        lambda snapshot: snapshot,
        everybody_may_lead,
        several_may_lead,
        two_roots_in_the_bundle,
        parts_in_another_order,
    ],
)
def test_what_only_looks_wrong_is_not_blamed(harmless: Callable[[Snapshot], Snapshot]) -> None:
    verdict = remote_clusters_attached(harmless(recorded(TOPOLOGY)))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.pairs == ("cluster2-by-cluster1",)


def test_an_address_that_was_not_tried_makes_it_inconclusive() -> None:
    facts = (EndpointFacts("198.19.1.1", 15012, unprobed="no probe"),)

    verdict = remote_clusters_attached(changed(recorded(TOPOLOGY), "cluster2", control_plane=facts))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "no probe" in verdict.reason
