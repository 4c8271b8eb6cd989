"""Facts of federation: requests for imported services."""

from __future__ import annotations

from dataclasses import dataclass

from ...observations import Request


@dataclass(frozen=True)
class Imported:
    """A request from ``source`` for a service of the separate mesh ``target``.

    - ``host`` is the name that a ServiceEntry in ``source`` gives it.
    - ``addresses`` are what that name resolves to for the client; without one none was sent.
    """

    source: str
    target: str
    host: str
    addresses: tuple[str, ...]
    request: Request
