"""Each rule of the precheck: the mesh that it is about, and its healthy twins."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.checks.precheck import RULES, Standing, Weight, precheck
from pytest_istio_mc.checks.trust.chains import parse
from pytest_istio_mc.snapshot import Snapshot
from tests.checks.precheck.judging import (
    BY_ID,
    FAILOVER,
    Change,
    add,
    budget,
    entry,
    rule_for,
    run,
    stands,
    target,
)
from tests.checks.topologies import recorded
from tests.fake_clusters import SYSTEM, FakeMesh, Json, cacerts, encoded, meta
from tests.static_checks import taken_away

RECORDED = Path(__file__).parents[2] / "recorded"
LAB = "1.30.0-9739e10eb9d7"
GATEWAY_API = "Gateway.gateway.networking.k8s.io"
OTHER = certificates.make_root("Another Root CA")
WEBHOOKS = "MutatingWebhookConfiguration.admissionregistration.k8s.io"


def _all(*changes: Change) -> Change:
    def change(mesh: FakeMesh) -> None:
        for one in changes:
            one(mesh)

    return change


def _runs(version: str, proxies: str | None = None) -> Change:
    return lambda mesh: run(mesh, version, proxies=proxies)


def _gateway(mesh: FakeMesh, name: str = "istio", **spec: object) -> None:
    add(mesh, GATEWAY_API, "edge", {"gatewayClassName": name, "listeners": [], **spec})


def _without_config_maps(mesh: FakeMesh) -> None:
    role = mesh[2].objects["ClusterRole.rbac.authorization.k8s.io"][0]
    role["rules"] = [
        {**rule, "resources": [one for one in rule["resources"] if one != "configmaps"]}
        for rule in copy.deepcopy(role["rules"])
    ]


def _by_another_role(mesh: FakeMesh) -> None:
    """The reader has ConfigMaps by a second ClusterRole of Istio's."""
    _without_config_maps(mesh)
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    roles = mesh[2].objects["ClusterRole.rbac.authorization.k8s.io"]
    roles.append({"metadata": meta("istio-reader-more"), "rules": [rule]})
    bindings = mesh[2].objects["ClusterRoleBinding.rbac.authorization.k8s.io"]
    subjects = bindings[0]["subjects"]
    role = {"name": "istio-reader-more"}
    bindings.append({"metadata": meta("istio-reader-more"), "roleRef": role, "subjects": subjects})


def _revisioned(mesh: FakeMesh) -> None:
    for n in (1, 2):
        pod = mesh[n].find("Pod", f"istiod-{n}", SYSTEM)
        pod["spec"]["containers"][0]["env"].append({"name": "REVISION", "value": "1-30"})
        pod["metadata"]["labels"]["istio.io/rev"] = "1-30"


def _tagged(mesh: FakeMesh) -> None:
    _revisioned(mesh)
    for n in (1, 2):
        labels = {"istio.io/rev": "1-30", "istio.io/tag": "default", "app": "sidecar-injector"}
        metadata = meta("istio-revision-tag-default") | {"labels": labels}
        mesh[n].objects.setdefault(WEBHOOKS, []).append({"metadata": metadata, "webhooks": []})


def _tls_routes(*versions: str) -> Change:
    def change(mesh: FakeMesh) -> None:
        for cluster in mesh.clusters.values():
            for version in versions:
                cluster.served[f"gateway.networking.k8s.io/{version}"] = ["tlsroutes"]

    return change


def _unserved(mesh: FakeMesh) -> None:
    mesh[2].served["extensions.istio.io/v1alpha1"].remove("trafficextensions")


def _unlike(mesh: FakeMesh) -> None:
    _tls_routes("v1")(mesh)
    mesh[1].served["gateway.networking.k8s.io/v1"].append("httproutes")


def _only_one_has_it(mesh: FakeMesh) -> None:
    mesh[1].served["gateway.networking.k8s.io/v1"] = ["httproutes"]


def _inside(mesh: FakeMesh) -> None:
    entry(mesh, hosts=["echo.istio-mc-test.svc.cluster.local"], resolution="STATIC")


def _unlabelled(mesh: FakeMesh) -> None:
    """A pod of the user's with a sidecar that was injected before there were networks."""
    labels = {"security.istio.io/tlsMode": "istio", "app": "old"}
    pod = copy.deepcopy(mesh[1].find("Pod", "client-1", "istio-mc-test"))
    pod["metadata"] = meta("old-1", "shop") | {"labels": labels}
    mesh[1].objects["Pod"].append(pod)


