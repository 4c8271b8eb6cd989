"""Judges whether every workload reaches every cluster, over every protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...mesh import Mesh
from ...observations import Ending, Protocol, Request, Trial
from ...snapshot import Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_REACH, BELOW_TRAFFIC, Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import istioctl
from ..replies import failures, pair_names, probes_of, unreached
from ..tracing.symptoms import AUTHORISATION
from ..tracing.trace import Trace
from ..tracing.traces import Traces


@check(
    "MC-DISCOVERY-003",
    "Every cluster's workloads reach the instances of a shared service in every cluster.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/setup/install/multicluster/verify/",
    explained_by=(
        *BELOW_TRAFFIC,
        "MC-TRUST-008",
        *(f"MC-ACCESS-{number:03}" for number in range(1, 9)),
        # not the mesh id (001), nor services other than the probes' (008): no call to a probe fails because of those
        *(f"MC-CONTROL-{number:03}" for number in range(2, 7)),
        "MC-DISCOVERY-001",
        "MC-DISCOVERY-002",
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-EASTWEST-003",
        "MC-EASTWEST-004",
        "MC-EASTWEST-007",
    ),
)
def every_cluster_reached(
    mesh: Mesh,
    snapshot: Snapshot,
    requests: Sequence[Request],
    trials: Sequence[Trial],
    miss_probability: float,
) -> Verdict:
    """Each cluster is told by the identity of the answer. Where several are behind one gateway, ``requests`` has TCP connections as well,
    which the gateway spreads one by one, and HTTP need only get to one of these clusters.

    ``miss_probability`` is that of a cluster being missed by chance, with an even spread over ``requests``. A cluster that the client's
    proxy holds back for its priority (locality, traffic distribution) need not answer; there the ``trials``, handshakes past the
    sidecar, show whether it would.
    """
    found: list[Found] = []
    ways = Traces(snapshot, requests, trials)
    held_back: list[str] = []
    for cluster in mesh.spec.data_planes:
        mine = [request for request in requests if request.source == cluster.name]
        held_back += (
            f"{cluster.name} to {target}" for target in _held_back(ways, cluster.name, mine)
        )
        found += _from(mesh, cluster.name, mine, ways)
    sent = f"{len(requests)} requests from {len(mesh.spec.data_planes)} clusters were all answered"
    otherwise = (
        f"{sent}, for each of them by every cluster (a miss by chance: {miss_probability:.0e})"
    )
    if held_back:
        otherwise = (
            f"{sent}; {names(held_back)} only past the sidecar, because nearer instances "
            "come first (healthy endpoints of lower priority)"
        )
    return verdict_from(found, otherwise, pairs=pair_names(mesh)).with_evidence(*ways.evidence)


def _held_back(ways: Traces, source: str, requests: Sequence[Request]) -> list[str]:
    """The clusters that did not answer because others come first, although they would."""
    if any(not request.succeeded for request in requests):
        return []
    answered = {request.answer.cluster for request in requests if request.answer is not None}
    missing = [
        cluster.name for cluster in ways.snapshot.spec.data_planes if cluster.name not in answered
    ]
    return [
        target
        for target in missing
        if ways.held_back(source, target) and ways.answered_past_sidecar(source, target)
    ]


def _from(mesh: Mesh, source: str, requests: Sequence[Request], ways: Traces) -> Iterator[Found]:
    probes = probes_of(mesh)
    if not requests:
        yield Gap(f"{source}: no request was sent")
        return
    unresolved = [request for request in requests if request.ending is Ending.UNRESOLVED]
    if unresolved:
        yield _unresolved(source, unresolved, len(requests), ways)
        # those that were sent may be too few to say that a cluster was missed by more than chance
        return
    counts = {cluster.name: 0 for cluster in mesh.spec.data_planes}
    for request in requests:
        if request.answer is not None:
            counts[request.answer.cluster] = counts.get(request.answer.cluster, 0) + 1
    spread = ", ".join(f"{cluster} {count}" for cluster, count in counts.items())
    failed = failures(requests)
    endpoints = istioctl(
        mesh,
        source,
        f'proxy-config endpoints {probes.client(source).name}.{probes.namespace} | grep "{probes.service}"',
    )
    strangers = sorted(set(counts) - {cluster.name for cluster in mesh.spec.data_planes})
    waiting = _held_back(ways, source, requests)
    over_http = {
        request.answer.cluster
        for request in requests
        if request.answer and request.protocol is Protocol.HTTP
    }
    lacking = {cluster for cluster, count in counts.items() if not count} | set(
        unreached(mesh, source, over_http)
    )
    missing = [
        cluster
        for cluster in counts
        if cluster in lacking and cluster not in strangers and cluster not in waiting
    ]
    if strangers:
        yield Finding(
            f"{source} is answered by {names(strangers)}, which the mesh does not have",
            clusters=(source,),
            expected=names(cluster.name for cluster in mesh.spec.data_planes),
            seen=spread,
            remedy=endpoints,
            fault="unknown-cluster-answers",
        )
    for target in missing:
        if (
            not failed
            and ways.held_back(source, target)
            and not ways.tried_past_sidecar(source, target)
        ):
            yield Gap(
                f"{source} to {target}: nearer instances come first, and no way past the sidecar is known by which to ask it"
            )
            continue
        way = ways.trace(source, target)
        hop = f" (broken at: {way.broken.name})" if way.broken else ""
        yield Finding(
            f"{source} does not reach {target}{hop}: none of {len(requests)} requests was answered there",
            clusters=(source, target),
            expected=f"answers from {names(counts)}",
            seen=f"answers: {spread}"
            + (f"; failures: {failed}" if failed else "; no failures")
            + f"; {way.summary}",
            remedy=way.remedy or endpoints,
            fault=_fault(way),
        )
    if failed and not missing:
        number = sum(not request.succeeded for request in requests)
        broken = [
            way
            for way in (ways.trace(source, target) for target in counts if target not in strangers)
            if way.broken
        ]
        first = f"; towards {broken[0].target}, {broken[0].summary}" if broken else ""
        yield Finding(
            f"{source}: {number} of {len(requests)} requests failed although every cluster answered some",
            clusters=tuple(dict.fromkeys((source, *(way.target for way in broken)))),
            expected="every request answered",
            seen=f"failures: {failed}; answers: {spread}{first}",
            remedy=broken[0].remedy if broken else endpoints,
            fault="requests-fail",
        )


def _fault(way: Trace) -> str:
    """What the first broken hop is known by, if there is more to say than that a cluster is not reached."""
    if way.broken is None:
        return "cluster-not-reached"
    return way.broken.fault or (
        "authz-denied" if way.broken.name == AUTHORISATION else "cluster-not-reached"
    )


def _unresolved(source: str, unresolved: Sequence[Request], count: int, ways: Traces) -> Finding:
    """A name that has no address is the client's cluster's affair, whatever it stands for."""
    way = Traces(ways.snapshot, unresolved).trace(source, source)
    hop = f"; {way.summary}" if way.broken else ""
    return Finding(
        f"{source}: {unresolved[0].host} had no address for {len(unresolved)} of {count} requests",
        clusters=(source,),
        expected="an address for the name of a service of this cluster",
        seen=f"{failures(unresolved)}{hop}",
        remedy=way.remedy,
        fault="dns-unresolved",
    )


_NAMES = {Protocol.HTTP: "HTTP", Protocol.HTTP2: "HTTP/2", Protocol.TCP: "TCP"}


@check(
    "MC-DISCOVERY-008",
    "TCP connections and HTTP/2 requests, as gRPC makes them, reach the instances in every cluster, as HTTP does.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/",
    explained_by=BELOW_REACH,
)
def every_protocol_reaches(
    mesh: Mesh,
    snapshot: Snapshot,
    sent: Mapping[Protocol, Sequence[Request]],
    miss_probability: float,
) -> Verdict:
    """HTTP/2 goes over few connections and must be balanced by request all the same, but among clusters behind one gateway; TCP is
    balanced by connection.

    ``miss_probability`` is that of a cluster being missed by chance, with an even spread. A cluster that the client's proxy holds back
    for its priority need not answer.
    """
    found: list[Found] = []
    held: set[str] = set()
    for protocol, requests in sent.items():
        ways = Traces(snapshot, requests)
        for source in mesh.spec.data_planes:
            mine = [request for request in requests if request.source == source.name]
            waiting = [
                target.name
                for target in mesh.spec.data_planes
                if ways.held_back(source.name, target.name)
            ]
            held |= {f"{source.name} to {target}" for target in waiting}
            found += _over(mesh, protocol, source.name, mine, waiting)
    counts = " and ".join(
        f"{len(requests)} {_unit(protocol)}" for protocol, requests in sent.items()
    )
    otherwise = f"{counts} were all answered, by every cluster in each (a miss by chance: {miss_probability:.0e})"
    if held:
        otherwise += f"; {names(sorted(held))} need not answer, because nearer instances come first"
    return verdict_from(found, otherwise, pairs=pair_names(mesh))


def _unit(protocol: Protocol) -> str:
    return "TCP connections" if protocol is Protocol.TCP else f"{_NAMES[protocol]} requests"


def _over(
    mesh: Mesh, protocol: Protocol, source: str, requests: Sequence[Request], waiting: Sequence[str]
) -> Iterator[Found]:
    name = _NAMES[protocol]
    if not requests:
        yield Gap(f"{source}: nothing was sent over {name}")
        return
    counts = {cluster.name: 0 for cluster in mesh.spec.data_planes}
    for request in requests:
        if request.answer is not None:
            counts[request.answer.cluster] = counts.get(request.answer.cluster, 0) + 1
    failed = failures(requests)
    client = f"{probes_of(mesh).client(source).name}.{probes_of(mesh).namespace}"
    seen = f"answers: {', '.join(f'{cluster} {count}' for cluster, count in counts.items())}; "
    seen += f"failures: {failed}" if failed else "no failures"
    expected = f"every request answered, some of them by each of {names(counts)}"
    missing = [cluster for cluster, count in counts.items() if not count]
    if protocol is Protocol.HTTP2:
        # an east-west gateway spreads connections, of which HTTP/2 has few, over the clusters behind it
        missing = unreached(mesh, source, (cluster for cluster, count in counts.items() if count))
    missing = [cluster for cluster in missing if cluster not in waiting]
    for target in missing:
        yield Finding(
            f"{source} does not reach {target} over {name}: none of {len(requests)} {_unit(protocol)} got there",
            (source, target),
            expected=expected,
            seen=seen,
            remedy=istioctl(
                mesh, source, f"proxy-config endpoints {client} --port {requests[0].port}"
            ),
            fault="protocol-does-not-reach",
        )
    if failed and not missing:
        number = sum(not request.succeeded for request in requests)
        yield Finding(
            f"{source}: {number} of {len(requests)} {_unit(protocol)} failed although every cluster answered some",
            (source,),
            expected=expected,
            seen=seen,
            remedy=istioctl(
                mesh, source, f"proxy-config listeners {client} --port {requests[0].port}"
            ),
            fault="protocol-fails",
        )
