"""Walking: examine hops in order, up to the first broken one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from ...errors import ObservationError
from ...shell import NO_REMEDY
from .trace import Hop, State

T = TypeVar("T")


def walk(
    examined: Mapping[str, Callable[[T], Hop]], path: T, seen: Mapping[str, str]
) -> tuple[Hop, ...]:
    """Examine the hops of a path in order, up to the first broken one.

    ``seen``: failures by the hop that they point to; they break what else looks good.
    """
    hops: list[Hop] = []
    for name, examine in examined.items():
        if any(hop.state is State.BROKEN for hop in hops):
            hops.append(Hop(name, State.NOT_REACHED))
            continue
        hop = _examined(name, examine, path)
        if name in seen and hop.state is not State.BROKEN:
            # what is configured, if it is known, says where to look
            told = f"{seen[name]} ({hop.seen})" if hop.state is State.GOOD else seen[name]
            hop = replace(hop, state=State.BROKEN, seen=told)
        hops.append(hop if hop.state is State.BROKEN else replace(hop, remedy=NO_REMEDY))
    return tuple(hops)


def _examined(name: str, examine: Callable[[T], Hop], path: T) -> Hop:
    try:
        return replace(examine(path), name=name)
    except ObservationError as error:
        return Hop(name, State.UNKNOWN, seen=str(error))