def _labelled(mesh: FakeMesh) -> None:
    _unlabelled(mesh)
    network = {"topology.istio.io/network": "network1"}
    mesh[1].find("Pod", "old-1", "shop")["metadata"]["labels"] |= network


def _values_without_network(mesh: FakeMesh) -> None:
    item = mesh[1].find("ConfigMap", "istio-sidecar-injector", SYSTEM)
    item["data"]["values"] = '{"global": {"meshID": "mesh1"}}'


def _network_by_path(mesh: FakeMesh) -> None:
    """The injector's URL names the network in place of its values."""
    _values_without_network(mesh)
    path = "/inject/cluster/cluster1/net/network1"
    webhook = {"name": "x.istio.io", "clientConfig": {"service": {"name": "i", "path": path}}}
    metadata = meta("istio-sidecar-injector")
    mesh[1].objects[WEBHOOKS] = [{"metadata": metadata, "webhooks": [webhook]}]


def _renamed(mesh: FakeMesh) -> None:
    mesh[1].istiod("syncz")[0]["cluster_id"] = "Kubernetes"


def _aliased(*words: str) -> Change:
    def change(mesh: FakeMesh) -> None:
        _renamed(mesh)
        mesh[1].find("Pod", "istiod-1", SYSTEM)["spec"]["containers"][0]["args"] = list(words)

    return change


def _second_gateway(mesh: FakeMesh) -> None:
    service = copy.deepcopy(mesh[1].find("Service", "istio-eastwestgateway", SYSTEM))
    service["metadata"]["name"] = "istio-eastwestgateway-canary"
    mesh[1].objects["Service"].append(service)


def _other_root(mesh: FakeMesh) -> None:
    root = certificates.make_root("Another Root CA")
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    made = cacerts(certificates.make_intermediate(root, "cluster2"), root)
    mesh[2].objects["Secret"].append(made)


def _other_key(mesh: FakeMesh) -> None:
    secret, other = (mesh[n].find("Secret", "cacerts", SYSTEM) for n in (1, 2))
    secret["data"]["ca-key.pem"] = other["data"]["ca-key.pem"]


def _webhook(bundle: str, namespace: str = SYSTEM) -> Change:
    def change(mesh: FakeMesh) -> None:
        service = {"name": "istiod", "namespace": namespace, "path": "/inject"}
        client = {"service": service, "caBundle": encoded(bundle)}
        webhook = {"name": "x.istio.io", "clientConfig": client}
        item = {"metadata": meta("istio-sidecar-injector"), "webhooks": [webhook]}
        mesh[1].objects[WEBHOOKS] = [item]

    return change


def _certified_by_kubernetes(mesh: FakeMesh) -> None:
    _webhook(OTHER.certificate)(mesh)
    pod = mesh[1].find("Pod", "istiod-1", SYSTEM)
    variable = {"name": "PILOT_CERT_PROVIDER", "value": "kubernetes"}
    pod["spec"]["containers"][0]["env"].append(variable)


def _two_replicas(mesh: FakeMesh) -> None:
    for n in (1, 2):
        mesh.add_replica(n)
        pod = copy.deepcopy(mesh[n].find("Pod", f"gateway-{n}", SYSTEM))
        pod["metadata"] |= {"name": f"gateway-{n}-b", "uid": f"uid-gateway-{n}-b"}
        mesh[n].objects["Pod"].append(pod)


def _budgets(**spec: object) -> Change:
    def change(mesh: FakeMesh) -> None:
        budget(mesh, {"app": "istiod"}, **spec)
        budget(mesh, {"istio": "eastwestgateway"}, **spec)

    return change


def _subsets(*policies: Json | None, mode: str = "DISABLE") -> Change:
    subsets = [
        {"name": f"v{n}", "labels": {"version": f"v{n}"}}
        | ({} if policy is None else {"trafficPolicy": policy})
        for n, policy in enumerate(policies)
    ]
    policy = {"tls": {"mode": mode}} if mode else {}
    return lambda mesh: rule_for(mesh, trafficPolicy=policy, subsets=subsets)


