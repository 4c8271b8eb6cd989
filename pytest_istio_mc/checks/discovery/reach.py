"""Reach over HTTP and every other protocol, from every cluster: MC-DISCOVERY-003 and 008."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ... import shell
from ...mesh import Mesh
from ...observations import Ending, Protocol, Request, Trial
from ...spec import Feature
from ...statistics import MISS_PROBABILITY
from ...verdicts import Finding, Reach, Verdict
from ..catalogue import BELOW_REACH, BELOW_TRAFFIC, check
from ..judging import Found, Gap, names, pair_names, verdict_from
from ..observe import handshakes
from ..reaching import reach_of
from ..remedies import Commands
from ..replies import failures
from ..site import Here
from ..tracing.symptoms import AUTHORISATION
from ..tracing.trace import Trace
from ..tracing.traces import Traces
from .observe import instances, protocols

DOCS = "https://istio.io/latest/docs/"
SHARED = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)


@check(
    "MC-DISCOVERY-003",
    "Every cluster's workloads reach the instances of a shared service in every cluster.",
    requires=SHARED,
    spec_url=DOCS + "setup/install/multicluster/verify/",
    explained_by=(
        *BELOW_TRAFFIC,
        "MC-TRUST-008",
        *(f"MC-ACCESS-{number:03}" for number in range(1, 9)),
        # no call to a probe fails because of the mesh id (001), nor of other services (008)
        *(f"MC-CONTROL-{number:03}" for number in range(2, 7)),
        "MC-DISCOVERY-001",
        "MC-DISCOVERY-002",
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-EASTWEST-003",
        "MC-EASTWEST-004",
        "MC-EASTWEST-007",
    ),
    sees=(instances, handshakes),
)
def every_cluster_reached(
    here: Here, requests: Sequence[Request], trials: Sequence[Trial]
) -> Verdict:
    """Every cluster answers some requests of every cluster's client.

    - Each cluster is told by the identity of the answer.
    - Where several clusters are behind one gateway, ``requests`` has TCP connections as well, which
      the gateway spreads one by one; HTTP need only get to one of these clusters.
    - A cluster that the client's proxy holds back for its priority (locality, traffic distribution)
      need not answer. There the ``trials``, handshakes past the sidecar, show whether it would.
    """
    clusters = here.mesh.spec.data_planes
    traces = Traces(here.snapshot, requests, trials)
    found: list[Found] = []
    held_back: list[str] = []
    for cluster in clusters:
        mine = [request for request in requests if request.source == cluster.name]
        waiting = _held_back(traces, cluster.name, mine)
        held_back += (f"{cluster.name} to {target}" for target in waiting)
        found += _from(here, cluster.name, mine, traces)
    sent = f"{len(requests)} requests from {len(clusters)} clusters were all answered"
    by_chance = f"a miss by chance: {MISS_PROBABILITY:.0e}"
    passed = f"{sent}, for each of them by every cluster ({by_chance})"
    if held_back:
        passed = (
            f"{sent}; {names(held_back)} only past the sidecar, because nearer instances "
            "come first (healthy endpoints of lower priority)"
        )
    verdict = verdict_from(found, passed, pairs=pair_names(here.mesh))
    over_http = [request for request in requests if request.protocol is Protocol.HTTP]
    known = [cluster.name for cluster in clusters]
    reach = reach_of(_NAMES[Protocol.HTTP], known, over_http, found)
    return verdict.with_reach(reach).with_evidence(*traces.evidence)


def _held_back(traces: Traces, source: str, requests: Sequence[Request]) -> list[str]:
    """The clusters that did not answer because others come first, although they would."""
    if any(not request.succeeded for request in requests):
        return []
    answered = {request.answer.cluster for request in requests if request.answer is not None}
    return [
        target.name
        for target in traces.snapshot.spec.data_planes
        if target.name not in answered
        and traces.held_back(source, target.name)
        and traces.answered_past_sidecar(source, target.name)
    ]


def _from(here: Here, source: str, requests: Sequence[Request], traces: Traces) -> Iterator[Found]:
    mesh, probes = here.mesh, here.mesh.require_probes()
    if not requests:
        yield Gap(f"{source}: no request was sent")
        return
    unresolved = [request for request in requests if request.ending is Ending.UNRESOLVED]
    if unresolved:
        yield _unresolved(source, unresolved, len(requests), traces)
        # those that were sent may be too few to say that a cluster was missed by more than chance
        return
    counts, failed = _counts(mesh, requests), failures(requests)
    spread = _in_words(counts)
    commands = Commands(here.snapshot)
    held = commands.proxy_config(source, "endpoints", probes.client_pod(source))
    endpoints = shell.matching(probes.service, held)
    known = [cluster.name for cluster in mesh.spec.data_planes]
    strangers = sorted(set(counts) - set(known))
    if strangers:
        yield Finding(
            f"{source} is answered by {names(strangers)}, which the mesh does not have",
            clusters=(source,),
            expected=names(known),
            seen=spread,
            remedy=endpoints,
            fault="unknown-cluster-answers",
        )
    over_http = [request for request in requests if request.protocol is Protocol.HTTP]
    lacking = {cluster for cluster, count in counts.items() if not count}
    lacking |= set(_unreached(mesh, source, _answering(over_http)))
    lacking -= set(_held_back(traces, source, requests))
    missing = [cluster for cluster in known if cluster in lacking]
    for target in missing:
        waits = not failed and traces.held_back(source, target)
        if waits and not traces.tried_past_sidecar(source, target):
            unknown = "no way past the sidecar is known by which to ask it"
            yield Gap(f"{source} to {target}: nearer instances come first, and {unknown}")
            continue
        trace = traces.trace(source, target)
        hop = f" (broken at: {trace.broken.name})" if trace.broken else ""
        none_there = f"none of {len(requests)} requests was answered there"
        failing = f"failures: {failed}" if failed else "no failures"
        yield Finding(
            f"{source} does not reach {target}{hop}: {none_there}",
            clusters=(source, target),
            expected=f"answers from {names(counts)}",
            seen=f"answers: {spread}; {failing}; {trace.summary}",
            remedy=trace.remedy or endpoints,
            fault=_fault(trace),
        )
    if failed and not missing:
        made = (traces.trace(source, target) for target in known)
        broken = [trace for trace in made if trace.broken]
        first = f"; towards {broken[0].target}, {broken[0].summary}" if broken else ""
        number = f"{_failed(requests)} of {len(requests)} requests failed"
        yield Finding(
            f"{source}: {number} although every cluster answered some",
            clusters=tuple(dict.fromkeys((source, *(trace.target for trace in broken)))),
            expected="every request answered",
            seen=f"failures: {failed}; answers: {spread}{first}",
            remedy=broken[0].remedy if broken else endpoints,
            fault="requests-fail",
        )


def _fault(trace: Trace) -> str:
    """The fault of the first broken hop, or just that a cluster is not reached."""
    if trace.broken is None:
        return "cluster-not-reached"
    denied = trace.broken.name == AUTHORISATION
    return trace.broken.fault or ("authz-denied" if denied else "cluster-not-reached")


def _unresolved(source: str, unresolved: Sequence[Request], count: int, traces: Traces) -> Finding:
    """A name without an address is the affair of the client's own cluster."""
    trace = Traces(traces.snapshot, unresolved).trace(source, source)
    hop = f"; {trace.summary}" if trace.broken else ""
    number = f"{len(unresolved)} of {count} requests"
    return Finding(
        f"{source}: {unresolved[0].host} had no address for {number}",
        clusters=(source,),
        expected="an address for the name of a service of this cluster",
        seen=f"{failures(unresolved)}{hop}",
        remedy=trace.remedy,
        fault="dns-unresolved",
    )


