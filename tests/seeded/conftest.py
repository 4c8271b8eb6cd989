"""The mesh that the tests of one topology share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pytest_istio_mc.lab.binaries import toolchain
from tests.seeded.mesh import SeededMesh


@pytest.fixture(scope="session")
def mesh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SeededMesh]:
    """One lab mesh for all faults of a topology.

    A test that does not see it healed makes it anew.
    """
    if toolchain.cached() is None or os.geteuid() != 0:
        pytest.skip("a lab needs root and the toolchain: istio-mc lab build")
    topology: str = request.param
    seeded = SeededMesh(f"faults-{os.getpid()}", tmp_path_factory.mktemp("faults"), topology)
    try:
        seeded.build()
        yield seeded
    finally:
        seeded.remove()