def _failover(*labels: str, **policy: object) -> Change:
    setting = {"localityLbSetting": {"failoverPriority": list(labels)}}
    whole = {"outlierDetection": {"minHealthPercent": 1}, "loadBalancer": setting, **policy}
    return lambda mesh: rule_for(mesh, trafficPolicy=whole)


def _merged(namespace: str, name: str = "edge") -> Change:
    def change(mesh: FakeMesh) -> None:
        _gateway(mesh)
        selector = {"gateway.networking.k8s.io/gateway-name": name}
        spec = {"selector": selector, "servers": []}
        add(mesh, "Gateway.networking.istio.io", "more", spec, namespace=namespace)

    return change


def _by_port(mesh: FakeMesh) -> None:
    port = {"port": {"number": 443}, "loadBalancer": FAILOVER["loadBalancer"]}
    policy = {"outlierDetection": {}, "portLevelSettings": [port]}
    rule_for(mesh, trafficPolicy=policy)


def _by_subset(mesh: FakeMesh) -> None:
    subset = {"name": "a", "trafficPolicy": {"loadBalancer": FAILOVER["loadBalancer"]}}
    policy: Json = {"outlierDetection": {}}
    rule_for(mesh, host="*.example.com", trafficPolicy=policy, subsets=[subset])


def _mesh_wide(mesh: FakeMesh) -> None:
    rule_for(mesh, trafficPolicy={"outlierDetection": {}})
    for n in (1, 2):
        setting = {"enabled": True, "failoverPriority": ["topology.kubernetes.io/region"]}
        mesh[n].istiod("mesh")["localityLbSetting"] = setting


def _workloads(*localities: str, namespace: str = "shop") -> Change:
    def change(mesh: FakeMesh) -> None:
        entry(mesh, endpoints=[], workloadSelector={"labels": {"app": "x"}})
        for n, locality in enumerate(localities):
            spec = {"address": "a", "labels": {"app": "x", "n": str(n)}, "locality": locality}
            kind = "WorkloadEntry.networking.istio.io"
            add(mesh, kind, f"x-{n}", spec, namespace=namespace)

    return change


CRASHES: list[Change] = [
    _all(_workloads("a/b", "c/d"), rule_for),
    _all(entry, rule_for),
    _all(entry, _by_port),
    _all(entry, _by_subset),
    _all(entry, _mesh_wide),
    _all(entry, lambda mesh: rule_for(mesh, host="*")),
    _all(
        lambda mesh: entry(mesh, hosts=["api.shop.svc.cluster.local"]),
        lambda mesh: rule_for(mesh, host="api"),
    ),
    _all(lambda mesh: entry(mesh, endpoints=[{"locality": "a/b"}, {}]), rule_for),
    _all(lambda mesh: entry(mesh, exportTo=["."]), lambda mesh: rule_for(mesh, exportTo=["shop"])),
]

