"""Short names of our fixtures, where no other plugin has a fixture of that name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


def free(session: pytest.Session) -> ModuleType:
    """A plugin with the short names that are free when a session starts.

    A fixture of a later plugin would hide an earlier one of the same name: ours must not.
    """
    taken = session._fixturemanager.getfixturedefs
    found = ModuleType("short_names")  # pytest looks for fixtures in modules and classes
    vars(found).update({n: one for n, one in SHORT_NAMES.items() if not taken(n, session)})
    return found


@pytest.fixture(scope="session")
def topology(mesh_topology: Any) -> Any:
    """Short for ``mesh_topology``, where no other plugin has a fixture of this name."""
    return mesh_topology


@pytest.fixture(scope="session")
def mesh(mesh_under_test: Any) -> Any:
    """Short for ``mesh_under_test``, where no other plugin has a fixture of this name."""
    return mesh_under_test


@pytest.fixture(scope="session")
def snapshot(mesh_snapshot: Any) -> Any:
    """Short for ``mesh_snapshot``, where no other plugin has a fixture of this name."""
    return mesh_snapshot


@pytest.fixture(scope="session")
def timeouts(mesh_timeouts: Any) -> Any:
    """Short for ``mesh_timeouts``, where no other plugin has a fixture of this name."""
    return mesh_timeouts


@pytest.fixture(scope="session")
def kubes(mesh_kubes: Any) -> Any:
    """Short for ``mesh_kubes``, where no other plugin has a fixture of this name."""
    return mesh_kubes


@pytest.fixture(scope="session")
def traffic(mesh_traffic: Any) -> Any:
    """Short for ``mesh_traffic``, where no other plugin has a fixture of this name."""
    return mesh_traffic


@pytest.fixture(scope="session")
def gateways(mesh_gateways: Any) -> Any:
    """Short for ``mesh_gateways``, where no other plugin has a fixture of this name."""
    return mesh_gateways


@pytest.fixture(scope="session")
def faults(mesh_faults: Any) -> Any:
    """Short for ``mesh_faults``, where no other plugin has a fixture of this name."""
    return mesh_faults


@pytest.fixture
def own_namespace(mesh_namespace: Any) -> Any:
    """Short for ``mesh_namespace``, where no other plugin has a fixture of this name."""
    return mesh_namespace


@pytest.fixture
def expect(mesh_expect: Any) -> Any:
    """Short for ``mesh_expect``, where no other plugin has a fixture of this name."""
    return mesh_expect


SHORT_NAMES = {
    fixture.__name__: fixture
    for fixture in (
        topology,
        mesh,
        snapshot,
        timeouts,
        kubes,
        traffic,
        gateways,
        faults,
        own_namespace,
        expect,
    )
}
