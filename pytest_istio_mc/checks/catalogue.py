"""The catalogue: every known check as a value, registered by the decorator on its judge."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar

from ..errors import ObservationError
from ..rights import Permission, Right, rights_of
from ..spec import Feature
from ..verdicts import Verdict, inconclusive
from .site import Site

Judge = TypeVar("Judge", bound=Callable[..., Verdict])
Observe = Callable[[Site], Any]


@dataclass(frozen=True)
class Area:
    """A family of checks: the name for headings, and what its checks certify."""

    title: str
    summary: str


AREAS = {
    "TRUST": Area(
        "Trust",
        "one root, plugged-in and well-formed CAs, expiry, trust domains, identities; mutual TLS "
        "between all pairs, plaintext and strangers refused",
    ),
    "ACCESS": Area(
        "Remote access",
        "remote secrets: complete, for the right cluster, reachable, accepted, with enough rights; "
        "every istiod replica in sync *now*; none left over",
    ),
    "CONTROL": Area(
        "Control plane",
        "cluster names, networks, injection, proxies in sync with their own istiod, version skew, "
        "equal services, configuration read where it should be",
    ),
    "DISCOVERY": Area(
        "Endpoint discovery",
        "endpoints in every istiod and every probe proxy; each cluster's instances reached from "
        "every cluster, over HTTP, HTTP/2 and TCP; endpoints that come and go while requests go "
        "on; headless services",
    ),
    "EASTWEST": Area(
        "East-west gateways",
        "gateways with address, label, port and passthrough; reached by every network; right "
        "service for each name; nothing opened, nothing else let in",
    ),
    "CLUSTERLOCAL": Area(
        "Cluster-local services",
        "(disruptive, but for what Istio keeps local unasked) services, namespaces and everything "
        "kept within clusters by `serviceSettings`, lifted again, decided by each control plane "
        "for itself",
    ),
    "SUBSET": Area(
        "Subsets across clusters",
        "subsets that pin a cluster, routes by source cluster, versions within clusters, weights "
        "across clusters",
    ),
    "LOCALITY": Area(
        "Locality",
        "proxies know where they and all endpoints are; nearest first, failover in order, return, "
        "failover maps, shares, clusters as localities, and what goes without outlier detection",
    ),
    "APISERVER": Area(
        "API server loss",
        "(disruptive) a cluster's API server refused or hung: traffic, pushes, restarts of istiod "
        "meanwhile, what says so, recovery, isolation",
    ),
    "SERVICE": Area(
        "Services",
        "every service of your own: routes that lead somewhere, pods that are found, mutual TLS "
        "and policies that agree, the same rules in every primary, and who reaches whom",
    ),
    "FEDERATION": Area(
        "Federated meshes",
        "services of separate meshes under their ServiceEntry names with mutual TLS; configuration "
        "not shared; nothing else reachable",
    ),
    "UPGRADE": Area(
        "Upgrades and other changes",
        "(with `--mesh-gate`) requests, streams, injection, endpoints and configuration while a "
        "command of yours changes the mesh",
    ),
}
"""By the middle part of check ids, in the order in which reports list them."""

BELOW_TRAFFIC = tuple(f"MC-TRUST-{number:03}" for number in range(1, 8))
"""Explain why requests fail that reach another cluster."""

BELOW_REACH = (
    *BELOW_TRAFFIC,
    "MC-TRUST-008",
    *(f"MC-ACCESS-{number:03}" for number in range(1, 9)),
    *(f"MC-CONTROL-{number:03}" for number in range(2, 8)),
    *(f"MC-DISCOVERY-{number:03}" for number in range(1, 4)),
    *(f"MC-EASTWEST-{number:03}" for number in (1, 2, 3, 4, 7)),
)
"""Explain why instances of another cluster are not reached."""

BELOW_ROUTES = (*BELOW_REACH, "MC-CONTROL-001", "MC-CONTROL-008", "MC-CONTROL-009")
"""Explain why instances of another cluster are not reached, whatever routes say."""


class Profile(Enum):
    """How much a mesh claims and suffers; each profile includes those before it.

    - Core: every conformant mesh must pass. Nothing is written outside the run's own namespaces.
    - Extended: what a mesh may claim beyond that, just as harmless.
    - Disruptive: what changes mesh-wide settings, remote secrets, gateways or API servers.
    """

    CORE = "core"
    EXTENDED = "extended"
    DISRUPTIVE = "disruptive"

    def includes(self, other: Profile) -> bool:
        """Whether who claims this profile claims the other one."""
        order = tuple(Profile)
        return order.index(other) <= order.index(self)


class Kind(Enum):
    """How a check gets its facts: it reads the snapshot, sends traffic, or breaks something."""

    STATIC = "static"
    LIVE = "live"
    FAULT = "fault"


READ_ONLY = "STATIC"
"""The word of ``--mesh-checks`` for all checks that need no probes."""


@dataclass(frozen=True, repr=False)
class Check:
    """One check: a stable id, one sentence, its judge, and what it needs.

    - ``judge`` takes the snapshot; where the check ``sees`` something, a :class:`Here` and then
      what each of those observers gave.
    - ``explained_by`` names the checks below: where one of them fails for the same clusters, a
      failure of this one is a symptom.
    - ``exclusive``: it changes what the whole mesh depends on, so nothing runs beside it.
    - ``probed``: it judges what probes saw, and is inconclusive where they do not come up.
    - ``effect``: what a disruptive check does to the mesh meanwhile, for those who use it.
    - ``quick``: a disruptive check that a run without a profile claims, where it may disrupt.
    - ``permissions``: what it does to other people's traffic.
    - ``watches``: it judges a change that ``--mesh-gate`` watched, and needs no probes for that.
    - ``needs`` is what the provider must be able to do to clusters (``Mesh.capabilities``).
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
    sees: tuple[Observe, ...] = ()
    effect: str = ""
    quick: bool = False
    permissions: tuple[Permission, ...] = ()
    watches: bool = False
    judge: Callable[..., Verdict] = field(default=lambda *_: _no_judge(), compare=False)

    def __repr__(self) -> str:
        """Its id: a parameter of tests, which must be the same in every run for histories."""
        return self.id

    @property
    def area(self) -> str:
        """The middle part of the id, for ours a key of ``AREAS``."""
        return self.id.split("-")[1]

    @property
    def alone(self) -> bool:
        """Whether no other live check may run at the same time."""
        return self.kind is Kind.FAULT or self.exclusive

    @property
    def reads_only(self) -> bool:
        """Whether it judges what the snapshot holds without any probe."""
        return self.kind is Kind.STATIC and not self.probed

    def among(self, chosen: Collection[str]) -> bool:
        """Whether ids, areas (``MC-TRUST``) or :data:`READ_ONLY` have it; none have all."""
        return not chosen or any(
            self.reads_only if one == READ_ONLY else f"{self.id}-".startswith(f"{one}-")
            for one in chosen
        )

    def rights(self, *, may_disrupt: bool) -> tuple[Right, ...]:
        """What its observers do to clusters, beyond reading what the snapshot reads."""
        declared = (rights_of(observe, may_disrupt=may_disrupt) for observe in self.sees)
        return tuple(dict.fromkeys(right for rights in declared for right in rights))

    @property
    def is_ours(self) -> bool:
        """Whether it comes with this package."""
        return self.judge.__module__.startswith(f"{__package__}.")

    @property
    def test_id(self) -> str:
        """The id of its test: its own and its judge's name, ``MC-LOCALITY-002-local-first``."""
        return f"{self.id}-{self.judge.__name__.strip('_').replace('_', '-')}"