APPLIES: list[tuple[str, str, Change]] = [
    ("too-many-minors-at-once", "1.31", _runs("1.28.3")),
    ("two-minors-at-once", "1.31", _runs("1.29.3")),
    ("control-plane-goes-back", "1.30", _runs("1.31.0")),
    ("proxies-too-old", "1.31", _runs("1.30.4", "1.28.1")),
    ("proxies-two-behind", "1.31", _runs("1.30.4", "1.29.6")),
    ("proxies-ahead", "1.30", _runs("1.30.4", "1.31.0")),
    ("breaks-old-sidecars", "1.30.1", _runs("1.29.2", "1.29.1")),
    ("breaks-old-sidecars", "1.29.4", _runs("1.28.2")),
    ("gateways-restart-with-istiod", "1.29.1", _gateway),
    ("gateway-revision-outage", "1.31", _all(_runs("1.30.1"), _gateway)),
    ("secret-controller-deadlock", "1.29.2", _runs("1.28.5")),
    ("panic-on-second-update", "1.29.4", _runs("1.28.5")),
    ("cluster-store-deadlock", "1.30.0", _runs("1.29.6")),
    ("rotated-credential-ignored", "1.30.2", _runs("1.29.6")),
    ("rotation-loses-endpoints", "1.30.3", _runs("1.29.6")),
    ("ready-before-injection", "1.30.3", _runs("1.29.6")),
    (
        "selected-pods-miss-their-service",
        "1.30.3",
        lambda mesh: entry(mesh, workloadSelector={"labels": {"app": "x"}}),
    ),
    ("push-storms", "1.30.2", _runs("1.29.6")),
    ("inbound-missing-after-reconnect", "1.30.4", _runs("1.30.2")),
    ("old-reader-panic", "1.29.0", _without_config_maps),
    ("old-reader-trust-domain", "1.29.1", _without_config_maps),
    ("old-reader", "1.31", _without_config_maps),
    ("istio-kinds-missing", "1.31", _unserved),
    ("tls-routes-too-old", "1.30.4", _tls_routes("v1alpha2", "v1alpha3")),
    ("gateway-api-differs", "1.31", _unlike),
    ("no-default-revision", "1.31", _revisioned),
    *(("dns-failover-crash", "1.30.4", change) for change in CRASHES),
    ("dns-failover-crash", "1.31", CRASHES[0]),
    ("service-before-entry", "1.30.4", _all(_runs("1.29.6"), _inside)),
    ("subset-tls-mode", "1.31", _all(_runs("1.30.4"), _subsets({}, mode="DISABLE"))),
    ("strict-gateway-merging", "1.31", _all(_runs("1.30.4"), _merged("other"))),
    (
        "empty-workload-selector",
        "1.31.1",
        _all(_runs("1.31.0"), lambda mesh: entry(mesh, workloadSelector={})),
    ),
    ("unhealthy-endpoints", "1.31", _all(_runs("1.30.4"), rule_for)),
    (
        "network-preferred",
        "1.31",
        _all(_runs("1.30.4"), _failover("topology.istio.io/network", "version")),
    ),
    ("failover-by-pod-labels", "1.31", _failover("topology.istio.io/network", "version=v1")),
    ("sidecars-without-network", "1.31", _unlabelled),
    ("sidecars-without-network", "1.29.6", _unlabelled),
    ("injector-without-network", "1.31", _values_without_network),
    ("unknown-cluster-id", "1.31", _renamed),
    ("unknown-cluster-id", "1.31", _aliased("discovery", "--clusterAliases=Other=cluster1")),
    ("gateways-share-equally", "1.31", _second_gateway),
    ("refused-rotation", "1.31", _other_root),
    ("cacerts-not-loadable", "1.31", _other_key),
    ("webhook-trusts-another-root", "1.31", _webhook(OTHER.certificate)),
    ("single-point", "1.31", lambda mesh: None),
    ("no-disruption-budget", "1.31", _two_replicas),
    ("no-disruption-budget", "1.31", _budgets(minAvailable=0)),
]

