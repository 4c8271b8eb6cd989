"""A region's primary is lost: the other region's control plane does not notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from pytest_istio_mc.collect.envoy import ADMIN_PORT
from pytest_istio_mc.collect.istiod import read_debug
from pytest_istio_mc.errors import MeshError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab.binaries import images
from tests.seeded.changes import SYSTEM
from tests.seeded.mesh import SeededMesh, on

pytestmark = [pytest.mark.lab, pytest.mark.faults]

TOPOLOGY = "ha-multi-primary-remote"
LOST, PRIMARY, REMOTE = "cluster1", "cluster3", "cluster4"
"""The primary of the first region, and the other region's clusters."""

Json = dict[str, Any]


@contextmanager
def without_istiod(mesh: SeededMesh) -> Iterator[None]:
    """The istiod of the first region is scaled to nothing."""
    kube = mesh.kubes[LOST]
    kube.merge("Deployment", "istiod", SYSTEM, {"spec": {"replicas": 0}})
    seen = partial(istiods, kube)
    eventually(seen, lambda found: not found, within_seconds=60, what="the istiod is gone")
    try:
        yield
    finally:
        kube.merge("Deployment", "istiod", SYSTEM, {"spec": {"replicas": 1}})
        kube.wait_available([("Deployment", "istiod")], SYSTEM, within_seconds=120)


@contextmanager
def without_apiserver(mesh: SeededMesh) -> Iterator[None]:
    """The API server of the first region's primary is killed."""
    mesh.signal(LOST, "kube-apiserver", "SIGKILL")
    try:
        with pytest.raises(MeshError):
            mesh.kubes[LOST].version()
        yield
    finally:
        mesh.start(LOST, "kube-apiserver")
        what = "the API server is there again"
        eventually(mesh.kubes[LOST].version, bool, within_seconds=60, what=what)


@pytest.mark.parametrize(
    ("mesh", "lose"),
    [
        on(TOPOLOGY, without_istiod, id="without-istiod"),
        on(TOPOLOGY, without_apiserver, id="without-apiserver"),
    ],
    indirect=["mesh"],
)
def test_the_other_region_injects_pushes_and_stays_in_sync(
    mesh: SeededMesh, lose: Callable[[SeededMesh], Any]
) -> None:
    primary, remote = mesh.kubes[PRIMARY], mesh.kubes[REMOTE]
    name = lose.__name__.replace("_", "-")
    before = dict.fromkeys(istiods(primary))

    with lose(mesh), a_namespace(remote, name):
        began = time.monotonic()
        remote.apply(workload(), namespace=name)
        remote.wait_available([("Deployment", "sleeper")], name, within_seconds=60)
        injected = time.monotonic()
        (pod,) = [item["metadata"]["name"] for item in remote.list("Pod", name)]
        with configured(primary, name) as host:
            seen, what = partial(hosts, remote, name, pod), f"{host} in {pod}"
            pushed = eventually(seen, lambda text: host in text, within_seconds=20, what=what)

        rows = synced(primary)

        assert {PRIMARY, REMOTE} <= {row["cluster_id"] for row in rows}
        assert f"{pod}.{name}" in {row["proxy"] for row in rows}

        def late() -> list[Json]:
            return [row for row in synced(primary) if behind(row)]

        what = "every proxy of the other region is in sync"
        eventually(late, lambda rows: not rows, within_seconds=20, what=what)
        assert dict.fromkeys(istiods(primary)) == before, "the other region's istiod was restarted"
        ready, push = injected - began, pushed.first_seconds
        print(f"{name}: injected and ready after {ready:.1f} s, a push arrived after {push:.1f} s")


@contextmanager
def a_namespace(kube: Kube, name: str) -> Iterator[None]:
    metadata = {"name": name, "labels": {"istio-injection": "enabled"}}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    try:
        yield
    finally:
        kube.delete("Namespace", name)


@contextmanager
def configured(kube: Kube, name: str) -> Iterator[str]:
    """A host that the mesh knows, while in this context, from this cluster's configuration."""
    host = f"{name}.example.com"
    spec = {
        "hosts": [host],
        "location": "MESH_EXTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": "192.0.2.1"}],
    }
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": SYSTEM},
        "spec": spec,
    }
    kube.create(manifest)
    try:
        yield host
    finally:
        kube.delete("ServiceEntry.networking.istio.io", name, SYSTEM)


def workload() -> Json:
    """One pod that does nothing; its sidecar is what matters."""
    container = {
        "name": "sleeper",
        "image": images.PYTHON,
        "command": ["python3", "-c", "import signal; signal.pause()"],
        "imagePullPolicy": "IfNotPresent",
    }
    labels = {"app": "sleeper"}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    about = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "sleeper"}}
    return about | {"spec": spec}


def istiods(kube: Kube) -> list[str]:
    return [item["metadata"]["name"] for item in kube.list("Pod", SYSTEM, labels="app=istiod")]


def hosts(kube: Kube, namespace: str, pod: str) -> str:
    """The Envoy clusters of a pod, as text."""
    return kube.http_get(namespace, pod, ADMIN_PORT, "/clusters").decode()


def synced(kube: Kube) -> list[Json]:
    """The entries of ``syncz`` in a cluster's istiods, one for each proxy."""
    rows: list[Json] = []
    for istiod in istiods(kube):
        rows += read_debug(partial(kube.http_get, SYSTEM, istiod), "syncz")
    return rows


def behind(row: Json) -> bool:
    """Whether a proxy has rejected, or not yet taken, its last push."""
    resources = row["resources"].values()
    return any(one.get("lastError") or one.get("sent") != one.get("acked") for one in resources)
