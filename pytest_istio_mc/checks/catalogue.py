"""The catalogue: every known check as a value, registered by the decorator on the function that judges it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import ParamSpec

from ..errors import ObservationError
from ..spec import Feature
from ..verdicts import Verdict, inconclusive

P = ParamSpec("P")

AREAS = {
    "TRUST": "Trust",
    "ACCESS": "Remote access",
    "CONTROL": "Control plane",
    "DISCOVERY": "Endpoint discovery",
    "EASTWEST": "East-west gateways",
    "CLUSTERLOCAL": "Cluster-local services",
    "SUBSET": "Subsets across clusters",
    "LOCALITY": "Locality",
    "APISERVER": "API server loss",
    "FEDERATION": "Federated meshes",
}
"""Check id prefixes in the order in which reports list them, with the name of the area."""

MODULES = (
    "trust",
    "access",
    "controlplane",
    "discovery",
    "eastwest",
    "locality",
    "federation",
    "trust_live",
    "controlplane_live",
    "discovery_live",
    "eastwest_live",
    "cluster_local_live",
    "subsets_live",
    "locality_live",
    "locality_shares_live",
    "federation_live",
    "eastwest_loss",
    "apiserver_loss",
)
"""The modules whose functions judge checks."""


class Profile(Enum):
    """Core: every conformant mesh must pass. Extended: what a mesh may claim beyond that."""

    CORE = "core"
    EXTENDED = "extended"


class Kind(Enum):
    """How a check gets its facts: from the snapshot, by sending traffic in its own namespaces, or by breaking something."""

    STATIC = "static"
    LIVE = "live"
    FAULT = "fault"


@dataclass(frozen=True)
class Check:
    """One check: a stable id, one English sentence, what it needs, where its demand comes from, and what explains its failure.

    ``exclusive`` is for a live check that changes what the whole mesh depends on: nothing else runs at the same time.
    ``probed`` says that it judges what probe workloads saw, so that it is inconclusive where they do not come up.
    """

    id: str
    title: str
    kind: Kind
    spec_url: str
    profile: Profile = Profile.CORE
    requires: tuple[Feature, ...] = ()
    explained_by: tuple[str, ...] = ()
    exclusive: bool = False
    probed: bool = False
    needs: tuple[str, ...] = ()

    @property
    def area(self) -> str:
        """The middle part of the id, a key of ``AREAS``."""
        return self.id.split("-")[1]

    @property
    def alone(self) -> bool:
        """Whether no other live check may run at the same time: this one breaks something, or changes what all depend on."""
        return self.kind is Kind.FAULT or self.exclusive


_REGISTERED: dict[str, Check] = {}


def check(
    id: str,
    title: str,
    *,
    spec_url: str,
    kind: Kind = Kind.STATIC,
    profile: Profile = Profile.CORE,
    requires: tuple[Feature, ...] = (),
    explained_by: tuple[str, ...] = (),
    exclusive: bool = False,
    probed: bool = False,
    needs: tuple[str, ...] = (),
) -> Callable[[Callable[P, Verdict]], Callable[P, Verdict]]:
    """Register the decorated function as the judge of a check.

    The judge takes observations and returns a verdict; it gets the check's id stamped on. An :class:`ObservationError` raised by it
    becomes an inconclusive verdict. ``explained_by`` names the checks below this one: where one of them fails for the same
    clusters, this failure is a symptom. ``exclusive`` checks run alone, and on clusters that are not the lab's only where the user
    allows that (``--mesh-disruptive``). ``needs`` names what the provider must be able to do to clusters (``Mesh.capabilities``).
    ``probed`` is for static checks; what is live needs probes anyway.
    """
    if id in _REGISTERED:
        raise ValueError(f"check {id} is registered twice")
    probed = probed or kind is not Kind.STATIC
    _REGISTERED[id] = Check(id, title, kind, spec_url, profile, requires, explained_by, exclusive, probed, needs)

    def register(judge: Callable[P, Verdict]) -> Callable[P, Verdict]:
        @functools.wraps(judge)
        def stamped(*args: P.args, **kwargs: P.kwargs) -> Verdict:
            try:
                verdict = judge(*args, **kwargs)
            except ObservationError as error:
                verdict = inconclusive(str(error))
            return replace(verdict, check=id)

        return stamped

    return register


def known_checks() -> dict[str, Check]:
    """Every known check by id, in report order (area, then number)."""
    for module in MODULES:
        importlib.import_module(f"{__package__}.{module}")
    order = {area: place for place, area in enumerate(AREAS)}
    return dict(sorted(_REGISTERED.items(), key=lambda entry: (order[entry[1].area], entry[0])))
