"""istiod's debug documents are read in the forms that its versions have."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.collect.istiod import (
    entries,
    read_debug,
    read_istiod,
    read_metrics,
    read_proxy_connection,
    reduce_shards,
)
from pytest_istio_mc.errors import KubeError
from tests.fake_clusters import PROBES, FakeMesh

PORT = {"EndpointPort": 80, "ServicePortName": "http"}
A = {"Address": "10.1.0.5", "Network": "n1", **PORT}
B = {"Addresses": ["10.2.0.5"], "Network": "n2", "TLSMode": "istio", **PORT}
SHARDS = {
    "echo.ns.svc.cluster.local": {"ns": {"Shards": {"Kubernetes/b": [B], "Kubernetes/a": [A]}}}
}


def answering(answers: dict[tuple[int, str], Any]) -> Any:
    def get(port: int, path: str) -> bytes:
        if (port, path) not in answers:
            raise KubeError("istiod", f":{port}{path}", "404 page not found", status=404)
        return json.dumps(answers[(port, path)]).encode()

    return get


def test_shards_of_watched_namespaces_are_kept_in_full_with_either_form_of_address() -> None:
    shards = reduce_shards(SHARDS.items(), ("ns",))["echo.ns.svc.cluster.local"]["ns"]

    assert shards["Kubernetes/b"][0]["address"] == "10.2.0.5"
    assert shards["Kubernetes/b"][0]["tls_mode"] == "istio"
    assert shards["Kubernetes/a"][0]["address"] == "10.1.0.5"
    assert shards["Kubernetes/a"][0]["tls_mode"] == ""


def test_other_shards_become_digests_that_differ_when_the_endpoints_do() -> None:
    before = reduce_shards(SHARDS.items(), ())["echo.ns.svc.cluster.local"]["ns"]["Kubernetes/b"]
    changed = json.loads(json.dumps(SHARDS).replace("10.2.0.5", "10.2.0.6"))

    after = reduce_shards(changed.items(), ())["echo.ns.svc.cluster.local"]["ns"]["Kubernetes/b"]

    assert before["count"] == after["count"] == 1
    assert before["digest"] != after["digest"]


@pytest.mark.parametrize(
    ("port", "path"),
    [(8080, "/debug/endpointShardz"), (15014, "/debug/endpointShardz"), (8080, "/debug/endpointz")],
)
def test_older_places_are_tried(port: int, path: str) -> None:
    assert read_debug(answering({(port, path): SHARDS}), "endpointShardz", ("ns",))


def test_the_last_refusal_is_what_is_reported() -> None:
    with pytest.raises(KubeError, match="404"):
        read_debug(answering({}), "clusterz")


def test_only_metrics_that_matter_are_kept() -> None:
    status = 'istiod_remote_cluster_sync_status{cluster="b",status="synced"}'
    text = f'pilot_xds{{version="1.31"}} 4\ngo_threads 12\n{status} 1\n'

    assert read_metrics(text) == {'pilot_xds{version="1.31"}': 4.0, status: 1.0}


def rows(cluster: Any) -> list[str]:
    """The debug endpoints that were asked for, in order."""
    return [path for _, _, path in cluster.gets if path.startswith("/debug/")]


def test_adsz_is_asked_for_our_own_proxies_alone_each_of_the_replica_that_has_it() -> None:
    mesh = FakeMesh()
    replica = mesh.add_replica(1)
    second = mesh[1].answers[(replica, 8080, "/debug/syncz")]
    second[:] = [row for row in second if row["proxy"] == f"client-1.{PROBES}"]
    first = mesh[1].istiod("syncz")
    first[:] = [row for row in first if row["proxy"] != f"client-1.{PROBES}"]

    snapshot = mesh.record()

    asked = [(pod, path) for pod, _, path in mesh[1].gets if "adsz" in path]
    assert sorted(asked) == [
        ("istiod-1", f"/debug/adsz?proxyID=server-1.{PROBES}"),
        (replica, f"/debug/adsz?proxyID=client-1.{PROBES}"),
    ]
    held = {
        row["proxy"] for one in snapshot.clusters["cluster1"].istiods for row in one.debug["adsz"]
    }
    assert held == {f"client-1.{PROBES}", f"server-1.{PROBES}"}


def test_a_run_asks_istiod_for_no_more_than_the_documentation_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "certificate.md").read_text()
    told = dict(re.findall(r"^\| `(/debug/[^`]*)` \| (\d+)", page, re.MULTILINE))
    mesh = FakeMesh()

    mesh.record()

    asked = Counter(re.sub("=.*", "=…", path) for path in rows(mesh[1]))
    assert asked == {path: int(number) for path, number in told.items()}


def test_what_istiod_cannot_filter_is_asked_once_of_each_replica() -> None:
    mesh = FakeMesh()
    mesh.add_replica(1)

    mesh.record()

    whole = [path for path in rows(mesh[1]) if "?" not in path]
    wanted = ("clusterz", "networkz", "syncz", "mesh", "endpointShardz")
    assert sorted(whole) == sorted(2 * [f"/debug/{name}" for name in wanted])


def test_shards_that_differ_are_read_once_more_and_no_oftener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pytest_istio_mc.collect.cluster.SETTLING_SECONDS", 0.0)
    mesh = FakeMesh()
    replica = mesh.add_replica(1)
    mesh[1].answers[(replica, 8080, "/debug/endpointShardz")]["x.other.svc"] = {
        "other": {"Shards": {"Kubernetes/cluster2": [B]}}
    }

    snapshot = mesh.record()

    assert rows(mesh[1]).count("/debug/endpointShardz") == 4
    hosts = {
        one.pod: "x.other.svc" in one.debug["endpointShardz"]
        for one in snapshot.clusters["cluster1"].istiods
    }
    assert hosts == {"istiod-1": False, replica: True}


def test_shards_that_change_while_they_are_read_say_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = FakeMesh()
    replica = mesh.add_replica(1)
    changing = mesh[1].answers[(replica, 8080, "/debug/endpointShardz")]
    changing["x.other.svc"] = {"other": {"Shards": {"Kubernetes/cluster2": [B]}}}
    monkeypatch.setattr(
        "pytest_istio_mc.collect.cluster.pause",
        lambda seconds: changing["x.other.svc"]["other"]["Shards"].update(
            {"Kubernetes/cluster2": [A]}
        ),
    )

    snapshot = mesh.record()

    for one in snapshot.clusters["cluster1"].istiods:
        assert "x.other.svc" not in one.debug["endpointShardz"]


@pytest.mark.parametrize("other", ["x-client-1.ns", "client-1.ns2"])
def test_another_proxy_than_the_one_asked_for_is_no_answer(other: str) -> None:
    found = {"clients": [{"connectionId": f"{other}-7", "locality": {"region": "r"}}]}
    get = answering({(8080, "/debug/adsz?proxyID=client-1.ns"): found})

    with pytest.raises(KubeError):
        read_proxy_connection(lambda port, path: get(8080, path), "client-1.ns")


def test_a_proxy_that_is_not_connected_is_nowhere() -> None:
    assert read_proxy_connection(answering({}), "client-1.ns") == []


@pytest.mark.parametrize("answer", [{}, [], None, 7, "x", [1], {"clients": [1]}, {"clients": 1}])
@pytest.mark.parametrize(
    "endpoint", ["clusterz", "networkz", "syncz", "mesh", "endpointShardz", "adsz?proxyID=a.b"]
)
def test_an_answer_of_another_form_is_a_failure_and_no_error(endpoint: str, answer: Any) -> None:
    pod = {"metadata": {"name": "istiod"}, "spec": {}, "status": {}}

    facts = read_istiod(pod, lambda port, path: json.dumps(answer).encode(), ("ns",), ["a.b"])

    assert facts.pod == "istiod"
    for failure in facts.failures:
        assert failure.error


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", ' [ 1 , {"a": [2]} ] ', '{"a": 1,\n"b": [1]}']
)
def test_entries_of_a_document_are_those_that_json_has(text: str) -> None:
    whole = json.loads(text) or {}
    expected = list(whole.items()) if isinstance(whole, dict) else [("", one) for one in whole]

    assert list(entries(text)) == expected


@pytest.mark.parametrize("text", ["", "1", "[1", "[1 2]", '{"a"}', '{"a": 1', "{1: 2}", '{"a": }'])
def test_a_broken_document_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(entries(text))


def test_of_what_a_proxy_was_sent_only_what_it_has_not_accepted_is_kept() -> None:
    kinds = {
        "good": {"sent": "a", "acked": "a"},
        "bad": {"sent": "b", "acked": "a", "sentTime": "t", "lastError": "x" * 9000, "more": 1},
    }
    row = {"proxy": "p.ns", "cluster_id": "c", "resources": kinds, "labels": {"secret": "x"}}

    (kept,) = read_debug(lambda port, path: json.dumps([row]).encode(), "syncz")

    assert kept == {
        "proxy": "p.ns",
        "cluster_id": "c",
        "resources": {"bad": {"sent": "b", "acked": "a", "sentTime": "t", "lastError": "x" * 500}},
    }
