"""The agent as it runs in a pod, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_istio_mc.certificates import Authority, make_intermediate, make_leaf, make_root
from pytest_istio_mc.probes.agent import program
from pytest_istio_mc.probes.sessions import Session
from tests.probes.loopback import LocalExec

IDENTITY = {
    "ISTIO_MC_CLUSTER": "east",
    "ISTIO_MC_NAMESPACE": "istio-mc-test",
    "ISTIO_MC_POD": "helloworld-v1-abc",
    "ISTIO_MC_VERSION": "v1",
    "ISTIO_MC_ROLE": "server",
}
KEY = "key-of-this-run"
CLIENT_ID = "spiffe://cluster.local/ns/istio-mc-test/sa/client"
SERVER_ID = "spiffe://cluster.local/ns/istio-mc-test/sa/helloworld"


@dataclass(frozen=True)
class Agent:
    """How a pod starts the agent, and its container's environment."""

    command: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True)
class Authorities:
    """A mesh's root and intermediate, and a client's certificate in the sidecar's folder."""

    root: Authority
    intermediate: Authority
    mesh_certificate: Path


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    """A mesh's certificates."""
    root = make_root("mesh root")
    intermediate = make_intermediate(root, "mesh intermediate")
    home = tmp_path_factory.mktemp("istio-output-certs")
    client = make_leaf(intermediate, spiffe_id=CLIENT_ID)
    (home / "cert-chain.pem").write_text(client.chain)
    (home / "key.pem").write_text(client.key)
    (home / "root-cert.pem").write_text(root.certificate)
    return Authorities(root, intermediate, home)


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory, authorities: Authorities) -> Agent:
    """The one file of the probe, in a folder as the ConfigMap mounts it.

    Nothing of this environment helps it.
    """
    home = tmp_path_factory.mktemp("agent")
    (home / program.NAME).write_text(program.program())
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(home), **IDENTITY}
    environment["ISTIO_MC_KEY"] = KEY
    environment["ISTIO_MC_MESH_CERTIFICATE"] = str(authorities.mesh_certificate)
    return Agent((sys.executable, "-S", "-B", str(home / program.NAME)), environment)


@pytest.fixture(scope="session")
def server(agent: Agent) -> Iterator[dict[str, int]]:
    """A serving agent: its ports by protocol."""
    command = [*agent.command, "serve", "0=http", "0=tcp", "0=http2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, env=agent.environment) as process:
        assert process.stdout is not None
        ports = {}
        for _ in range(3):
            port, _, protocol = process.stdout.readline().split()[1].partition("=")
            ports[protocol] = int(port)
        yield ports
        process.kill()


@pytest.fixture
def opened() -> list[LocalExec]:
    """The execs that were opened, in order."""
    return []


@pytest.fixture
def session(agent: Agent) -> Iterator[Session]:
    """A session with an agent of its own."""
    command = [*agent.command, "session"]
    session = Session("pod client", lambda: LocalExec(command, agent.environment))
    yield session
    session.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
