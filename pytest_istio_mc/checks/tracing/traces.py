"""Traces: requests followed hop by hop over snapshot and failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import ObservationError
from ...observations import Request, TlsHandshake, Trial
from ...snapshot import Snapshot
from ...verdicts import Evidence
from ..oracle import service_ports
from . import symptoms
from .hops import HOPS
from .named import with_objects
from .path import PathFacts
from .trace import Trace
from .walking import walk


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
    """Follow the path from ``source``'s client to the probe servers in ``target`` on ``port``.

    - A hop is broken where the snapshot says so, or where a failure has no other explanation:
      of ``requests`` (those of ``source``'s client count), or of ``handshakes`` from there to
      ``target``, past the sidecar.
    - Hops behind the first broken one are not examined.
    - What could not be read is unknown, and the next hop is examined.
    - ``past_sidecar`` leaves out the hops in the client's own pod.
    """
    path = PathFacts(snapshot, source, target, port, past_sidecar)
    sent = [one for one in requests if one.source == source]
    seen = symptoms.symptoms_by_hop(sent, list(handshakes), gateway=path.crosses)
    left_out = {
        *(() if path.crosses else symptoms.BEYOND_GATEWAY),
        *(symptoms.IN_CLIENT_POD if past_sidecar else ()),
    }
    examined = {name: examine for name, examine in HOPS.items() if name not in left_out}
    hops = walk(examined, path, seen)
    return Trace(source, target, port, with_objects(path, hops, left_out))


def waits_its_turn(snapshot: Snapshot, source: str, target: str, port: int) -> bool:
    """Whether healthy endpoints of ``target`` wait in ``source``'s client behind a higher priority.

    They get nothing while those are healthy (Envoy, "Priority levels"): so locality load balancing
    and traffic distribution work.
    """
    path = PathFacts(snapshot, source, target, port)
    try:
        mine = [one.priority for one in path.endpoints if one.health == "HEALTHY"]
        first = min((one.priority for one in path.held if one.health == "HEALTHY"), default=0)
    except ObservationError:
        return False
    return bool(mine) and min(mine) > first


class Traces:
    """Traces between clusters, by the snapshot, the requests and the trials of one check."""

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
        """The port of the requests; without any, the first of the probe service, 0 if unknown."""
        try:
            return self._requests[0].port if self._requests else service_ports(self.snapshot)[0][0]
        except ObservationError:
            return 0

    def trace(self, source: str, target: str, *handshakes: TlsHandshake) -> Trace:
        """The trace from one cluster's client to another's servers, made once.

        ``handshakes`` are such as failed on the path, besides those of trials.
        """
        pair = (source, target)
        if pair not in self._made:
            # where the target answered some, nobody knows to whom the failed ones went
            answered = any(
                one.source == source and one.answer is not None and one.answer.cluster == target
                for one in self._requests
            )
            requests = () if answered else self._requests
            twins = (twin for trial in self._of(*pair) for twin in trial.twins)
            tried = [*handshakes, *(twin for twin in twins if isinstance(twin, TlsHandshake))]
            self._made[pair] = trace(
                self.snapshot, *pair, self.port, requests, tried, past_sidecar=self._past_sidecar
            )
        return self._made[pair]

    def held_back(self, source: str, target: str) -> bool:
        """Whether the client's healthy endpoints of the target wait until nearer ones fail."""
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
