"""The agent as it runs in a pod, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_istio_mc.probes.manifests import agent_files

IDENTITY = {
    "ISTIO_MC_CLUSTER": "east",
    "ISTIO_MC_NAMESPACE": "istio-mc-test",
    "ISTIO_MC_POD": "helloworld-v1-abc",
    "ISTIO_MC_VERSION": "v1",
    "ISTIO_MC_ROLE": "server",
}


@pytest.fixture(scope="session")
def agent_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package ``probe`` as the ConfigMap mounts it."""
    home = tmp_path_factory.mktemp("agent")
    (home / "probe").mkdir()
    for name, text in agent_files().items():
        (home / "probe" / name).write_text(text)
    return home


@pytest.fixture(scope="session")
def agent_command() -> list[str]:
    """How the agent is started in a pod, with this interpreter."""
    return [sys.executable, "-S", "-B", "-m", "probe.agent"]


@pytest.fixture(scope="session")
def agent_environment(agent_home: Path) -> dict[str, str]:
    """The environment of a server's container, and nothing of this process's that could help the agent."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(agent_home), **IDENTITY}


@pytest.fixture(scope="session")
def server(agent_command: list[str], agent_environment: dict[str, str]) -> Iterator[dict[str, int]]:
    """A serving agent: its ports by protocol."""
    process = subprocess.Popen(
        [*agent_command, "serve", "0=http", "0=tcp", "0=http2"], stdout=subprocess.PIPE, text=True, env=agent_environment
    )
    try:
        assert process.stdout is not None
        ports = {}
        for _ in range(3):
            port, _, protocol = process.stdout.readline().split()[1].partition("=")
            ports[protocol] = int(port)
        yield ports
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
