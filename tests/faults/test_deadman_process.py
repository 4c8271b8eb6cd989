"""The dead man's process: what it says it can do, and how long it goes on trying."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc import certificates, scratch
from pytest_istio_mc.errors import NotBroken
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.faults import deadman
from pytest_istio_mc.faults.deadman import absolute, environment_of, undone
from pytest_istio_mc.faults.journal import journals
from pytest_istio_mc.faults.steps import Merge, Restore
from pytest_istio_mc.faults.undo import to_list
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs

SYSTEM, RUN = "istio-system", "cafe0123"
ONE, TWO = {"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}
STEP = Merge("east", "Deployment", "echo", "ns", ONE, TWO, ())
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "istio-remote-secret-west",
        "namespace": SYSTEM,
        "labels": {"istio/multiCluster": "true"},
    },
    "data": {"west": "c2VjcmV0"},
}


def refused_kubeconfig(**user: Any) -> dict[str, Any]:
    """A kubeconfig with a cluster that refuses connections."""
    named = {"name": "east"}
    return {
        "clusters": [{**named, "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{**named, "user": user or {"token": "x"}}],
        "contexts": [{**named, "context": {"cluster": "east", "user": "east"}}],
        "current-context": "east",
    }


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig with a cluster that refuses connections."""
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(refused_kubeconfig()))
    return path


def document(kubeconfig: Path, *, disposable: bool = False, **more: Any) -> dict[str, Any]:
    work = {"cluster": "east", "undo": to_list([STEP]), "journal": None}
    return {
        "run_id": RUN,
        "kubeconfig": str(kubeconfig),
        "disposable": disposable,
        "contexts": {"east": "east"},
        "works": [work],
        "for_seconds": 60,
        **more,
    }


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the process with a document; its temporary files are in ``tmp_path``."""
    started: list[subprocess.Popen[bytes]] = []

    def start(told: dict[str, Any], answer: bytes = b"ready ") -> subprocess.Popen[bytes]:
        keeper = subprocess.Popen(
            [sys.executable, "-m", deadman.PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(os.environ, TMPDIR=str(tmp_path)),
        )
        started.append(keeper)
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.write(json.dumps(told).encode() + b"\n")
        keeper.stdin.flush()
        line = keeper.stdout.readline()
        assert line.startswith(answer), line
        return keeper

    yield start
    for keeper in started:
        keeper.kill()
        keeper.wait()


def end_input(keeper: subprocess.Popen[bytes]) -> None:
    """As when its maker is gone."""
    assert keeper.stdin is not None
    keeper.stdin.close()


@pytest.mark.parametrize("disposable", [True, False])
def test_it_gives_up_clusters_that_ended_with_the_run_and_no_others(
    kubeconfig: Path, disposable: bool, start: Start
) -> None:
    keeper = start(document(kubeconfig, disposable=disposable))
    end_input(keeper)
    with pytest.raises(subprocess.TimeoutExpired):
        keeper.wait(4)

    kubeconfig.unlink()

    if disposable:
        assert keeper.wait(30) == deadman.NOT_UNDONE
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            keeper.wait(4)


def test_what_it_could_not_do_is_in_its_log_and_its_other_files_are_gone(
    kubeconfig: Path, start: Start, tmp_path: Path
) -> None:
    keeper = start(document(kubeconfig, disposable=True))
    end_input(keeper)
    time.sleep(1)
    kubeconfig.unlink()

    assert keeper.wait(30) == deadman.NOT_UNDONE

    (log,) = tmp_path.iterdir()
    assert log.name.startswith(f"istio-mc-undo-{RUN}-")
    assert log.stat().st_mode & 0o777 == 0o600
    assert 'cluster "east"' in log.read_text()


@pytest.mark.parametrize("end", [b"done\n", b""], ids=["dismissed", "never told"])
def test_one_that_has_nothing_to_do_leaves_nothing(
    kubeconfig: Path, start: Start, tmp_path: Path, end: bytes
) -> None:
    keeper = start(document(kubeconfig, works=[]))
    assert keeper.stdin is not None
    keeper.stdin.write(end)
    keeper.stdin.close()

    assert keeper.wait(30) == (0 if end else deadman.UNDONE)

    assert [entry.name for entry in tmp_path.iterdir()] == ["kubeconfig.yaml"]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "dismissed"])
def test_no_key_is_in_a_file_and_what_else_is_there_is_gone_or_swept(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    authority = certificates.make_root("Test")
    pair = {"client-certificate-data": authority.certificate, "client-key-data": authority.key}
    data = {name: base64.b64encode(pem.encode()).decode() for name, pem in pair.items()}
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(refused_kubeconfig(**data)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    journal = {"namespace": SYSTEM, "name": "one", "uid": "1", "resource_version": "1"}
    work = {"cluster": "east", "undo": to_list([STEP]), "journal": journal}

    keeper = start(document(path, works=[work]), b"problem ")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in files if b"PRIVATE KEY" in file.read_bytes()]
    if killed:
        keeper.kill()
        keeper.wait()
        for folder in scratch.left_behind():
            shutil.rmtree(folder)
    else:
        keeper.communicate(b"done\n")

    assert [entry.name for entry in tmp_path.iterdir()] == ["kubeconfig.yaml"]


def test_an_exec_plugin_gets_nothing_of_the_lifeline(start: Start, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\ncat > {tmp_path}/read\nexit 1\n")
    plugin.chmod(0o755)
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(refused_kubeconfig(exec=command)))
    journal = {"namespace": SYSTEM, "name": "one", "uid": "1", "resource_version": "1"}
    work = {"cluster": "east", "undo": to_list([STEP]), "journal": journal}

    start(document(path, works=[work]), b"problem ")

    assert (tmp_path / "read").read_bytes() == b""


def test_it_does_not_get_what_a_ci_runner_knows_its_jobs_by() -> None:
    kept = {
        "PATH": "/bin",
        "HOME": "/root",
        "AWS_PROFILE": "prod",
        "HTTPS_PROXY": "http://proxy",
        "no_proxy": "localhost",
        "SSL_CERT_FILE": "/ca",
        "GOOGLE_APPLICATION_CREDENTIALS": "/key",
    }
    marks = ("RUNNER_TRACKING_ID", "BUILD_ID", "JENKINS_NODE_COOKIE", "CI_JOB_ID", "DRONE_STEP_ID")

    assert environment_of({**kept, **dict.fromkeys(marks, "x"), "PYTHONSTARTUP": "y"}) == kept


def test_every_path_of_a_kubeconfig_list_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    both = os.pathsep.join([f"{tmp_path}/a.yaml", f"{tmp_path}/sub/b.yaml"])
    assert absolute(os.pathsep.join(["a.yaml", "", "sub/b.yaml"])) == both
    assert environment_of({"KUBECONFIG": "a.yaml"}) == {"KUBECONFIG": f"{tmp_path}/a.yaml"}
    assert absolute("") == ""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """An API server with istiod's namespace."""
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api"), "east") as api:
        api.kube().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        yield api


