"""Seeded faults: real mistakes that users make with real meshes, each with the check that must be named as their root cause.

A fault changes a healthy mesh; what heals it is the remedy that the certificate prints. The names are those of the findings
(``Finding.fault``); they never change, because users search for them.

What a docstring says was *seen* was seen with Istio 1.31, and is not what its documentation or older releases lead one to expect.
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
    """A fault: its stable name, the topology of its mesh, how to seed it, and the check and clusters that its root cause must name.

    ``heal`` does what no command to a cluster can: the remedy then says what that is. ``recorded`` is whether its snapshot is kept,
    ``starts`` whether pods with sidecars still start everywhere, so that it makes sense to wait for them.
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
        """What tests and recorded snapshots are called."""
        return self.name if self.topology == COMMON else f"{self.topology}-{self.name}"

    @property
    def group(self) -> str:
        """The part of the mesh that is broken: ``trust``, ``rs`` (remote secrets), ``ew`` (east-west gateway), ``cp``…"""
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
    """Register a seed. Where nothing else is said, those of the common topology are recorded."""

    def register(seed: Seed) -> Seed:
        made = SeededFault(
            name,
            check,
            clusters,
            seed,
            topology,
            heal,
            topology == COMMON if recorded is None else recorded,
            starts,
        )
        assert made.id not in _KNOWN, f"{made.id} is there twice"
        _KNOWN[made.id] = made
        return seed

    return register


def known() -> dict[str, SeededFault]:
    """Every seeded fault by id, those of one topology together."""
    for module in ("multi_network", "remotes", "flat", "regions", "external", "federated"):
        importlib.import_module(f"{__package__}.{module}")
    return dict(_KNOWN)
