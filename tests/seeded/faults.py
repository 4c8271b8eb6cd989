"""Seeded faults: real mistakes in real meshes, with their root causes.

- A fault changes a healthy mesh; the remedy that the certificate prints heals it.
- The names are those of the findings (``Finding.fault``). They never change: users search for them.
- A docstring says what is wrong. What follows its "Seen:" was seen with Istio 1.31, against what
  Istio's documentation or older releases lead one to expect.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.seeded.mesh import SeededMesh

Seed = Callable[[SeededMesh], None]
COMMON = "multi-network-multi-primary"
"""The topology of the faults that most others can have, too."""


@dataclass(frozen=True)
class SeededFault:
    """A fault: how to seed it, what its root cause must name.

    - ``name`` is stable; ``check`` and ``clusters`` are those of the root cause.
    - ``heal`` does what no command to a cluster can; the remedy then says what that is.
    - ``recorded``: its snapshot is kept for the tests that need no mesh.
    - ``starts``: pods with sidecars still start everywhere, so it makes sense to wait for them.
    """

    name: str
    check: str
    clusters: tuple[str, ...]
    seed: Seed
    topology: str = COMMON
    heal: Seed | None = None
    recorded: bool = True
    starts: bool = True

    @property
    def id(self) -> str:
        """The name of its test and of its recorded snapshot."""
        return self.name if self.topology == COMMON else f"{self.topology}-{self.name}"

    @property
    def group(self) -> str:
        """The broken part of the mesh: ``trust``, ``rs`` (remote secrets), ``ew`` (gateways)…"""
        return self.name.partition("-")[0]


_KNOWN: dict[str, SeededFault] = {}


def fault(
    name: str,
    *,
    check: str,
    clusters: tuple[str, ...],
    topology: str = COMMON,
    heal: Seed | None = None,
    recorded: bool | None = None,
    starts: bool = True,
) -> Callable[[Seed], Seed]:
    """Register a seed; those of the common topology are recorded by default."""
    kept = topology == COMMON if recorded is None else recorded

    def register(seed: Seed) -> Seed:
        made = SeededFault(name, check, clusters, seed, topology, heal, kept, starts)
        assert made.id not in _KNOWN, f"{made.id} is there twice"
        _KNOWN[made.id] = made
        return seed

    return register


def known() -> dict[str, SeededFault]:
    """Every seeded fault by id, those of one topology together."""
    for module in ("multi_network", "remotes", "flat", "regions", "external", "federated"):
        importlib.import_module(f"{__package__}.{module}")
    return dict(_KNOWN)
