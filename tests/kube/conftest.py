"""Clusters for the tests of Kube: a real apiserver, and a lab."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from pytest_istio_mc.eventually import Timeouts, eventually
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab import lab
from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.lab.binaries.images import PYTHON
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """A running kube-apiserver that all tests of this folder share."""
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def kube(api: KubernetesApi) -> Iterator[Kube]:
    """A client of the shared apiserver."""
    client = api.kube()
    yield client
    client.close()


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> str:
    """A namespace for one test alone."""
    name = re.sub(r"[_\[]", "-", str(request.node.name)).replace("]", "").lower()[:60].strip("-")
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture(scope="session")
def node() -> Iterator[Kube]:
    """A client of a lab of one cluster."""
    tools = toolchain.cached()
    if tools is None or os.geteuid() != 0:
        pytest.skip("a lab needs root and the toolchain: istio-mc lab build")
    spec = MeshSpec("single", (ClusterSpec("cluster1", "network1"),))
    name, ready = f"test-kube-{os.getpid()}", Timeouts().cluster_ready
    running = lab.start(spec, name, tools, Progress(), within_seconds=ready)
    client = Kube("cluster1", str(running.kubeconfig), "cluster1")
    yield client
    client.close()
    running.stop()


@pytest.fixture(scope="session")
def python_pod(node: Kube) -> str:
    """A pod in the namespace ``default`` that waits; its container is ``python``."""
    container = {"name": "python", "image": PYTHON, "args": ["-c", "import time; time.sleep(3600)"]}
    node.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "python", "namespace": "default"},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
        }
    )
    eventually(
        lambda: (node.read("Pod", "python", "default") or {}).get("status", {}).get("phase"),
        lambda phase: phase == "Running",
        within_seconds=30,
        what="the pod runs",
    )
    return "python"
