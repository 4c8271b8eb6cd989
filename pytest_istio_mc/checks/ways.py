"""Ways: the traces that one judge makes, each made once and kept as evidence."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ObservationError
from ..observations import Request, TlsHandshake, Trial
from ..snapshot import Snapshot
from ..verdicts import Evidence
from .hops import Trace
from .oracle import service_ports
from .tracing import trace, waits_its_turn


class Ways:
    """Traces between clusters, from what the snapshot, the requests and the trials of one check say."""

    def __init__(
        self, snapshot: Snapshot, requests: Sequence[Request] = (), trials: Sequence[Trial] = (), *, past_sidecar: bool = False
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
            answered = any(one.source == source and one.answer is not None and one.answer.cluster == target for one in self._requests)
            requests = () if answered else self._requests
            tried = [*handshakes, *(twin for trial in self._of(*pair) for twin in trial.twins if isinstance(twin, TlsHandshake))]
            self._made[pair] = trace(self.snapshot, *pair, self.port, requests, tried, past_sidecar=self._past_sidecar)
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