_NAMES = {Protocol.HTTP: "HTTP", Protocol.HTTP2: "HTTP/2", Protocol.TCP: "TCP"}


@check(
    "MC-DISCOVERY-008",
    "TCP connections and HTTP/2 requests, as gRPC makes them, reach the instances in every "
    "cluster, as HTTP does.",
    requires=SHARED,
    spec_url=DOCS + "ops/configuration/traffic-management/protocol-selection/",
    explained_by=BELOW_REACH,
    sees=protocols,
)
def every_protocol_reaches(here: Here, sent: Mapping[Protocol, Sequence[Request]]) -> Verdict:
    """Every cluster answers some requests of every cluster's client over each protocol.

    - HTTP/2 goes over few connections and must be balanced by request all the same, but among
      clusters behind one gateway; TCP is balanced by connection.
    - A cluster that the client's proxy holds back for its priority need not answer.
    """
    clusters = [cluster.name for cluster in here.mesh.spec.data_planes]
    found: list[Found] = []
    reach: list[Reach] = []
    held: set[str] = set()
    for protocol, requests in sent.items():
        traces, over = Traces(here.snapshot, requests), list[Found]()
        for source in clusters:
            mine = [request for request in requests if request.source == source]
            waiting = [target for target in clusters if traces.held_back(source, target)]
            held |= {f"{source} to {target}" for target in waiting}
            over += _over(here, protocol, source, mine, waiting)
        found += over
        reach += reach_of(_NAMES[protocol], clusters, requests, over)
    counts = " and ".join(
        f"{len(requests)} {_unit(protocol)}" for protocol, requests in sent.items()
    )
    by_chance = f"a miss by chance: {MISS_PROBABILITY:.0e}"
    passed = f"{counts} were all answered, by every cluster in each ({by_chance})"
    if held:
        passed += f"; {names(sorted(held))} need not answer, because nearer instances come first"
    return verdict_from(found, passed, pairs=pair_names(here.mesh)).with_reach(reach)


