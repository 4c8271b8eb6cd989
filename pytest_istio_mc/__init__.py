"""Certify Istio multi-cluster meshes with pytest. The names here are public and stay."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks.catalogue import Check as Check
    from .checks.catalogue import Kind as Kind
    from .checks.catalogue import Profile as Profile
    from .checks.catalogue import check as check
    from .checks.site import Here as Here
    from .checks.site import Site as Site
    from .mesh import Mesh as Mesh
    from .providers import Provider as Provider
    from .providers import ProvisionRequest as ProvisionRequest
    from .session.tests import checks_of as checks_of
    from .snapshot import Snapshot as Snapshot
    from .spec import ClusterSpec as ClusterSpec
    from .spec import Feature as Feature
    from .spec import MeshSpec as MeshSpec
    from .topologies import Topology as Topology
    from .verdicts import Evidence as Evidence
    from .verdicts import Finding as Finding
    from .verdicts import Verdict as Verdict
    from .verdicts import conformant as conformant
    from .verdicts import inconclusive as inconclusive
    from .verdicts import judged as judged
    from .verdicts import non_conformant as non_conformant
    from .verdicts import not_applicable as not_applicable

_HOMES = {
    "checks.catalogue": ("Check", "Kind", "Profile", "check"),
    "checks.site": ("Here", "Site"),
    "mesh": ("Mesh",),
    "providers": ("Provider", "ProvisionRequest"),
    "session.tests": ("checks_of",),
    "snapshot": ("Snapshot",),
    "spec": ("ClusterSpec", "Feature", "MeshSpec"),
    "topologies": ("Topology",),
    "verdicts": (
        "Evidence",
        "Finding",
        "Verdict",
        "conformant",
        "inconclusive",
        "judged",
        "non_conformant",
        "not_applicable",
    ),
}
"""Which module each name comes from; imported when asked for, since every pytest imports this."""

__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
