"""Tracing: going the way of a request hop by hop, over what the snapshot says of it and how requests failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..errors import ObservationError
from ..observations import Request, TlsHandshake
from ..snapshot import Snapshot
from . import symptoms
from .hops import Hop, State, Trace
from .look import Look
from .stations import STATIONS, Examine


def trace(
    snapshot: Snapshot,
    source: str,
    target: str,
    port: int,
    requests: Iterable[Request] = (),
    handshakes: Iterable[TlsHandshake] = (),
    *,
    past_sidecar: bool = False,
) -> Trace:
    """Go the way from ``source``'s client to the probe servers in ``target`` on ``port``, and stop at the first broken hop.

    A hop is broken where the snapshot says so, or where ``requests`` (those of ``source``'s client count) or ``handshakes`` (from
    there to ``target``, past the sidecar) failed in a way that only this hop explains. What could not be read is unknown, and the
    next hop is looked at. ``past_sidecar`` leaves out the hops in the client's own pod.
    """
    look = Look(snapshot, source, target, port, past_sidecar)
    seen = symptoms.symptoms([one for one in requests if one.source == source], list(handshakes), gateway=look.crosses)
    left_out = {*(() if look.crosses else symptoms.BEYOND_GATEWAY), *(symptoms.IN_CLIENT_POD if past_sidecar else ())}
    hops: list[Hop] = []
    for name, examine in STATIONS.items():
        if name in left_out:
            continue
        if any(hop.state is State.BROKEN for hop in hops):
            hops.append(Hop(name, State.NOT_REACHED))
            continue
        hop = _examined(name, examine, look)
        if name in seen and hop.state is not State.BROKEN:
            # what is configured, if it is known, says where to look
            hop = replace(hop, state=State.BROKEN, seen=f"{seen[name]} ({hop.seen})" if hop.state is State.GOOD else seen[name])
        hops.append(hop if hop.state is State.BROKEN else replace(hop, remedy=""))
    return Trace(source, target, port, tuple(hops))


def waits_its_turn(snapshot: Snapshot, source: str, target: str, port: int) -> bool:
    """Whether the client's proxy in ``source`` has healthy endpoints of ``target``, but sends nothing there while others, of a higher
    priority, are healthy (Envoy, "Priority levels"): so locality load balancing and traffic distribution work."""
    look = Look(snapshot, source, target, port)
    try:
        mine = [one.priority for one in look.endpoints if one.health == "HEALTHY"]
        first = min((one.priority for one in look.held if one.health == "HEALTHY"), default=0)
    except ObservationError:
        return False
    return bool(mine) and min(mine) > first


def _examined(name: str, examine: Examine, look: Look) -> Hop:
    try:
        return replace(examine(look), name=name)
    except ObservationError as error:
        return Hop(name, State.UNKNOWN, seen=str(error))