CLEAR: list[tuple[str, str, Change]] = [
    ("too-many-minors-at-once", "1.31", _runs("1.29.3")),
    ("two-minors-at-once", "1.31", _runs("1.30.4")),
    ("two-minors-at-once", "1.31.2", _runs("1.31.1")),
    ("control-plane-goes-back", "1.31.0", _runs("1.31.2")),
    ("proxies-too-old", "1.31", _runs("1.30.4")),
    ("proxies-two-behind", "1.31", _runs("1.30.4")),
    ("proxies-ahead", "1.31", _runs("1.30.4", "1.31.1")),
    ("breaks-old-sidecars", "1.30.1", _runs("1.29.4", "1.29.2")),
    ("breaks-old-sidecars", "1.30.2", _runs("1.29.2", "1.29.1")),
    ("breaks-old-sidecars", "1.30", _runs("1.29.2", "1.29.1")),
    ("gateways-restart-with-istiod", "1.29.2", _gateway),
    ("gateways-restart-with-istiod", "1.29.1", lambda mesh: _gateway(mesh, "istio-remote")),
    ("gateway-revision-outage", "1.31", _all(_runs("1.30.2"), _gateway)),
    ("gateway-revision-outage", "1.31", _runs("1.30.1")),
    ("secret-controller-deadlock", "1.29.3", _runs("1.28.5")),
    ("rotation-loses-endpoints", "1.30", _runs("1.29.6")),
    ("selected-pods-miss-their-service", "1.30.3", entry),
    ("inbound-missing-after-reconnect", "1.31.0", _runs("1.30.2")),
    ("old-reader", "1.31", _by_another_role),
    ("old-reader", "1.28.4", _without_config_maps),
    ("old-reader", "1.31", lambda mesh: None),
    ("istio-kinds-missing", "1.31", lambda mesh: None),
    ("tls-routes-too-old", "1.31", _tls_routes("v1", "v1alpha2")),
    ("tls-routes-too-old", "1.31", _only_one_has_it),
    ("tls-routes-too-old", "1.29.5", _tls_routes("v1alpha2")),
    ("gateway-api-differs", "1.31", _only_one_has_it),
    ("no-default-revision", "1.31", _tagged),
    ("no-default-revision", "1.31", lambda mesh: None),
    ("dns-failover-crash", "1.29.6", CRASHES[0]),
    *(
        ("dns-failover-crash", "1.31", change)
        for change in (
            entry,
            rule_for,
            _all(lambda mesh: entry(mesh, resolution="STATIC"), rule_for),
            _all(lambda mesh: entry(mesh, endpoints=[{"locality": "a/b"}] * 2), rule_for),
            _all(lambda mesh: entry(mesh, endpoints=[]), rule_for),
            _all(entry, lambda mesh: rule_for(mesh, host="other.example.com")),
            _all(entry, lambda mesh: rule_for(mesh, host="*.api.example.com")),
            _all(
                lambda mesh: entry(mesh, hosts=["api.shop.svc.cluster.local"]),
                lambda mesh: rule_for(mesh, "other", host="api"),
            ),
            _all(entry, _failover("topology.kubernetes.io/region", outlierDetection=None)),
            _all(
                entry,
                lambda mesh: rule_for(
                    mesh,
                    trafficPolicy=FAILOVER
                    | {
                        "loadBalancer": {
                            "localityLbSetting": {"enabled": False, "failoverPriority": ["x"]}
                        }
                    },
                ),
            ),
            _all(_workloads("a/b", "a/b"), rule_for),
            _all(_workloads("a/b", "c/d", namespace="other"), rule_for),
            # nobody knows both
            _all(
                lambda mesh: entry(mesh, "one", exportTo=["."]),
                lambda mesh: rule_for(mesh, "two", exportTo=["."]),
            ),
        )
    ),
    ("service-before-entry", "1.30.4", _all(_runs("1.29.6"), entry)),
    ("service-before-entry", "1.31", _all(_runs("1.30.4"), _inside)),
    (
        "service-before-entry",
        "1.30.4",
        _all(_runs("1.29.6"), lambda mesh: entry(mesh, hosts=["echo.istio-mc-test.svc.other"])),
    ),
    (
        "service-before-entry",
        "1.30.4",
        _all(
            _runs("1.29.6"),
            lambda mesh: entry(
                mesh, "istio-mc-test", hosts=["echo.istio-mc-test.svc.cluster.local"]
            ),
        ),
    ),
    ("subset-tls-mode", "1.31", _all(_runs("1.30.4"), _subsets(None))),
    ("subset-tls-mode", "1.31", _all(_runs("1.30.4"), _subsets({"tls": {"mode": "SIMPLE"}}))),
    ("subset-tls-mode", "1.31", _all(_runs("1.30.4"), _subsets({}, mode=""))),
    ("strict-gateway-merging", "1.31", _all(_runs("1.30.4"), _merged("shop"))),
    ("strict-gateway-merging", "1.31", _all(_runs("1.30.4"), _merged("other", "nobody"))),
    (
        "empty-workload-selector",
        "1.31.1",
        _all(
            _runs("1.31.0"),
            lambda mesh: entry(mesh, workloadSelector={"labels": {"app": "x"}}),
        ),
    ),
    ("empty-workload-selector", "1.31.1", _all(_runs("1.31.0"), entry)),
    ("unhealthy-endpoints", "1.31", _all(_runs("1.30.4"), _failover("version"))),
    ("network-preferred", "1.31", _all(_runs("1.30.4"), _failover("version"))),
    ("failover-by-pod-labels", "1.31", _failover("topology.istio.io/cluster")),
    ("sidecars-without-network", "1.31", _labelled),
    ("injector-without-network", "1.31", _network_by_path),
    ("unknown-cluster-id", "1.31", _aliased("discovery", "--clusterAliases=Kubernetes=cluster1")),
    ("unknown-cluster-id", "1.31", _aliased("--clusterAliases", "A=b,Kubernetes=cluster1")),
    ("gateways-share-equally", "1.31", lambda mesh: None),
    ("refused-rotation", "1.31", lambda mesh: None),
    ("cacerts-not-loadable", "1.31", lambda mesh: None),
    ("webhook-trusts-another-root", "1.31", lambda mesh: None),
    ("webhook-trusts-another-root", "1.31", _webhook("")),
    ("webhook-trusts-another-root", "1.31", _webhook(OTHER.certificate, "istio-other")),
    ("webhook-trusts-another-root", "1.31", _certified_by_kubernetes),
    (
        "webhook-trusts-another-root",
        "1.31",
        lambda mesh: _webhook(OTHER.certificate + mesh.root.certificate)(mesh),
    ),
    ("authority-ends-soon", "1.31", lambda mesh: None),
    ("single-point", "1.31", _two_replicas),
    ("no-disruption-budget", "1.31", _all(_two_replicas, _budgets())),
    ("no-disruption-budget", "1.31", _budgets(minAvailable="50%")),
]


