"""What the tests on real labs share: one mesh for the whole session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.lab.lab import Lab
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers.lab import bring_up
from pytest_istio_mc.topologies import known
from tests.host_state import HostState

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # `make test &` or nohup: the tests of Ctrl-C, and the processes that they start, need it to mean something again
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class LabMesh:
    """A running lab with a mesh, the spec file to attach with, and what the host's network was before."""

    lab: Lab
    mesh: Mesh
    spec_file: Path
    host_before: HostState


def require_toolchain() -> toolchain.Toolchain:
    """The built toolchain; a test that needs it fails where it is missing, so that nothing passes unseen."""
    built = toolchain.cached()
    if built is None:
        pytest.fail(
            "the lab's binaries are not built: run `istio-mc lab build` (make test does), or deselect with -m 'not lab'"
        )
    return built


@pytest.fixture(scope="session")
def lab_mesh(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LabMesh]:
    """A real mesh of two clusters on two networks, shared by all tests of the session."""
    require_toolchain()
    reporter: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)

    host_before = HostState.now()
    spec = known()["multi-network-multi-primary"].default_spec()
    with bring_up(spec, f"tests-{os.getpid()}", Timeouts(), Progress(tell)) as (lab, mesh):
        spec_file = tmp_path_factory.mktemp("mesh") / "mesh-spec.yaml"
        spec_file.write_text(yaml.safe_dump(mesh.spec.to_dict()))
        yield LabMesh(lab, mesh, spec_file, host_before)
