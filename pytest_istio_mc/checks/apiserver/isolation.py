"""The judge of isolation: a cluster is taken out of the mesh, and brought back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...rights import Permission
from ...spec import Role
from ...timelines import Record
from ...verdicts import Finding, Verdict, not_applicable
from ..excuses import fair
from ..judging import Found, pair_names, verdict_from
from ..remedies import Commands
from ..site import Here
from .facts import Delay, Isolation, Purpose, flows
from .header import ENDPOINT_DISCOVERY, NOBODY, apiserver
from .losses import delays_in_words, failed_requests
from .observe import isolated

CHANGE_SECONDS = 3.0
"""How long a change of remote secrets takes to reach every proxy, with room to spare."""


@apiserver(
    "MC-APISERVER-007",
    "Removing a cluster's remote secrets takes it out of traffic, adding them brings it back, and "
    "no request fails in the other clusters.",
    spec_url=ENDPOINT_DISCOVERY,
    sees=isolated,
    permissions=(Permission.REMOTE_SECRETS,),
    effect="removes the remote secrets of one cluster from every control plane elsewhere for some "
    "seconds: no other cluster sends it requests, and services that only it has are gone for all "
    "others",
)
def isolation(here: Here, seen: Isolation | None) -> Verdict:
    """The cluster answers nobody soon after, and everybody soon after its return.

    The control plane that serves a remote cluster forgets with its secret also what the remote's
    own pods serve, at the same moment as it tells all others to send nothing more: requests that
    are on their way then are answered with 503 by the sidecar there. For a cluster without a
    control plane of its own these are counted, and not held against the mesh.
    """
    if seen is None:
        return not_applicable(NOBODY)
    cluster = seen.cluster
    forgets = here.mesh.spec.cluster(cluster).role is not Role.PRIMARY
    drain = "still sends requests to", "removed", "isolation-does-not-drain"
    end = "does not send requests again to", "added again", "isolation-does-not-end"
    found: list[Found] = [
        *_late(here, cluster, seen.drained, *drain),
        *_late(here, cluster, seen.returns, *end),
    ]
    what = f"{cluster} was taken out of the mesh and brought back"
    own = spared = 0
    for flow in flows(seen.timeline, Purpose.PLAIN):
        if flow.source == cluster:
            own += len(flow.failures)
            continue
        kept = tuple(
            record
            for record in flow.records
            if record.succeeded or not (forgets and _changing(seen, record))
        )
        spared += len(flow.records) - len(kept)
        rest, clusters = replace(flow, records=kept), (flow.source, cluster)
        found += failed_requests(here, rest, what, clusters, seen.machine)
    passed = (
        f"{cluster} isolated: the last answer from it {delays_in_words(seen.drained)} after its "
        f"remote secrets were removed; the first one {delays_in_words(seen.returns)} after they "
        f"were added again; {spared} failed requests elsewhere"
        f"{', all in the moments of change' if spared else ''}, {own} from {cluster} itself"
    )
    verdict = verdict_from(fair(found, seen.machine), passed, pairs=pair_names(here.mesh))
    for entry in seen.drained:
        told = f"{entry.source} sends nothing more to an isolated cluster"
        verdict = verdict.with_convergence(told, entry.seconds)
    return verdict.with_timeline("time line of isolation", seen.timeline)


def _late(
    here: Here, cluster: str, delays: Iterable[Delay], what: str, done: str, fault: str
) -> Iterator[Finding]:
    """A finding for each source that waited longer than an endpoint may take."""
    within = here.timeouts.endpoint_propagation
    for entry in delays:
        if entry.seconds is None or entry.seconds > within:
            yield Finding(
                f"{entry.source} {what} {cluster} {within:g} s after "
                f"its remote secrets were {done}",
                clusters=(entry.source, cluster),
                expected=f"within {within:g} s",
                seen="never" if entry.seconds is None else f"{entry.seconds:.1f} s",
                remedy=Commands(here.snapshot).istioctl(entry.source, "remote-clusters"),
                fault=fault,
            )


def _changing(seen: Isolation, record: Record) -> bool:
    """Whether a request ended just after the remote secrets were removed or added again."""
    changes = (seen.began, seen.ended)
    return any(0 <= record.answered_at - when <= CHANGE_SECONDS for when in changes)