def _ids(cases: list[tuple[str, str, Change]]) -> list[str]:
    return [f"{number}-{rule}-{to}" for number, (rule, to, _) in enumerate(cases)]


@pytest.mark.parametrize(("rule", "to", "change"), APPLIES, ids=_ids(APPLIES))
def test_a_rule_applies_to_what_it_is_about(rule: str, to: str, change: Change) -> None:
    mesh = FakeMesh()
    change(mesh)

    found = stands(mesh, rule, to)

    assert (found.standing, found.gaps) == (Standing.APPLIES, ()), found
    assert found.blocks == (BY_ID[rule].weight is Weight.BLOCKS)
    for finding in found.findings:
        assert finding.summary
        assert finding.remedy
        assert finding.clusters
        assert not taken_away(finding.remedy)


@pytest.mark.parametrize(("rule", "to", "change"), CLEAR, ids=_ids(CLEAR))
def test_its_healthy_twin_is_not_accused(rule: str, to: str, change: Change) -> None:
    mesh = FakeMesh()
    change(mesh)

    found = stands(mesh, rule, to)

    assert found.standing is Standing.CLEAR, found
    assert found.reason


def test_an_authority_that_ends_within_days_is_told() -> None:
    snapshot = FakeMesh().record_for_upgrade()
    late = (snapshot.moment + timedelta(days=10 * 365 - 3)).isoformat()

    found = precheck(replace(snapshot, recorded_at=late), target("1.31"))

    told = next(one for one in found if one.rule.id == "authority-ends-soon")
    assert told.standing is Standing.APPLIES


def test_an_intermediate_that_istiod_has_not_taken_is_a_bomb() -> None:
    mesh = FakeMesh()
    lifetime = certificates.DAY * 100
    fresh = certificates._make_authority("cluster2", "istio-mc", mesh.root, lifetime, 0)
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    mesh[2].objects["Secret"].append(cacerts(fresh, mesh.root))
    old = mesh.intermediates["cluster2"]
    (loaded,) = parse(old.certificate)[:1]
    metric = f"citadel_server_cert_chain_expiry_timestamp {loaded.facts.not_after.timestamp()}"
    mesh[2].answers["istiod-2", 15014, "/metrics"] = metric

    found = stands(mesh, "refused-rotation", "1.31")

    assert found.blocks
    assert [one.clusters for one in found.findings] == [("cluster2",)]
    assert "signing certificate" in found.findings[0].summary


def test_every_rule_has_both() -> None:
    lacking = {"authority-ends-soon"}  # above

    assert {rule for rule, _, _ in APPLIES} | lacking == BY_ID.keys()
    assert {rule for rule, _, _ in CLEAR} >= BY_ID.keys() - {
        rule.id for rule in RULES if rule.to
    } - {"single-point"}


def test_rules_say_what_they_are_about() -> None:
    assert len(BY_ID) == len(RULES)
    for rule in RULES:
        assert rule.title.endswith(".")
        assert rule.effect
        assert rule.looks_at
        assert rule.sources
        assert all(one.startswith("https://") for one in rule.sources)
        assert list(rule.to_dict()["sources"]) == list(rule.sources)


