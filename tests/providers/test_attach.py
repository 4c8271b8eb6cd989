"""Attaching to clusters that cannot be adopted, against a real kube-apiserver.

Who is at fault is named, with the command to try.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc import cli
from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube, lease
from pytest_istio_mc.lab.binaries.images import LAB_LABEL, PYTHON
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes import manifests
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers import ProvisionRequest
from pytest_istio_mc.providers.attach import AttachProvider, look
from pytest_istio_mc.session.provision import release_kept, sweep_dead_runs
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, with_contexts
from tests.kubernetes_api import TOKEN, KubernetesApi, kubernetes_api, programs

TOPOLOGY = "multi-network-multi-primary"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """A real kube-apiserver without Istio."""
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api")) as running:
        yield running


def kubeconfig(
    folder: Path, servers: Sequence[str], user: dict[str, Any], authority: Path | None = None
) -> Path:
    """A kubeconfig with contexts ``one``, ``two``… for servers, and one user."""
    names = ["one", "two", "three"][: len(servers)]
    trusted = {"certificate-authority": str(authority)} if authority else {}
    clusters = [{"server": server} | trusted for server in servers]
    contexts = [{"cluster": name, "user": "user"} for name in names]
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "users": [{"name": "user", "user": user}],
        "clusters": [{"name": n, "cluster": c} for n, c in zip(names, clusters, strict=True)],
        "contexts": [{"name": n, "context": c} for n, c in zip(names, contexts, strict=True)],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


def authority(api: KubernetesApi) -> Path:
    return api.home / "certs" / "apiserver.crt"


def refused(path: Path) -> ProvisionError:
    """What attaching to the contexts ``one`` and ``two`` says."""
    spec = MeshSpec(TOPOLOGY, (ClusterSpec("east", "network1"), ClusterSpec("west", "network2")))
    located = with_contexts(spec, {"east": "one", "west": "two"}, str(path))
    request = ProvisionRequest(located, "run1", Timeouts(kube_request=5))
    with pytest.raises(ProvisionError) as caught, AttachProvider().provide(request, Progress()):
        pass
    return caught.value


def closed() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{free.getsockname()[1]}"


def test_every_cluster_that_does_not_answer_is_named_with_the_command_to_try(
    tmp_path: Path,
) -> None:
    path = kubeconfig(tmp_path, [closed(), closed()], {"token": "t"})

    error = refused(path)

    assert error.thing == 'cluster "east" (context "one"); cluster "west" (context "two")'
    assert "Connection refused" in error.detail
    command = f"kubectl --kubeconfig={path} --context=one -n istio-system get deployments"
    assert command in error.advice


def test_a_cluster_without_istio_says_so(api: KubernetesApi, tmp_path: Path) -> None:
    error = refused(kubeconfig(tmp_path, [api.url] * 2, {"token": TOKEN}, authority(api)))

    assert "no istiod runs in namespace" in str(error)


@pytest.mark.parametrize("user", [{}, {"token": "nonsense"}], ids=["none", "refused"])
def test_credentials_that_are_missing_or_refused_are_told_apart_from_a_silent_cluster(
    api: KubernetesApi, tmp_path: Path, user: dict[str, str]
) -> None:
    error = refused(kubeconfig(tmp_path, [api.url] * 2, user, authority(api)))

    assert "missing or refused" in error.advice


def test_an_account_without_permissions_is_told_what_it_needs(
    api: KubernetesApi, tmp_path: Path
) -> None:
    user = {"token": account(api, "nobody", [])}

    error = refused(kubeconfig(tmp_path, [api.url] * 2, user, authority(api)))

    assert "leave to read" in error.advice
    assert 'cannot list resource "deployments"' in error.detail


def test_an_account_that_may_read_only_deployments_is_enough_to_be_adopted(
    api: KubernetesApi, tmp_path: Path
) -> None:
    reader = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]}
    user = {"token": account(api, "reader", [reader])}
    path = kubeconfig(tmp_path, [api.url], user, authority(api))

    with closing(Kube("east", str(path), "one")) as kube:
        found = look(kube, "istio-system")

    assert found.kubernetes.startswith("v1.")
    assert (found.network, found.mesh_id, found.local_image) == ("", "", "")


@pytest.mark.parametrize("labels", [{LAB_LABEL: "true"}, {"a": "b"}])
def test_a_lab_is_known_by_its_nodes_labels_and_has_its_own_image(
    api: KubernetesApi, labels: dict[str, str]
) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one", "labels": labels}}
    with closing(api.kube()) as kube:
        kube.delete("Node", "one")
        kube.create(node)
        found = look(kube, "istio-system")
        kube.delete("Node", "one")

    assert found.local_image == (PYTHON if LAB_LABEL in labels else "")


def account(api: KubernetesApi, name: str, rules: list[dict[str, Any]]) -> str:
    """The token of a new service account that may do that, everywhere."""
    group, where = "rbac.authorization.k8s.io", {"name": name, "namespace": "default"}
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    binding = role | {
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", **where}],
    }
    with closing(api.kube()) as kube:
        kube.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": where},
            role | {"rules": rules},
            binding,
        )
    kubectl = [str(programs() / "kubectl"), f"--kubeconfig={api.kubeconfig}", "-n", "default"]
    command = [*kubectl, "create", "token", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_kept_namespaces_are_marked_and_never_swept(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(lease.HEARTBEAT_VARIABLE, "1")
    one = MeshSpec(TOPOLOGY, (ClusterSpec(api.name, "network1"),))
    spec = with_contexts(one, {api.name: api.name}, str(api.kubeconfig))
    mesh, said = Mesh(spec, "cafe0123", "attach", "image"), list[str]()
    with closing(api.kube()) as kube:
        names = ["istio-mc-cafe0123", "istio-mc-cafe0123-more"]
        kube.apply(*(manifests.namespace(name, "cafe0123", {}, {}) for name in names))

        release_kept(mesh, {api.name: kube}, Progress(said.append))
        time.sleep(2.1)
        sweep_dead_runs(mesh, {api.name: kube}, Progress(said.append))

        kubectl = f"kubectl --kubeconfig={api.kubeconfig} --context={api.name}"
        assert f"{kubectl} delete namespace {' '.join(names)}" in said[-1]
        assert cli.main(["sweep", f"--kubeconfig={api.kubeconfig}"]) == cli.GOOD
        assert (
            f"left alone: namespace {names[0]} of run cafe0123 was kept" in capsys.readouterr().out
        )
        assert not any(_is_going(kube.read("Namespace", name)) for name in names)


def _is_going(namespace: dict[str, Any] | None) -> bool:
    return namespace is None or "deletionTimestamp" in namespace["metadata"]
