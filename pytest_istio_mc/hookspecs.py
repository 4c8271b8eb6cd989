"""Hooks: every point at which another package can extend this one, in one short file.

Implement them in a ``conftest.py`` or in a plugin of your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .providers import Provider
    from .topologies import Topology


@pytest.hookspec()
def pytest_mesh_providers(config: pytest.Config) -> Mapping[str, Provider]:  # type: ignore[empty-body]
    """Return providers of clusters by the name that ``--mesh-provider`` takes.

    A provider whose mesh is recorded also has ``record(mesh, progress) -> Snapshot``: then no probes are deployed and nothing is
    collected from the clusters.
    """


@pytest.hookspec()
def pytest_mesh_topologies(config: pytest.Config) -> Mapping[str, Topology]:  # type: ignore[empty-body]
    """Return topologies by the name that ``--mesh-topology`` takes."""
