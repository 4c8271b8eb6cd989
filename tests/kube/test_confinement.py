"""A confined connection changes nothing outside the run's namespaces, whatever is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_istio_mc.errors import KubeError, NotAllowed
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.confinement import Confinement
from pytest_istio_mc.mesh import Mesh, Probes
from pytest_istio_mc.spec import MeshSpec

OWN = "istio-mc-cafe0123"
MESH = Mesh(
    MeshSpec("test", ()), "cafe0123", "attach", "python", probes=Probes("prepared", "s", "i", ())
)
MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "one", "namespace": "payments"},
}
SPACE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "istio-mc-cafe01234"},
}


@pytest.fixture
def kube() -> Kube:
    """A confined connection that could reach nothing."""
    kube = Kube("east", "/no/such/kubeconfig", "east")
    kube.confine(MESH.owns)
    return kube


@pytest.mark.parametrize(
    "change",
    [
        lambda kube: kube.apply(MAP),
        lambda kube: kube.apply(SPACE),
        lambda kube: kube.create(MAP),
        lambda kube: kube.merge("ConfigMap", "istio", "istio-system", {}),
        lambda kube: kube.merge("Deployment", "gateway", "istio-system", {}, subresource="scale"),
        lambda kube: kube.merge("Node", "node1", None, {}),
        lambda kube: kube.delete("Namespace", "payments"),
        lambda kube: kube.delete("Pod", "istiod-1", "istio-system"),
        lambda kube: kube.delete("ClusterRole", OWN),
        lambda kube: kube.exec("payments", "card-1", "card", ["true"]),
        lambda kube: kube.open_exec("istio-system", "istiod-1", "discovery", ["true"]),
    ],
)
def test_what_changes_anything_elsewhere_is_refused(
    kube: Kube, change: Callable[[Kube], object]
) -> None:
    with pytest.raises(NotAllowed, match="writes nothing outside its own namespaces"):
        change(kube)


@pytest.mark.parametrize(
    "ask",
    [
        lambda kube: kube.list("Pod"),
        lambda kube: kube.read("ConfigMap", "istio", "istio-system"),
        lambda kube: kube.create(MAP, dry_run=True),
        lambda kube: kube.delete("Namespace", OWN),
        lambda kube: kube.delete("Service", "one", "prepared"),
        lambda kube: kube.merge("Service", "one", f"{OWN}-local-ab12c", {}),
        lambda kube: kube.exec(OWN, "client-1", "probe", ["true"]),
        lambda kube: kube.http_get("istio-system", "istiod-1", 8080, "/debug/syncz"),
    ],
)
def test_reading_and_the_runs_own_namespaces_are_free(
    kube: Kube, ask: Callable[[Kube], object]
) -> None:
    with pytest.raises(KubeError) as caught:  # there is nobody to ask
        ask(kube)

    assert not isinstance(caught.value, NotAllowed)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/namespaces"),
        ("DELETE", f"/api/v1/namespaces/{OWN}0/pods/one"),
        ("GET", "/api/v1/namespaces/payments/pods/card-1/attach"),
        ("GET", "/api/v1/namespaces/payments/services/card/proxy/pay"),
        ("PUT", "/api/v1/nodes/node1"),
        ("DELETE", "/apis/apps/v1/deployments"),
    ],
)
def test_the_request_decides_and_not_its_caller(method: str, path: str) -> None:
    with pytest.raises(NotAllowed):
        Confinement(MESH.owns).demand("cluster", method, path, ())


def test_a_review_leaves_nothing_behind() -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    Confinement(MESH.owns).demand("cluster", "POST", path, ())

    with pytest.raises(NotAllowed):
        Confinement(MESH.owns).demand("cluster", "POST", path.replace(".k8s", ".k9s"), ())
