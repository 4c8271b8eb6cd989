"""Facts of discovery: changes of endpoints, headless services, services elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from ...observations import Request
from ...timelines import Timeline


@dataclass(frozen=True)
class Elsewhere:
    """A request from ``source`` for a service that exists in ``target`` only. ``addresses`` are what its name resolves to for the client.

    Where it has none, the request went to another service's address under the name, which is all that the sidecar looks at.
    """

    source: str
    target: str
    host: str
    addresses: tuple[str, ...]
    request: Request


@dataclass(frozen=True)
class HeadlessCall:
    """Requests from ``source`` under the name of a headless service to the address of one of its pods, over HTTP and over TCP."""

    source: str
    target: str
    pod: str
    address: str
    http: Request
    tcp: Request


@dataclass(frozen=True)
class HeadlessName:
    """What the name of a headless service resolves to for the client in ``source``, and which calls were made under it.

    ``captured`` says that the client's sidecar answers DNS queries, with what its control plane knows; else the cluster's DNS does.
    """

    source: str
    host: str
    addresses: tuple[str, ...]
    captured: bool
    calls: tuple[HeadlessCall, ...]


@dataclass(frozen=True)
class EndpointChange:
    """The moment at which the EndpointSlices of ``target`` were seen to have endpoints for ``host``, or to have none any more."""

    target: str
    host: str
    when: float


@dataclass(frozen=True)
class Unready:
    """What was not so before anything was changed, so that nothing was: ``source`` had no answer from ``target``, or did not know the
    service of ``target``; and what was seen instead. No ``target`` means that all answered, and that other requests failed."""

    source: str
    target: str
    seen: str


@dataclass(frozen=True)
class EndpointChanges:
    """Endpoints that came or went, each the only one of its cluster for its host, and what clients everywhere saw of it.

    ``enough`` is how many requests in a row settle it. ``idle`` are pairs (source, target) in which the target answers nobody as long
    as nearer instances do.
    """

    timeline: Timeline
    changes: tuple[EndpointChange, ...]
    enough: int
    idle: frozenset[tuple[str, str]] = frozenset()
    unready: tuple[Unready, ...] = ()
