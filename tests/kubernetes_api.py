"""A real kube-apiserver with its etcd on loopback, for tests.

Needs no root.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab.binaries import toolchain

TOKEN = "administrator-of-the-test"


def programs() -> Path:
    """The folder with the lab's programs; without them, the test is skipped."""
    tools = toolchain.cached()
    if tools is None:
        pytest.skip("the toolchain is not built: istio-mc lab build")
    return tools.bin


@dataclass(frozen=True)
class KubernetesApi:
    """A running apiserver, with its process for tests that break it."""

    name: str
    home: Path
    url: str
    process: subprocess.Popen[bytes]

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with one context, named as the apiserver."""
        return self.home / "kubeconfig"

    def kube(self, *, request_timeout_seconds: float = 30.0) -> Kube:
        """A client of its own."""
        place = (self.name, str(self.kubeconfig), self.name)
        return Kube(*place, request_timeout_seconds=request_timeout_seconds)


@contextmanager
def kubernetes_api(programs: Path, home: Path, name: str = "cluster1") -> Iterator[KubernetesApi]:
    """Start etcd and a kube-apiserver; both are gone at the end."""
    home.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (home / "service-account.key").write_bytes(key)
    (home / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
    client, peer, port = _free_port(), _free_port(), _free_port()
    api_arguments = [
        f"--etcd-servers=http://127.0.0.1:{client}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={home}/certs",
        f"--token-auth-file={home}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={home}/service-account.key",
        f"--service-account-signing-key-file={home}/service-account.key",
        "--disable-admission-plugins=ServiceAccount",
    ]
    etcd_arguments = [
        f"--data-dir={home}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    ]
    with ExitStack() as stack:
        stack.enter_context(_process([str(programs / "etcd"), *etcd_arguments], home / "etcd.log"))
        api = stack.enter_context(
            _process([str(programs / "kube-apiserver"), *api_arguments], home / "apiserver.log")
        )
        made = KubernetesApi(name, home, f"https://127.0.0.1:{port}", api)
        eventually(
            lambda: (home / "certs/apiserver.crt").exists() or api.poll() is not None,
            bool,
            within_seconds=20,
            what="the apiserver writes its certificate",
        )
        made.kubeconfig.write_text(json.dumps(_kubeconfig(made)))
        eventually(lambda: _ready(made), bool, within_seconds=30, what="the apiserver is ready")
        yield made


def _ready(api: KubernetesApi) -> bool:
    if api.process.poll() is not None:
        raise RuntimeError((api.home / "apiserver.log").read_text()[-2000:])
    kube = api.kube()
    try:
        # The apiserver makes namespaces and roles of a new cluster a moment after it listens.
        return kube.get_path("/readyz") == "ok" and kube.read("Namespace", "default") is not None
    except KubeError:
        return False
    finally:
        kube.close()


def _kubeconfig(api: KubernetesApi) -> dict[str, object]:
    ca = str(api.home / "certs/apiserver.crt")
    cluster = {"server": api.url, "certificate-authority": ca}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": api.name,
        "clusters": [{"name": api.name, "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": api.name, "context": {"cluster": api.name, "user": "admin"}}],
    }


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
