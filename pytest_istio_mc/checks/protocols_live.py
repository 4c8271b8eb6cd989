"""Protocols, live: MC-DISCOVERY-008, what is true of HTTP is true of TCP and HTTP/2 as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..mesh import Mesh
from ..observations import Protocol, Request
from ..snapshot import Snapshot
from ..spec import Feature
from ..verdicts import Finding, Verdict
from .catalogue import Kind, check
from .endpoints_live import REACH_BELOW
from .judging import Found, Gap, names, settle
from .live import failures, istioctl, pair_names, probes_of, unreached
from .ways import Ways

_NAMES = {Protocol.HTTP: "HTTP", Protocol.HTTP2: "HTTP/2", Protocol.TCP: "TCP"}


@check(
    "MC-DISCOVERY-008",
    "TCP connections and HTTP/2 requests, as gRPC makes them, reach the instances in every cluster, as HTTP does.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/",
    explained_by=REACH_BELOW,
)
def every_protocol_reaches(mesh: Mesh, snapshot: Snapshot, sent: Mapping[Protocol, Sequence[Request]], miss_probability: float) -> Verdict:
    """HTTP/2 goes over few connections and must be balanced by request all the same, but among clusters behind one gateway; TCP is
    balanced by connection.

    ``miss_probability`` is that of a cluster being missed by chance, with an even spread. A cluster that the client's proxy holds back
    for its priority need not answer.
    """
    found: list[Found] = []
    held: set[str] = set()
    for protocol, requests in sent.items():
        ways = Ways(snapshot, requests)
        for source in mesh.spec.data_planes:
            mine = [request for request in requests if request.source == source.name]
            waiting = [target.name for target in mesh.spec.data_planes if ways.held_back(source.name, target.name)]
            held |= {f"{source.name} to {target}" for target in waiting}
            found += _from(mesh, protocol, source.name, mine, waiting)
    counts = " and ".join(f"{len(requests)} {_unit(protocol)}" for protocol, requests in sent.items())
    otherwise = f"{counts} were all answered, by every cluster in each (a miss by chance: {miss_probability:.0e})"
    if held:
        otherwise += f"; {names(sorted(held))} need not answer, because nearer instances come first"
    return settle(found, otherwise, pairs=pair_names(mesh))


def _unit(protocol: Protocol) -> str:
    return "TCP connections" if protocol is Protocol.TCP else f"{_NAMES[protocol]} requests"


def _from(mesh: Mesh, protocol: Protocol, source: str, requests: Sequence[Request], waiting: Sequence[str]) -> Iterator[Found]:
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
            remedy=istioctl(mesh, source, f"proxy-config endpoints {client} --port {requests[0].port}"),
            fault="protocol-does-not-reach",
        )
    if failed and not missing:
        number = sum(not request.succeeded for request in requests)
        yield Finding(
            f"{source}: {number} of {len(requests)} {_unit(protocol)} failed although every cluster answered some",
            (source,),
            expected=expected,
            seen=seen,
            remedy=istioctl(mesh, source, f"proxy-config listeners {client} --port {requests[0].port}"),
            fault="protocol-fails",
        )