def _unit(protocol: Protocol) -> str:
    return "TCP connections" if protocol is Protocol.TCP else f"{_NAMES[protocol]} requests"


def _over(
    here: Here, protocol: Protocol, source: str, requests: Sequence[Request], waiting: Sequence[str]
) -> Iterator[Found]:
    name = _NAMES[protocol]
    if not requests:
        yield Gap(f"{source}: nothing was sent over {name}")
        return
    counts, failed = _counts(here.mesh, requests), failures(requests)
    client = here.mesh.require_probes().client_pod(source)
    commands, port = Commands(here.snapshot), requests[0].port
    seen = f"answers: {_in_words(counts)}; " + (f"failures: {failed}" if failed else "no failures")
    expected = f"every request answered, some of them by each of {names(counts)}"
    missing = [cluster for cluster, count in counts.items() if not count]
    if protocol is Protocol.HTTP2:
        # a gateway spreads connections, of which HTTP/2 has few, over the clusters behind it
        missing = _unreached(here.mesh, source, _answering(requests))
    missing = [cluster for cluster in missing if cluster not in waiting]
    for target in missing:
        none_there = f"none of {len(requests)} {_unit(protocol)} got there"
        yield Finding(
            f"{source} does not reach {target} over {name}: {none_there}",
            (source, target),
            expected=expected,
            seen=seen,
            remedy=commands.proxy_config(source, "endpoints", client, f"--port={port}"),
            fault="protocol-does-not-reach",
        )
    if failed and not missing:
        number = f"{_failed(requests)} of {len(requests)} {_unit(protocol)} failed"
        yield Finding(
            f"{source}: {number} although every cluster answered some",
            (source,),
            expected=expected,
            seen=seen,
            remedy=commands.proxy_config(source, "listeners", client, f"--port={port}"),
            fault="protocol-fails",
        )


def _answering(requests: Iterable[Request]) -> Iterator[str]:
    """The cluster of each answer."""
    return (request.answer.cluster for request in requests if request.answer is not None)


def _counts(mesh: Mesh, requests: Iterable[Request]) -> dict[str, int]:
    """How many requests each cluster answered: first the mesh's, then any others."""
    counts = {cluster.name: 0 for cluster in mesh.spec.data_planes}
    for cluster in _answering(requests):
        counts[cluster] = counts.get(cluster, 0) + 1
    return counts


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{cluster} {count}" for cluster, count in counts.items())


def _failed(requests: Iterable[Request]) -> int:
    return sum(not request.succeeded for request in requests)


def _unreached(mesh: Mesh, source: str, answered: Iterable[str]) -> list[str]:
    """The clusters that these answers do not show to be reached, where connections are kept.

    One answer from behind another network's gateway stands for all the clusters there.
    """
    networks = {cluster.name: cluster.network for cluster in mesh.spec.data_planes}
    there = set(answered)
    known = {networks[cluster] for cluster in there if cluster in networks} - {networks[source]}
    return [
        cluster
        for cluster, network in networks.items()
        if cluster not in there and network not in known
    ]
