"""Shared by the tests on real labs: one mesh for the whole session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc import redact
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.lab.lab import Lab
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers.lab import bring_up
from pytest_istio_mc.spec_file import document_of
from pytest_istio_mc.topologies import known
from tests.host_state import HostState

# the pytest runs inside of tests load tests.fake_mesh, from the source archive, too
_ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In `make test &` or under nohup: the tests of Ctrl-C, and their processes, need the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test takes for a secret is none in the next one, in the same process."""
    monkeypatch.setattr(redact, "_known", set())
    monkeypatch.setattr(redact, "_known_pattern", None)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    """No variable of ours, kubeconfig or pytest options from outside these tests."""
    ours = [name for name in os.environ if name.startswith(("ISTIO_MC_", "MESH_", "FAKE_"))]
    for name in (*ours, "PYTEST_ADDOPTS", "KUBECONFIG", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    # where failing runs keep their snapshots
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path_factory.mktemp("cache")))


@dataclass(frozen=True)
class LabMesh:
    """A running lab with a mesh, its spec file, and the host's earlier state."""

    lab: Lab
    mesh: Mesh
    spec_file: Path
    host_before: HostState


def require_toolchain() -> toolchain.Toolchain:
    """The built toolchain; without it the test fails, and nothing passes unseen."""
    built = toolchain.cached()
    if built is None:
        build = "run `istio-mc lab build` (make test does), or deselect with -m 'not lab'"
        pytest.fail(f"the lab's binaries are not built: {build}")
    return built


@pytest.fixture(scope="session")
def lab_mesh(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LabMesh]:
    """A real mesh of two clusters on two networks, for the whole session."""
    require_toolchain()
    plugins = request.config.pluginmanager
    reporter: Any = plugins.get_plugin("terminalreporter")
    capture: Any = plugins.get_plugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)

    host_before = HostState.now()
    topology = known()["multi-network-multi-primary"]
    spec, name = topology.default_spec(), f"tests-{os.getpid()}"
    with bring_up(topology, spec, name, Timeouts(), Progress(tell)) as (lab, mesh):
        spec_file = tmp_path_factory.mktemp("mesh") / "mesh-spec.yaml"
        spec_file.write_text(yaml.safe_dump(document_of(mesh.spec)))
        yield LabMesh(lab, mesh, spec_file, host_before)
