"""Replies: how judges read requests and handshakes, and say what they saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ..errors import ObservationError
from ..machine import CROWD, LATE_SECONDS, STANDSTILL_CROWD, STANDSTILL_SECONDS, Machine
from ..mesh import Mesh, Probes
from ..observations import Ending, Plaintext, Request, TlsHandshake, Trial
from ..samples import Sample
from ..timelines import Flow, Record
from ..verdicts import Finding, Outcome, Verdict
from .judging import Found, Gap


def probes_of(mesh: Mesh) -> Probes:
    """The probe workloads; :class:`ObservationError` where there are none."""
    if mesh.probes is None:
        raise ObservationError("live checks", "need probe workloads", "the mesh has none")
    return mesh.probes


def identity(mesh: Mesh, cluster: str, account: str) -> str:
    """The SPIFFE id of a probe service account in a cluster."""
    spec = mesh.spec
    return f"spiffe://{spec.trust_domain_of(spec.cluster(cluster))}/ns/{probes_of(mesh).namespace}/sa/{account}"


def pair_names(mesh: Mesh) -> list[str]:
    """Every ordered pair of clusters, as reports name it."""
    return [f"{source.name} to {target.name}" for source, target in mesh.spec.pairs]


def unreached(mesh: Mesh, source: str, answered: Iterable[str]) -> list[str]:
    """The clusters that are not shown to be reached by the fact that ``answered`` are, where connections are kept: one answer from behind
    another network's gateway stands for all the clusters there."""
    networks = {cluster.name: cluster.network for cluster in mesh.spec.data_planes}
    there = set(answered)
    known = {networks[cluster] for cluster in there if cluster in networks} - {networks[source]}
    return [
        cluster
        for cluster, network in networks.items()
        if cluster not in there and network not in known
    ]


def failures(
    requests: Iterable[Request | Record], limit: int = 2, characters: int | None = None
) -> str:
    """The commonest ways in which requests failed, each in at most so many characters, with counts; empty where none did."""
    counted = Counter(request.failure[:characters] for request in requests if not request.succeeded)
    return "; ".join(f"{count}× {text}" for text, count in counted.most_common(limit))


def refusals(
    trials: Sequence[Trial],
    got_through: Callable[[TlsHandshake | Plaintext], bool],
    finding: Callable[[Trial, TlsHandshake | Plaintext], Finding],
) -> Iterator[Found]:
    """A finding for each forbidden attempt that got through; a gap for each trial whose twin did not get through, so that it proves
    nothing that the rest was refused."""
    for trial in trials:
        wrong = [attempt for attempt in trial.forbidden if got_through(attempt)]
        for attempt in wrong:
            yield finding(trial, attempt)
        if trial.path is None:
            yield Gap(
                f"{trial.pair}: no way there is known; does the network of {trial.target} have a gateway address?"
            )
        elif trial.twin is None and not wrong:
            seen = "; ".join(str(twin) for twin in trial.twins) or "nothing was sent"
            yield Gap(
                f"{trial.pair}: refusals prove nothing, because what must get through did not either ({seen})"
            )


def answered(attempt: TlsHandshake | Plaintext) -> bool:
    """Whether a probe, or anything that sent bytes, answered inside the connection."""
    if attempt.answer is not None:
        return True
    return bool(attempt.received) if isinstance(attempt, Plaintext) else attempt.status != 0


def spread(sample: Sample) -> str:
    """How many requests each cluster answered, in words."""
    answered = sample.answered
    return (
        ", ".join(f"{cluster} {count}" for cluster, count in sorted(answered.items()))
        or "no answers"
    )


_SILENT = (Ending.TIMEOUT, Ending.UNRESOLVED, Ending.SKIPPED)


def starved(flow: Flow, machine: Machine) -> str:
    """Why failures say nothing about the mesh; empty where they do. Only silence can be the fault of a machine that has too much to do."""
    late = max([machine.stall_seconds, *(record.late_seconds for record in flow.records)])
    if (late < LATE_SECONDS and machine.crowd < CROWD) or not all(
        record.ending in _SILENT for record in flow.failures
    ):
        return ""
    return f"{flow.name}: {len(flow.failures)} requests were not answered in time, but {machine}"


def fair(found: Iterable[Found], machine: Machine) -> Iterator[Found]:
    """What was found, as gaps where the machine had so much more to do than it can that nothing can be judged."""
    for item in found:
        if isinstance(item, Finding) and (
            machine.stall_seconds >= STANDSTILL_SECONDS or machine.crowd >= STANDSTILL_CROWD
        ):
            yield Gap(f"{item.summary} ({item.seen}), but {machine}")
        else:
            yield item


def on_a_crowded_machine(verdict: Verdict, machine: Machine) -> Verdict:
    """The verdict of a live check on clusters that all are on one machine: while it has so much more to do than it can, what goes wrong
    is not held against the mesh."""
    if verdict.outcome is not Outcome.NON_CONFORMANT or machine.crowd < STANDSTILL_CROWD:
        return verdict
    seen = "; ".join(f"{finding.summary} ({finding.seen})" for finding in verdict.findings[:2])
    return replace(
        verdict, outcome=Outcome.INCONCLUSIVE, findings=(), reason=f"{seen}, but {machine}"
    )
