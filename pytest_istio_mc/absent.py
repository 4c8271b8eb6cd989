"""Absent: our fixtures where no mesh is certified; tests that use them say what is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

MISSING = "needs a mesh: give --mesh-topology=NAME, or --mesh-replay=DIR"


def _absent(name: str, told: str) -> Callable[[], None]:
    def skip() -> None:
        pytest.skip(MISSING)

    skip.__doc__ = told
    made: Callable[[], None] = pytest.fixture(scope="session", name=name)(skip)
    return made


# what `pytest --fixtures` tells; the real ones, which need imports, say it in the same words
mesh_topology = _absent(
    "mesh_topology",
    "The name of the topology that the mesh under certification has.",
)
mesh_run = _absent("mesh_run", "The certification that this test is part of.")
mesh_under_test = _absent(
    "mesh_under_test",
    "The mesh under certification: its spec, its clusters' contexts, its probes.",
)
mesh_snapshot = _absent(
    "mesh_snapshot",
    "Everything that the static checks read, recorded once before the first test.",
)
mesh_timeouts = _absent(
    "mesh_timeouts",
    "Every wait in one place, scaled by ``--mesh-timeout-factor``.",
)
mesh_kubes = _absent(
    "mesh_kubes",
    "A connection to the Kubernetes API of each cluster, by cluster name.",
)
mesh_traffic = _absent(
    "mesh_traffic",
    "Send from the client pod of each cluster; every request comes back as an observation.",
)
mesh_gateways = _absent(
    "mesh_gateways",
    "The addresses of the east-west gateways of all networks, as their Services have them.",
)
mesh_namespace = _absent(
    "mesh_namespace",
    "Make a namespace in every cluster, named after its purpose; removed after the test.",
)
mesh_faults = _absent(
    "mesh_faults",
    "What can be broken in this mesh, as contexts that heal and prove it.",
)
mesh_expect = _absent(
    "mesh_expect",
    "Turn a verdict into the outcome of this test, and record it for the certificate.",
)
