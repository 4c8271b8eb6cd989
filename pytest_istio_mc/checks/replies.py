"""Replies: how judges read requests and handshakes, and say what they saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..mesh import Mesh
from ..observations import Plaintext, Request, TlsHandshake, Trial
from ..samples import Sample
from ..timelines import Record
from ..verdicts import Finding
from .judging import Found, Gap


def identity(mesh: Mesh, cluster: str, account: str) -> str:
    """The SPIFFE id of a probe service account in a cluster."""
    domain = mesh.spec.trust_domain_of(mesh.spec.cluster(cluster))
    return f"spiffe://{domain}/ns/{mesh.require_probes().namespace}/sa/{account}"


def failures(
    requests: Iterable[Request | Record], limit: int = 2, characters: int | None = None
) -> str:
    """The commonest ways in which requests failed, with counts; empty where none did.

    Each is cut to that many characters.
    """
    counted = Counter(request.failure[:characters] for request in requests if not request.succeeded)
    return "; ".join(f"{count}× {text}" for text, count in counted.most_common(limit))


def spread(sample: Sample) -> str:
    """How many requests each cluster answered, in words."""
    counts = sorted(sample.answered.items())
    return ", ".join(f"{cluster} {count}" for cluster, count in counts) or "no answers"


def answered(attempt: TlsHandshake | Plaintext) -> bool:
    """Whether a probe, or anything that sent bytes, answered inside the connection."""
    if attempt.answer is not None:
        return True
    return bool(attempt.received) if isinstance(attempt, Plaintext) else attempt.status != 0


def refusals(
    trials: Sequence[Trial],
    got_through: Callable[[TlsHandshake | Plaintext], bool],
    finding: Callable[[Trial, TlsHandshake | Plaintext], Finding],
) -> Iterator[Found]:
    """A finding for each forbidden attempt that got through.

    A trial whose twin did not get through is a gap: there a refusal proves nothing.
    """
    for trial in trials:
        wrong = [attempt for attempt in trial.forbidden if got_through(attempt)]
        for attempt in wrong:
            yield finding(trial, attempt)
        if trial.path is None:
            has_address = f"does the network of {trial.target} have a gateway address?"
            yield Gap(f"{trial.pair}: no way there is known; {has_address}")
        elif trial.twin is None and not wrong:
            seen = "; ".join(str(twin) for twin in trial.twins) or "nothing was sent"
            useless = "refusals prove nothing, because what must get through did not either"
            yield Gap(f"{trial.pair}: {useless} ({seen})")
