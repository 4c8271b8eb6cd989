"""What only the precheck of an upgrade reads, of a real kube-apiserver and of fakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.collect import collect
from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.snapshot import Snapshot, name_of
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from tests.checks.precheck.judging import budget, entry
from tests.fake_clusters import SYSTEM, FakeMesh
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs

CRD = "CustomResourceDefinition"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """A real kube-apiserver with one of Istio's CRDs, a budget, a role and three pods."""
    with (
        kubernetes_api(programs(), tmp_path_factory.mktemp("api")) as running,
        closing(running.kube()) as kube,
    ):
        for manifest in _manifests():
            kube.create(manifest)
        yield running


def _object(api: str, kind: str, name: str, namespace: str = "", **body: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    if labels := body.pop("labels", None):
        metadata["labels"] = labels
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}


def _manifests() -> Iterator[dict[str, Any]]:
    yield _object("v1", "Namespace", SYSTEM)
    yield _object("v1", "Namespace", "shop")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "wasmplugins", "singular": "wasmplugin", "kind": "WasmPlugin"}
    group = "extensions.istio.io"
    spec: dict[str, Any] = {"group": group, "names": names, "scope": "Namespaced"}
    spec |= {"versions": [{"name": "v1alpha1", **version}]}
    yield _object("apiextensions.k8s.io/v1", CRD, f"wasmplugins.{group}", spec=spec)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    rbac = "rbac.authorization.k8s.io/v1"
    yield _object(rbac, "ClusterRole", f"istio-reader-clusterrole-{SYSTEM}", rules=rules)
    selector = {"matchExpressions": [{"key": "team", "operator": "Exists"}]}
    spec = {"maxUnavailable": "50%", "selector": selector}
    yield _object("policy/v1", "PodDisruptionBudget", "istiod", SYSTEM, spec=spec)
    injected = {"security.istio.io/tlsMode": "istio"}
    network = {"topology.istio.io/network": "network1"}
    container = {"name": "app", "image": "none"}
    for name, labels in (("bare", {}), ("old", injected), ("new", injected | network)):
        spec = {"containers": [container], "automountServiceAccountToken": False}
        yield _object("v1", "Pod", name, "shop", labels=labels | {"team": "a"}, spec=spec)


def _record(api: KubernetesApi, *, for_upgrade: bool) -> Snapshot:
    clusters = tuple(ClusterSpec(f"cluster{n}", f"network{n}") for n in (1, 2))
    mesh = Mesh(MeshSpec("multi-network-multi-primary", clusters), "test", "fake", "python")
    with closing(api.kube()) as kube:
        kubes = {"cluster1": kube, "cluster2": kube}
        return collect(mesh, Progress(), kubes=kubes, for_upgrade=for_upgrade)


def test_a_real_api_server_says_what_a_precheck_asks(api: KubernetesApi, tmp_path: Path) -> None:
    recorded = _record(api, for_upgrade=True)
    recorded.save(tmp_path)
    cluster = Snapshot.load(tmp_path).clusters["cluster1"]

    assert cluster.failures == ()
    assert cluster.api_resources == {"extensions.istio.io/v1alpha1": ("wasmplugins",)}
    assert [name_of(pod) for pod in cluster.listed("PodWithoutNetwork")] == ["old"]
    (role,) = cluster.listed("ClusterRole")
    assert role["rules"][0]["resources"] == ["configmaps"]
    (kept,) = cluster.listed("PodDisruptionBudget")
    assert kept["spec"]["maxUnavailable"] == "50%"
    assert kept["spec"]["selector"]["matchExpressions"][0]["key"] == "team"


def test_a_run_asks_for_none_of_it(api: KubernetesApi) -> None:
    cluster = _record(api, for_upgrade=False).clusters["cluster1"]

    assert cluster.api_resources is None
    (role,) = cluster.listed("ClusterRole")
    assert "rules" not in role
    for kind in ("PodWithoutNetwork", "PodDisruptionBudget"):
        with pytest.raises(ObservationError, match="was not recorded"):
            cluster.listed(kind)


def test_what_is_refused_is_a_failure_and_not_none() -> None:
    mesh = FakeMesh()
    mesh[1].refused = ("PodDisruptionBudget.policy", "discovery")

    cluster = mesh.record_for_upgrade().clusters["cluster1"]

    assert {one.what for one in cluster.failures} == {
        "list PodDisruptionBudget",
        "discover resources",
    }
    assert cluster.api_resources is None
    with pytest.raises(ObservationError, match="forbidden"):
        cluster.listed("PodDisruptionBudget")


def test_only_the_listed_fields_are_kept(tmp_path: Path) -> None:
    mesh = FakeMesh()
    entry(mesh, addresses=["240.0.0.1"], subjectAltNames=["secret.example.com"])
    budget(mesh, {"team": "a"}, unhealthyPodEvictionPolicy="AlwaysAllow")
    pod = mesh[1].find("Pod", "istiod-1", SYSTEM)
    pod["metadata"]["labels"]["team"] = "a"
    pod["spec"]["containers"][0]["args"] = ["--clusterAliases=Old=cluster1,Older=cluster2", "--x=y"]

    mesh.record_for_upgrade().save(tmp_path)
    cluster = Snapshot.load(tmp_path).clusters["cluster1"]

    (kept,) = cluster.listed("ServiceEntry.networking.istio.io")
    assert kept["spec"]["endpoints"] == [{"locality": f"region{n}/zone{n}"} for n in (1, 2)]
    assert "addresses" not in kept["spec"]
    (guarding,) = cluster.listed("PodDisruptionBudget")
    assert guarding["spec"].keys() == {"minAvailable", "selector"}
    istiod = cluster.found("Pod", "istiod-1", SYSTEM)
    assert istiod is not None
    assert istiod["metadata"]["labels"]["team"] == "a"
    container = istiod["spec"]["containers"][0]
    assert container["clusterAliases"] == ["Old", "Older"]
    assert "args" not in container
