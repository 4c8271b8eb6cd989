"""Explained: what becomes of a request of any workload for a host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...snapshot import Snapshot
from . import symptoms
from .by_objects import HOPS
from .call import Call, Caller, calls
from .trace import State, Trace
from .walking import walk


@dataclass(frozen=True)
class Explanation:
    """The hops of a request to the instances in each cluster that has some.

    ``host`` is the full name, ``port`` that of the service.
    """

    caller: Caller
    host: str
    port: int
    traces: tuple[Trace, ...]

    @property
    def broken(self) -> tuple[Trace, ...]:
        """The ways on which a hop is broken."""
        return tuple(one for one in self.traces if one.broken)

    @property
    def unknown(self) -> bool:
        """Whether a hop could not be judged."""
        return any(hop.state is State.UNKNOWN for one in self.traces for hop in one.hops)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, for other programs."""
        return {
            "from": str(self.caller),
            "host": self.host,
            "port": self.port,
            "ways": [_way(one) for one in self.traces],
        }

    def lines(self) -> Iterator[str]:
        """For a terminal: each way with its hops, and the remedy of the first broken one."""
        yield f"{self.caller} to {self.host}:{self.port}"
        for one in self.traces:
            yield ""
            yield f"to the instances in {one.target}"
            for hop in one.hops:
                yield f"  {hop}"
            if one.broken:
                yield f"  first broken hop: {one.broken.name}"
                yield f"    expected: {one.broken.expected}"
                for line in one.remedy.split("\n"):
                    yield f"    remedy:   {line}"


def explain(snapshot: Snapshot, caller: Caller, host: str, port: int = 0) -> Explanation:
    """Follow a request through what the snapshot says of objects and istiods.

    :class:`UsageProblem` where it names a caller or port that there is not.
    """
    found = calls(snapshot, caller, host, port)
    traces = tuple(_traced(call) for call in found)
    return Explanation(caller, found[0].host, found[0].port, traces)


def _traced(call: Call) -> Trace:
    left_out = () if call.crosses else symptoms.BEYOND_GATEWAY
    examined = {name: examine for name, examine in HOPS.items() if name not in left_out}
    return Trace(call.caller.cluster, call.target, call.port, walk(examined, call, {}))


def _way(one: Trace) -> dict[str, Any]:
    return {
        "target": one.target,
        "firstBroken": one.broken.name if one.broken else None,
        "remedy": one.remedy,
        "hops": [
            {
                "name": hop.name,
                "state": hop.state.value,
                "expected": hop.expected,
                "seen": hop.seen,
            }
            for hop in one.hops
        ],
    }
