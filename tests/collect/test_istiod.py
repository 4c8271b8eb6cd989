"""istiod's debug documents are read in the forms that its versions have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_istio_mc.collect.istiod import read_debug, read_metrics, reduce_shards
from pytest_istio_mc.errors import KubeError

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
