"""Hooks: the points where another package extends this one.

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

    Optional members of a provider:

    - ``disposable = True``: its clusters end with the run.
    - ``on_this_machine = True``: its clusters share the machine that runs the tests.
    - ``record(mesh, progress) -> Snapshot``: its mesh is recorded. Then no probes are deployed, and
      nothing is collected from the clusters.
    """


@pytest.hookspec()
def pytest_mesh_topologies(config: pytest.Config) -> Mapping[str, Topology]:  # type: ignore[empty-body]
    """Return topologies by the name that ``--mesh-topology`` takes.

    One file makes one: ``Topology(name=…, summary=…, documentation=…, clusters=…, problems=…,
    build=…)`` of :mod:`pytest_istio_mc.topologies`.
    """
