"""What judges of live observations share: names of pairs, commands with real contexts, identities, and trials of refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..errors import ObservationError
from ..mesh import Mesh, Probes
from ..observations import Plaintext, Request, TlsHandshake, Trial
from ..timelines import Record
from ..verdicts import Finding
from .judging import Found, Gap


def kubectl(mesh: Mesh, cluster: str, arguments: str) -> str:
    """A kubectl command in a cluster."""
    return f"kubectl --context={mesh.spec.cluster(cluster).context or cluster} {arguments}"


def istioctl(mesh: Mesh, cluster: str, arguments: str) -> str:
    """An istioctl command about the proxies of a cluster; it talks to the proxies, so any cluster's context will do that holds them."""
    return f"istioctl --context={mesh.spec.cluster(cluster).context or cluster} {arguments}"


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
    return [cluster for cluster, network in networks.items() if cluster not in there and network not in known]


def failures(requests: Iterable[Request | Record], limit: int = 2, characters: int | None = None) -> str:
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
            yield Gap(f"{trial.pair}: no way there is known; does the network of {trial.target} have a gateway address?")
        elif trial.twin is None and not wrong:
            seen = "; ".join(str(twin) for twin in trial.twins) or "nothing was sent"
            yield Gap(f"{trial.pair}: refusals prove nothing, because what must get through did not either ({seen})")


def answered(attempt: TlsHandshake | Plaintext) -> bool:
    """Whether a probe, or anything that sent bytes, answered inside the connection."""
    if attempt.answer is not None:
        return True
    return bool(attempt.received) if isinstance(attempt, Plaintext) else attempt.status != 0
