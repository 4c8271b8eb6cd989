"""Canaries: secrets where real clusters have them, none of which gets into a snapshot."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio_mc.collect import fields, objects
from pytest_istio_mc.collect.objects import is_mesh_config, trim
from pytest_istio_mc.snapshot import Snapshot
from tests.fake_clusters import PROBES, SYSTEM, FakeMesh, Json, encoded, jwt, meta, remote_secret
from tests.static_checks import judge_all
from tests.test_snapshot import read_all

CANARY = "canary-Zq7xP"
"""In every secret: no shape betrays it."""

MESH_CONFIG = f"""
trustDomain: cluster.local
extensionProviders:
- name: tracer
  opentelemetry: {{http: {{headers: [{{name: Api-Token, value: {CANARY}}}]}}}}
- name: lightstep
  lightstep: {{accessToken: {CANARY}, service: x}}
defaultConfig:
  meshId: mesh1
  tracing: {{lightstep: {{accessToken: {CANARY}}}}}
  proxyMetadata: {{DD_API_KEY: {CANARY}, ISTIO_META_DNS_CAPTURE: "true"}}
"""

VARIABLES = (
    "DATABASE_URL", "MYSQL_PWD", "PGPASS", "ENCRYPTION_KEY", "SIGNING_KEY", "BASIC_AUTH",
    "SENTRY_DSN", "SLACK_WEBHOOK", "GH_PAT", "DD_API_KEY", "PILOT_ANYTHING", "ISTIO_META_ANYTHING",
)  # fmt: skip


def full_of_secrets() -> FakeMesh:
    """A healthy mesh whose owner has secrets in every place where they have been seen."""
    mesh = FakeMesh()
    for cluster in mesh.clusters.values():
        n = cluster.number
        variables = [{"name": name, "value": f"x://{CANARY}"} for name in VARIABLES]
        for pod in cluster.objects["Pod"]:
            for container in pod["spec"]["containers"]:
                container["env"] = [*container.get("env", ()), *variables]
                container["command"] = ["sh", "-c", CANARY]
            notes = {"proxy.istio.io/config": f"tracing: {CANARY}", "example.org/note": CANARY}
            pod["metadata"]["annotations"] = notes
            pod["metadata"]["labels"]["example.org/note"] = CANARY
            pod["status"]["conditions"][0]["message"] = CANARY
        # a tenant's pods, beside a Service that has the port of east-west gateways
        tenant = {"metadata": meta("app", "tenant") | {"labels": {"app": "tenant"}}}
        tenant["spec"] = {"containers": [{"name": "app", "env": variables}]}
        tenant["status"] = {"phase": "Pending"}
        cluster.objects["Pod"].append(tenant)
        ports = [{"name": "tls", "port": 15443}]
        service = {"metadata": meta("web-gateway", "tenant"), "spec": {"ports": ports}}
        cluster.objects["Service"].append(service | {"status": {}})
        headers = {"request": {"set": {"authorization": f"Basic {CANARY}", "x-api-key": CANARY}}}
        cluster.objects["VirtualService.networking.istio.io"] = [
            {
                "metadata": meta("route", "tenant"),
                "spec": {"hosts": ["x"], "http": [{"headers": headers}]},
            }
        ]
        cluster.objects["DestinationRule.networking.istio.io"] = [
            {
                "metadata": meta("rule", "tenant"),
                "spec": {
                    "host": "x.example",
                    "trafficPolicy": {"loadBalancer": {"consistentHash": {"x": CANARY}}},
                },
            }
        ]
        cluster.objects["ServiceEntry.networking.istio.io"] = [
            {
                "metadata": meta("outside", "tenant"),
                "spec": {"hosts": ["x.example"], "endpoints": [{"labels": {"x": CANARY}}]},
            }
        ]
        cluster.find("Gateway.networking.istio.io", "cross-network-gateway", SYSTEM)["spec"][
            "servers"
        ][0]["tls"]["credentialName"] = CANARY
        cluster.find("ConfigMap", "istio", SYSTEM)["data"] = {
            "mesh": MESH_CONFIG,
            "meshNetworks": json.dumps({"networks": {}, "x": CANARY}),
        }
        cluster.find("ConfigMap", "istio-ca-root-cert", SYSTEM)["data"]["note"] = CANARY
        url = f"https://u:{CANARY}@istiod.example/inject?token={CANARY}"
        cluster.objects["MutatingWebhookConfiguration.admissionregistration.k8s.io"] = [
            {
                "metadata": meta("istio-sidecar-injector"),
                "webhooks": [{"clientConfig": {"url": url, "caBundle": encoded(CANARY)}}],
            }
        ]
        cluster.istiod("mesh").update(yaml.safe_load(MESH_CONFIG))
        cluster.istiod("adsz")["clients"][0]["metadata"] = {"PROXY_CONFIG": CANARY}
        cluster.istiod("syncz")[0]["note"] = CANARY
        for proxy in (f"client-{n}", f"gateway-{n}"):
            node = cluster.dump(proxy)["configs"][0]["bootstrap"]["node"]
            node["metadata"] |= {"PROXY_CONFIG": {"tracing": CANARY}, "LABELS": {"x": CANARY}}
        cacerts = cluster.find("Secret", "cacerts", SYSTEM)["data"]
        chain = base64.b64decode(cacerts["cert-chain.pem"]).decode()
        cacerts["cert-chain.pem"] = encoded(f"# {CANARY}\n{chain}{CANARY}\n")
        helm = {"metadata": meta("sh.helm.release.v1.x", SYSTEM), "data": {"x": encoded(CANARY)}}
        labelled = meta("theirs", "tenant") | {"labels": {"istio/multiCluster": "true"}}
        theirs = {"metadata": labelled, "data": {"x": encoded(f"contexts: [{CANARY}]")}}
        cluster.objects["Secret"] += [helm, theirs]
    _credentials(mesh)
    return mesh


def _credentials(mesh: FakeMesh) -> None:
    """Credentials of all kinds, under names of clusters that are not in the mesh."""
    ca = f"{mesh[2].ca}# {CANARY}\n"
    server = f"https://u:{CANARY}@{mesh[2].peer_server.partition('//')[2]}/k8s/{CANARY}"
    users: tuple[Json, ...] = (
        {"token": f"{CANARY}-token"},
        {"token": f"{CANARY}\nline"},
        {"username": "u", "password": CANARY},
        {"exec": {"command": "x", "env": [{"name": "T", "value": CANARY}], "args": [CANARY]}},
        {"auth-provider": {"name": CANARY, "config": {"id-token": CANARY}}},
        {"tokenFile": f"/{CANARY}"},
    )
    for number, user in enumerate(users):
        secret = remote_secret(mesh[2], key=f"other{number}", server=server, ca=ca, **user)
        secret["metadata"]["annotations"]["example.org/note"] = CANARY
        mesh[1].objects["Secret"].append(secret)
    broken = {"current-context": CANARY, "clusters": [], "contexts": []}
    secret = remote_secret(mesh[2], key="broken")
    secret["data"] = {"broken": encoded(yaml.safe_dump(broken))}
    mesh[1].objects["Secret"].append(secret)


def test_no_canary_gets_into_a_snapshot_or_a_verdict(tmp_path: Path) -> None:
    snapshot = full_of_secrets().record()
    snapshot.save(tmp_path / "snapshot")

    text = read_all(tmp_path / "snapshot")
    for hidden in (CANARY, encoded(CANARY), CANARY.encode().hex()):
        assert hidden not in text
        assert hidden not in repr(snapshot)
        assert hidden not in repr(judge_all(snapshot))


def test_what_checks_read_is_there_all_the_same() -> None:
    found = full_of_secrets().record().clusters["cluster1"]

    (config,) = [one for one in found.listed("ConfigMap", SYSTEM) if "meshConfig" in one["data"]]
    assert config["data"]["meshConfig"]["extensionProviders"] == [
        {"name": "tracer"},
        {"name": "lightstep"},
    ]
    capture = {"ISTIO_META_DNS_CAPTURE": "true"}
    assert config["data"]["meshConfig"]["defaultConfig"]["proxyMetadata"] == capture
    assert "mesh" not in config["data"], "what is only a part must not look like the whole"
    (istiod,) = found.istiods
    assert dict(istiod.environment) == {"CLUSTER_ID": "cluster1"}
    (webhook,) = found.listed("MutatingWebhookConfiguration")
    assert webhook["webhooks"][0]["clientConfig"]["url"] == "https://istiod.example/inject"
    assert {pod["metadata"].get("namespace") for pod in found.listed("Pod")} == {SYSTEM, PROBES}
    (other,) = [one for one in found.secrets if one.name == "istio-remote-secret-other0"]
    kubeconfig = other.kubeconfigs["other0"]
    assert kubeconfig.server == "https://198.18.2.1:6443"
    assert kubeconfig.ca_pem.count("BEGIN CERTIFICATE") == 1


def test_of_other_secrets_not_even_the_names_are_known() -> None:
    found = full_of_secrets().record().clusters["cluster1"]

    assert not [one.name for one in found.secrets if one.namespace != SYSTEM]
    assert not [one.name for one in found.secrets if "helm" in one.name]


def test_an_older_fuller_snapshot_is_still_judged(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "recorded" / "healthy"
    snapshot = Snapshot.load(folder)
    (config, *_) = [
        one for one in snapshot.clusters["cluster1"].listed("ConfigMap") if "mesh" in one["data"]
    ]

    assert "trustDomain" in config["data"]["mesh"]


def _sample(shape: Any) -> Any:
    """A value with everything that a shape keeps."""
    if shape is fields.PLAIN:
        return "public"
    if isinstance(shape, list):
        return [_sample(shape[0])]
    if isinstance(shape, dict):
        return {("any" if key == "*" else key): _sample(inner) for key, inner in shape.items()}
    return "https://public.example"


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for entry in value.values():
            yield from _mappings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _mappings(entry)


_JSON = st.recursive(
    st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("kind", sorted(objects.BODIES))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_an_unknown_field_anywhere_is_left_out(kind: str, data: st.DataObject) -> None:
    item = {"metadata": meta("x", "y"), **_sample(objects.BODIES[kind])}
    plain = trim(kind, item)
    spoilt = copy.deepcopy(item)
    places = [
        one for one in _mappings(spoilt) if "any" not in one and one is not spoilt["metadata"]
    ]
    place = data.draw(st.sampled_from(places))
    name = data.draw(st.text(min_size=1).filter(lambda one: one not in place))
    known = {key for one in _mappings(objects.BODIES[kind]) for key in one} | {"spec", "metadata"}
    name = f"un{name}" if name in known else name
    place[name] = data.draw(_JSON)

    assert CANARY not in json.dumps(trim(kind, spoilt))
    assert trim(kind, spoilt) == plain


@pytest.mark.parametrize("kind", sorted(objects.BODIES))
@given(value=_JSON.filter(lambda one: not isinstance(one, str)))
@settings(max_examples=20, deadline=None)
def test_what_stands_where_a_text_should_is_left_out(kind: str, value: Any) -> None:
    def spoil(shape: Any) -> Any:
        if shape is fields.PLAIN:
            return value
        if isinstance(shape, list):
            return [spoil(shape[0])]
        if isinstance(shape, dict):
            return {("any" if key == "*" else key): spoil(one) for key, one in shape.items()}
        return value

    item = {"metadata": meta("x", "y"), **spoil(objects.BODIES[kind])}

    assert CANARY not in json.dumps(trim(kind, item))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("istio", True),
        ("istio-1-31", True),
        ("istio-sidecar-injector-canary", True),
        ("istio-leader", False),
        ("istio-gateway-status-leader", False),
        ("istio-namespace-controller-election", False),
        ("istio-ca-root-cert", False),
        ("grafana-dashboards", False),
    ],
)
def test_config_maps_of_istiod_are_known_by_name(name: str, wanted: bool) -> None:
    assert is_mesh_config(name) is wanted


def test_a_token_that_was_read_is_known_as_a_secret(tmp_path: Path) -> None:
    from pytest_istio_mc.redact import scrub_text

    mesh = FakeMesh()
    opaque = "no-shape-betrays-it"
    mesh[1].objects["Secret"].append(remote_secret(mesh[2], opaque, key="other"))
    mesh.record()

    assert opaque not in scrub_text(f"refused: {opaque}")
    assert jwt(sub="x") not in scrub_text(jwt(sub="x"))


def test_namespaces_keep_the_labels_by_which_the_mesh_selects_them() -> None:
    mesh = FakeMesh()
    for cluster in mesh.clusters.values():
        labels = {"team": CANARY, "mesh": "on", "tier": "x", "notistio.io/a": CANARY}
        cluster.find("Namespace", PROBES)["metadata"]["labels"] |= labels
    mesh[1].istiod("mesh")["discoverySelectors"] = [
        {"matchLabels": {"mesh": "on"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}
    ]

    snapshot = mesh.record()

    for one in snapshot:
        found = one.found("Namespace", PROBES)
        assert found is not None
        assert found["metadata"]["labels"] == {
            "istio-injection": "enabled",
            "mesh": "on",
            "tier": "x",
        }