@pytest.mark.parametrize(
    "refused",
    [
        "ClusterRole.rbac.authorization.k8s.io",
        "PodDisruptionBudget.policy",
        "DestinationRule.networking.istio.io",
        "Secret",
        "Pod",
        "discovery",
    ],
)
def test_what_may_not_be_read_is_never_taken_for_healthy(refused: str) -> None:
    mesh = FakeMesh()
    _tls_routes("v1")(mesh)
    run(mesh, "1.30.4")
    healthy = {
        one.rule.id
        for one in precheck(mesh.record_for_upgrade(), target("1.31"))
        if one.standing is not Standing.UNKNOWN
    }
    mesh[1].refused = (refused,)

    found = precheck(mesh.record_for_upgrade(), target("1.31"))

    unknown = {one.rule.id for one in found if one.gaps}
    assert healthy == BY_ID.keys()
    assert unknown


@pytest.mark.parametrize("name", sorted(one.name for one in RECORDED.glob("healthy*")))
def test_nothing_blocks_a_recorded_healthy_mesh(name: str) -> None:
    found = precheck(Snapshot.load(RECORDED / name), target("1.31"))

    assert [one.rule.id for one in found if one.blocks] == []


@pytest.mark.parametrize(
    ("fault", "rule", "to"),
    [
        ("rs-rbac-partial", "old-reader", "1.31"),
        ("rs-rbac-partial", "old-reader-trust-domain", "1.29.1"),
        ("trust-key-mismatch", "cacerts-not-loadable", "1.31"),
    ],
)
def test_faults_of_real_meshes_are_found(fault: str, rule: str, to: str) -> None:
    found = precheck(Snapshot.load(RECORDED / fault), target(to))

    told = next(one for one in found if one.rule.id == rule)
    assert told.standing is Standing.APPLIES
    assert all("cluster2" in finding.clusters for finding in told.findings)


def test_separate_meshes_need_no_names_for_their_networks() -> None:
    snapshot = recorded("federated")
    pod = {"metadata": meta("old-1", "shop")}
    for cluster in snapshot.clusters.values():
        cluster.objects["PodWithoutNetwork"] = (pod,)  # type: ignore[index]

    found = {one.rule.id: one for one in precheck(snapshot, target("1.31"))}

    assert found["sidecars-without-network"].standing is Standing.CLEAR
    assert found["injector-without-network"].standing is Standing.CLEAR


def test_a_large_mesh_takes_seconds() -> None:
    """Each ServiceEntry beside each DestinationRule would take minutes."""
    mesh = FakeMesh()
    run(mesh, "1.30.1")
    rows = mesh[1].istiod("syncz")
    proxies = [{**rows[0], "proxy": f"p-{n}.shop", "istio_version": LAB} for n in range(10_000)]
    rows.extend(proxies)
    for n in range(1_000):
        host = f"h{n}.example.com"
        entry(mesh, hosts=[host])["metadata"]["name"] = f"e{n}"
        rule_for(mesh, host=host)["metadata"]["name"] = f"e{n}"
    snapshot = mesh.record_for_upgrade()
    began = time.process_time()

    found = {one.rule.id: one for one in precheck(snapshot, target("1.31"))}

    assert time.process_time() - began < 5
    assert len(found["dns-failover-crash"].findings) == 2_000


def test_proxies_of_a_member_that_was_not_given_are_told_without_its_commands() -> None:
    mesh = FakeMesh()
    run(mesh, "1.30.4")
    mesh[1].istiod("syncz")[0] |= {"cluster_id": "elsewhere", "istio_version": "1.28.1"}

    (finding,) = stands(mesh, "proxies-too-old", "1.31").findings

    assert "1 proxies in elsewhere" in finding.summary
    assert finding.clusters == ()
    assert finding.remedy.startswith("# ")


def test_vendors_and_commits_are_doubted_not_judged() -> None:
    mesh = FakeMesh()
    _gateway(mesh)
    run(mesh, "1.30.1-asm.4")

    found = stands(mesh, "gateway-revision-outage", "1.31")

    assert found.standing is Standing.UNKNOWN
    assert any("a build of asm" in one for one in found.gaps)


def test_an_istiod_without_a_version_is_told() -> None:
    mesh = FakeMesh()
    run(mesh, "latest", proxies="")

    found = {one.rule.id: one for one in precheck(mesh.record_for_upgrade(), target("1.31"))}

    assert found["two-minors-at-once"].standing is Standing.UNKNOWN
    assert found["proxies-ahead"].standing is Standing.UNKNOWN
    assert "tell no version" in found["proxies-ahead"].gaps[0]