@pytest.fixture
def kube(api: KubernetesApi) -> Iterator[Kube]:
    """A connection, and a remote secret."""
    kube = api.kube()
    kube.apply(SECRET)
    yield kube
    kube.close()


def mesh_of(kubeconfig: str, *names: str) -> Mesh:
    clusters = tuple(
        ClusterSpec(name, "network1", context="east" if name == "east" else "gone")
        for name in names
    )
    return Mesh(MeshSpec("test", clusters, kubeconfig=kubeconfig), RUN, "attach", "python")


def secret(kube: Kube) -> dict[str, Any] | None:
    return kube.read("Secret", SECRET["metadata"]["name"], SYSTEM)  # type: ignore[index]


@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_relative_kubeconfig_is_found_by_the_process_too(
    way: str, api: KubernetesApi, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(api.home)
    monkeypatch.setenv("KUBECONFIG", "nowhere:kubeconfig")
    mesh = mesh_of("kubeconfig" if way == "option" else "", "east")
    with pytest.raises(KeyboardInterrupt), undone(mesh, {"east": kube}, [], 60.0) as undoing:
        undoing.add(Restore("east", SECRET))
        kube.delete("Secret", "istio-remote-secret-west", SYSTEM)
        monkeypatch.chdir("/")
        monkeypatch.setattr(undoing, "finish", _interrupted)
        raise KeyboardInterrupt

    what = "the other process brings the secret back"
    eventually(lambda: secret(kube), bool, within_seconds=30, what=what)
    what = "and removes its journal"
    eventually(
        lambda: list(journals(kube, SYSTEM)), lambda found: not found, within_seconds=30, what=what
    )


def _interrupted() -> None:
    raise KeyboardInterrupt


def test_nothing_is_broken_before_the_process_has_reached_the_clusters(
    api: KubernetesApi, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pytest_istio_mc.faults.deadman.environment_of",
        lambda environment: {**environment_of(environment), "HTTPS_PROXY": "http://127.0.0.1:1"},
    )
    mesh = mesh_of("/nowhere/kubeconfig", "east")

    with (
        pytest.raises(NotBroken, match=r"(?s)cannot undo it.*nothing was changed"),
        undone(mesh, {"east": kube}, [Restore("east", SECRET)], 60.0),
    ):
        pytest.fail("broken")

    assert list(journals(kube, SYSTEM)) == []


def test_one_lost_api_server_does_not_keep_the_others_from_being_restored(
    api: KubernetesApi, kube: Kube, tmp_path: Path, start: Start
) -> None:
    both = yaml.safe_load(api.kubeconfig.read_text())
    lost = refused_kubeconfig()
    for key in ("clusters", "users", "contexts"):
        both[key] += [{**one, "name": "lost"} for one in lost[key]]
    both["contexts"][-1]["context"] = {"cluster": "lost", "user": "lost"}
    path = tmp_path / "both"
    path.write_text(yaml.safe_dump(both))
    kube.delete("Secret", "istio-remote-secret-west", SYSTEM)
    works = [
        {"cluster": "lost", "undo": to_list([Restore("lost", SECRET)]), "journal": None},
        {"cluster": "east", "undo": to_list([Restore("east", SECRET)]), "journal": None},
    ]
    contexts = {"lost": "lost", "east": "east"}

    keeper = start(document(path, works=works, contexts=contexts))
    end_input(keeper)

    eventually(lambda: secret(kube), bool, within_seconds=30, what="the secret is back")
    assert keeper.poll() is None
