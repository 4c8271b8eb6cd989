"""Traces: following requests hop by hop over snapshot and failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...errors import ObservationError
from ...observations import Request, TlsHandshake, Trial
from ...snapshot import Snapshot
from ...verdicts import Evidence
from ..oracle import service_ports
from . import symptoms
from .hops import STATIONS, Examine
from .path import PathFacts
from .trace import Hop, State, Trace


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
    look = PathFacts(snapshot, source, target, port, past_sidecar)
    seen = symptoms.symptoms(
        [one for one in requests if one.source == source], list(handshakes), gateway=look.crosses
    )
    left_out = {
        *(() if look.crosses else symptoms.BEYOND_GATEWAY),
        *(symptoms.IN_CLIENT_POD if past_sidecar else ()),
    }
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
            hop = replace(
                hop,
                state=State.BROKEN,
                seen=f"{seen[name]} ({hop.seen})" if hop.state is State.GOOD else seen[name],
            )
        hops.append(hop if hop.state is State.BROKEN else replace(hop, remedy=""))
    return Trace(source, target, port, tuple(hops))


def waits_its_turn(snapshot: Snapshot, source: str, target: str, port: int) -> bool:
    """Whether the client's proxy in ``source`` has healthy endpoints of ``target``, but sends nothing there while others, of a higher
    priority, are healthy (Envoy, "Priority levels"): so locality load balancing and traffic distribution work."""
    look = PathFacts(snapshot, source, target, port)
    try:
        mine = [one.priority for one in look.endpoints if one.health == "HEALTHY"]
        first = min((one.priority for one in look.held if one.health == "HEALTHY"), default=0)
    except ObservationError:
        return False
    return bool(mine) and min(mine) > first


def _examined(name: str, examine: Examine, look: PathFacts) -> Hop:
    try:
        return replace(examine(look), name=name)
    except ObservationError as error:
        return Hop(name, State.UNKNOWN, seen=str(error))


class Traces:
    """Traces between clusters, from what the snapshot, the requests and the trials of one check say."""

    def __init__(
        self,
        snapshot: Snapshot,
        requests: Sequence[Request] = (),
        trials: Sequence[Trial] = (),
        *,
        past_sidecar: bool = False,
    ) -> None:
        self.snapshot = snapshot
        self._requests = requests
        self._trials = trials
        self._past_sidecar = past_sidecar
        self._made: dict[tuple[str, str], Trace] = {}

    @property
    def port(self) -> int:
        """The port that the requests went to; the first of the probe service where there were none, and 0 where nobody knows."""
        try:
            return self._requests[0].port if self._requests else service_ports(self.snapshot)[0][0]
        except ObservationError:
            return 0

    def trace(self, source: str, target: str, *handshakes: TlsHandshake) -> Trace:
        """The way from one cluster's client to another's servers; ``handshakes`` are such as failed on it, besides those of trials."""
        pair = (source, target)
        if pair not in self._made:
            # where the target answered some, nobody knows to whom the failed ones went
            answered = any(
                one.source == source and one.answer is not None and one.answer.cluster == target
                for one in self._requests
            )
            requests = () if answered else self._requests
            tried = [
                *handshakes,
                *(
                    twin
                    for trial in self._of(*pair)
                    for twin in trial.twins
                    if isinstance(twin, TlsHandshake)
                ),
            ]
            self._made[pair] = trace(
                self.snapshot, *pair, self.port, requests, tried, past_sidecar=self._past_sidecar
            )
        return self._made[pair]

    def held_back(self, source: str, target: str) -> bool:
        """Whether the client's proxy has healthy endpoints of the target, which have to wait until nearer ones fail."""
        return waits_its_turn(self.snapshot, source, target, self.port)

    def answered_past_sidecar(self, source: str, target: str) -> bool:
        """Whether a handshake past the client's sidecar was answered by the target."""
        return any(trial.twin is not None for trial in self._of(source, target))

    def tried_past_sidecar(self, source: str, target: str) -> bool:
        """Whether there was such a handshake at all."""
        return any(trial.twins for trial in self._of(source, target))

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Every trace that was made."""
        return tuple(made.evidence for made in self._made.values())

    def _of(self, source: str, target: str) -> list[Trial]:
        return [trial for trial in self._trials if (trial.source, trial.target) == (source, target)]
