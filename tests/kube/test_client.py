"""Kube against a real apiserver."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.objects import Json
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs

pytestmark = pytest.mark.lab


def _config_map(name: str, namespace: str, **data: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _names(objects: list[Json]) -> list[str]:
    return [entry["metadata"]["name"] for entry in objects]


def test_version_and_server_are_the_apiservers(api: KubernetesApi, kube: Kube) -> None:
    assert kube.version().startswith("v1.")
    assert kube.server == api.url


def test_get_path_gives_json_or_text(kube: Kube) -> None:
    assert kube.get_path("/readyz") == "ok"
    selector = "kubernetes.io/metadata.name=default"
    assert _names(kube.get_path("/api/v1/namespaces", labelSelector=selector)["items"]) == [
        "default"
    ]


def test_objects_are_created_read_merged_listed_and_deleted(kube: Kube, namespace: str) -> None:
    labelled = {"name": "greeting", "namespace": namespace, "labels": {"a": "b"}}
    greeting = _config_map("greeting", namespace, word="hello")
    made = kube.create({**greeting, "metadata": labelled})
    assert made["metadata"]["uid"]

    merged = kube.merge("ConfigMap", "greeting", namespace, {"data": {"word": None, "mark": "!"}})
    assert merged["data"] == {"mark": "!"}
    assert (kube.read("ConfigMap", "greeting", namespace) or {})["data"] == {"mark": "!"}
    assert _names(kube.list("ConfigMap", namespace, labels="a=b")) == ["greeting"]
    assert kube.list("ConfigMap", namespace, labels="a=c") == []
    assert kube.list("ConfigMap", namespace, fields="metadata.name=other") == []
    assert "greeting" in _names(kube.list("ConfigMap"))

    kube.delete("ConfigMap", "greeting", namespace)
    assert kube.read("ConfigMap", "greeting", namespace) is None


def test_deleting_what_is_absent_is_fine(kube: Kube, namespace: str) -> None:
    kube.delete("ConfigMap", "nothing", namespace)
    kube.delete("Nonsense.example.org", "nothing", namespace)


def test_a_dry_run_keeps_nothing(kube: Kube, namespace: str) -> None:
    made = kube.create(_config_map("trial", namespace), dry_run=True)

    assert made["metadata"]["uid"]
    assert kube.read("ConfigMap", "trial", namespace) is None


@pytest.mark.parametrize(
    "kind", ["Gateway.networking.istio.io", "Gateway", "Nonsense", "Nonsense.example.org"]
)
def test_kinds_that_the_cluster_does_not_serve_have_no_objects(kube: Kube, kind: str) -> None:
    assert kube.list(kind) == []
    assert kube.read(kind, "any", "default") is None


def test_kinds_that_are_not_in_the_table_are_discovered(kube: Kube) -> None:
    assert "system-node-critical" in _names(kube.list("PriorityClass"))
    assert "exempt" in _names(kube.list("FlowSchema.flowcontrol.apiserver.k8s.io"))


def test_a_refusal_carries_the_status_and_the_apiservers_own_words(
    kube: Kube, namespace: str
) -> None:
    with pytest.raises(KubeError, match='Invalid value: "Not_A_Name"') as refused:
        kube.create(_config_map("Not_A_Name", namespace))

    assert refused.value.status == 422
    assert refused.value.thing == 'cluster "cluster1"'


def test_an_object_of_an_unknown_kind_cannot_be_made(kube: Kube) -> None:
    nonsense = {"apiVersion": "example.org/v1", "kind": "Nonsense", "metadata": {"name": "any"}}
    with pytest.raises(KubeError, match="does not serve it") as refused:
        kube.create(nonsense)

    assert refused.value.status == 404


def test_exec_into_a_pod_that_is_not_there(kube: Kube) -> None:
    with pytest.raises(KubeError, match="not found") as refused:
        kube.exec("default", "nobody", "container", ["true"])

    assert refused.value.status == 404


def test_an_apiserver_that_is_gone_or_hangs_is_said_at_once(tmp_path: Path) -> None:
    with kubernetes_api(programs(), tmp_path) as api:
        kube = api.kube(request_timeout_seconds=1)
        kube.version()
        api.process.send_signal(19)  # SIGSTOP: it still accepts connections, and never answers
        began = time.monotonic()
        with pytest.raises(KubeError, match="no answer") as hung:
            kube.list("Pod")
        with pytest.raises(KubeError, match="no answer"):
            kube.exec("default", "any", "any", ["true"])
        took = time.monotonic() - began
        api.process.kill()
        api.process.wait()
        with pytest.raises(KubeError, match="refused") as gone:
            kube.list("Pod")

    assert hung.value.status == gone.value.status == 0
    assert took < 4