def _no_judge() -> Verdict:
    return inconclusive("the check has no judge")


_ID = re.compile(r"MC-[A-Z]+-\d{3}")
_REGISTERED: dict[str, Check] = {}


def check(
    id: str,
    title: str,
    *,
    spec_url: str,
    sees: Observe | tuple[Observe, ...] = (),
    kind: Kind | None = None,
    profile: Profile | None = None,
    requires: tuple[Feature, ...] = (),
    explained_by: tuple[str, ...] = (),
    exclusive: bool = False,
    probed: bool = False,
    needs: tuple[str, ...] = (),
    effect: str = "",
    quick: bool = False,
    permissions: tuple[Permission, ...] = (),
    watches: bool = False,
) -> Callable[[Judge], Judge]:
    """Register the decorated function as the judge of a check.

    - ``sees``: one observer, or several; without any the check is static and judges the snapshot.
    - ``kind``: live where it sees something, unless it says that it is a fault.
    - ``profile``: core, but disruptive where it breaks something or is exclusive.
    - The verdict gets the check's id; an :class:`ObservationError` makes it inconclusive.
    - ``ValueError`` where the id is none or taken, where the judge does not take what the check
      sees, and where what changes the mesh is to belong to a harmless profile.

    The other arguments are the fields of :class:`Check`.
    """
    observers = sees if isinstance(sees, tuple) else (sees,)
    kind = kind or (Kind.LIVE if observers else Kind.STATIC)
    changes = kind is Kind.FAULT or exclusive or quick or bool(permissions)
    profile = profile or (Profile.DISRUPTIVE if changes else Profile.CORE)

    def register(judge: Judge) -> Judge:
        @functools.wraps(judge)
        def stamped(*args: Any, **kwargs: Any) -> Verdict:
            try:
                verdict = judge(*args, **kwargs)
            except ObservationError as error:
                verdict = inconclusive(str(error))
            return replace(verdict, check=id)

        if not _ID.fullmatch(id):
            raise ValueError(f"check {id}: an id is of the form MC-AREA-001")
        if id in _REGISTERED:
            raise ValueError(f"check {id} is registered twice")
        if changes and profile is not Profile.DISRUPTIVE:
            raise ValueError(f"check {id} changes the mesh: its profile is disruptive")
        _demand_fitting(id, judge, len(observers))
        _REGISTERED[id] = Check(
            id,
            title,
            kind,
            spec_url,
            profile,
            requires,
            explained_by,
            exclusive,
            probed or kind is not Kind.STATIC,
            needs,
            observers,
            effect,
            quick,
            permissions,
            watches,
            stamped,
        )
        return stamped  # type: ignore[return-value]

    return register


def _demand_fitting(id: str, judge: Callable[..., Verdict], observers: int) -> None:
    takes = f"the mesh and {observers} observations" if observers else "the snapshot"
    try:
        inspect.signature(judge).bind(*[None] * (observers + 1))
    except TypeError as error:
        raise ValueError(f"check {id}: its judge is given {takes}: {error}") from error


def known_checks() -> dict[str, Check]:
    """Every known check by id, in report order: areas, ours first, then numbers."""
    _import_ours()
    areas = list(dict.fromkeys([*AREAS, *(found.area for found in _REGISTERED.values())]))
    return dict(
        sorted(_REGISTERED.items(), key=lambda entry: (areas.index(entry[1].area), entry[0]))
    )


def area_title(area: str) -> str:
    """The name of an area for people."""
    return AREAS[area].title if area in AREAS else area.capitalize()


@functools.cache
def _import_ours() -> None:
    package = importlib.import_module(str(__package__))
    for module in pkgutil.walk_packages(package.__path__, f"{__package__}."):
        importlib.import_module(module.name)
