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
    "trust.static",
    "trust.cacerts",
    "trust.expiry",
    "trust.live",
    "access.static",
    "access.remote_secrets",
    "access.synced",
    "control_plane.static",
    "control_plane.proxies",
    "control_plane.remote_clusters",
    "control_plane.external",
    "control_plane.sameness",
    "control_plane.versions",
    "control_plane.live",
    "discovery.static",
    "discovery.reach",
    "discovery.elsewhere",
    "discovery.changes",
    "discovery.headless",
    "eastwest.static",
    "eastwest.exposure",
    "eastwest.live",
    "eastwest.fault",
    "cluster_local.live",
    "subsets.live",
    "locality.static",
    "locality.live",
    "locality.shares",
    "federation.static",
    "federation.live",
    "apiserver.fault",
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
    _REGISTERED[id] = Check(
        id, title, kind, spec_url, profile, requires, explained_by, exclusive, probed, needs
    )

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


BELOW_TRAFFIC = (
    "MC-TRUST-001",
    "MC-TRUST-002",
    "MC-TRUST-003",
    "MC-TRUST-004",
    "MC-TRUST-005",
    "MC-TRUST-006",
    "MC-TRUST-007",
)


BELOW_REACH = (
    *BELOW_TRAFFIC,
    "MC-TRUST-008",
    *(f"MC-ACCESS-{number:03}" for number in range(1, 9)),
    *(f"MC-CONTROL-{number:03}" for number in range(2, 8)),
    *(f"MC-DISCOVERY-{number:03}" for number in range(1, 4)),
    "MC-EASTWEST-001",
    "MC-EASTWEST-002",
    "MC-EASTWEST-003",
    "MC-EASTWEST-004",
    "MC-EASTWEST-007",
)
"""The checks that explain why instances of another cluster are not reached."""


BELOW_ROUTES = (*BELOW_REACH, "MC-CONTROL-001", "MC-CONTROL-008", "MC-CONTROL-009")
"""What keeps requests from reaching the instances of other clusters at all, whatever routes say."""
