"""Facts of discovery: changes of endpoints, headless services, services elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from ...observations import Request
from ...timelines import Timeline


@dataclass(frozen=True)
class Elsewhere:
    """A request from ``source`` for a service that exists in ``target`` only.

    - ``addresses`` are what its name resolves to for the client.
    - Without any, the request went to another service's address under the name: the sidecar looks
      at nothing else.
    """

    source: str
    target: str
    host: str
    addresses: tuple[str, ...]
    request: Request

    @property
    def answered_there(self) -> bool:
        """Whether the only cluster with the service answered."""
        answer = self.request.answer
        return self.request.succeeded and answer is not None and answer.cluster == self.target


@dataclass(frozen=True)
class HeadlessCall:
    """Requests from ``source`` under a headless service's name to the address of one pod."""

    source: str
    target: str
    pod: str
    address: str
    http: Request
    tcp: Request


@dataclass(frozen=True)
class HeadlessName:
    """A headless service's name for the client in ``source``: its addresses, and calls under it.

    ``captured``: the client's sidecar answers DNS queries with what its control plane knows; else
    the cluster's DNS does.
    """

    source: str
    host: str
    addresses: tuple[str, ...]
    captured: bool
    calls: tuple[HeadlessCall, ...]


@dataclass(frozen=True)
class EndpointChange:
    """When the EndpointSlices of ``target`` had endpoints for ``host``, or had none any more."""

    target: str
    host: str
    when: float


@dataclass(frozen=True)
class Unready:
    """What was not ready at the start, and what was seen instead.

    - ``source`` had no answer from ``target``, or did not know the service of ``target``.
    - No ``target``: all answered, and other requests failed.
    """

    source: str
    target: str
    seen: str


@dataclass(frozen=True)
class EndpointChanges:
    """Endpoints that came or went, and what clients everywhere saw of it.

    - Each endpoint is the only one of its cluster for its host.
    - ``enough`` is how many requests in a row settle it.
    - ``idle`` are pairs (source, target) whose target answers nobody while nearer instances do.
    """

    timeline: Timeline
    changes: tuple[EndpointChange, ...]
    enough: int
    idle: frozenset[tuple[str, str]] = frozenset()
    unready: tuple[Unready, ...] = ()
