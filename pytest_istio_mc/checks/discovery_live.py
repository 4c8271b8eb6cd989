"""Endpoint discovery, live: every workload reaches every cluster's instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..mesh import Mesh
from ..observations import Ending, Protocol, Request, Trial
from ..snapshot import Snapshot
from ..spec import Feature
from ..verdicts import Finding, Verdict
from .catalogue import Kind, check
from .elsewhere_live import service_in_one_cluster as service_in_one_cluster
from .endpoints_live import leaving_endpoints_gone as leaving_endpoints_gone
from .endpoints_live import new_endpoints_seen as new_endpoints_seen
from .headless_live import headless_instances_reached as headless_instances_reached
from .hops import Trace
from .judging import Found, Gap, names, settle
from .live import failures, istioctl, pair_names, probes_of, unreached
from .protocols_live import every_protocol_reaches as every_protocol_reaches
from .symptoms import AUTHORISATION
from .trust_live import TRUST_BELOW
from .ways import Ways


@check(
    "MC-DISCOVERY-003",
    "Every cluster's workloads reach the instances of a shared service in every cluster.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/setup/install/multicluster/verify/",
    explained_by=(
        *TRUST_BELOW,
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
    mesh: Mesh, snapshot: Snapshot, requests: Sequence[Request], trials: Sequence[Trial], miss_probability: float
) -> Verdict:
    """Each cluster is told by the identity of the answer. Where several are behind one gateway, ``requests`` has TCP connections as well,
    which the gateway spreads one by one, and HTTP need only get to one of these clusters.

    ``miss_probability`` is that of a cluster being missed by chance, with an even spread over ``requests``. A cluster that the client's
    proxy holds back for its priority (locality, traffic distribution) need not answer; there the ``trials``, handshakes past the
    sidecar, show whether it would.
    """
    found: list[Found] = []
    ways = Ways(snapshot, requests, trials)
    held_back: list[str] = []
    for cluster in mesh.spec.data_planes:
        mine = [request for request in requests if request.source == cluster.name]
        held_back += (f"{cluster.name} to {target}" for target in _held_back(ways, cluster.name, mine))
        found += _from(mesh, cluster.name, mine, ways)
    sent = f"{len(requests)} requests from {len(mesh.spec.data_planes)} clusters were all answered"
    otherwise = f"{sent}, for each of them by every cluster (a miss by chance: {miss_probability:.0e})"
    if held_back:
        otherwise = (
            f"{sent}; {names(held_back)} only past the sidecar, because nearer instances "
            "come first (healthy endpoints of lower priority)"
        )
    return settle(found, otherwise, pairs=pair_names(mesh)).with_evidence(*ways.evidence)


def _held_back(ways: Ways, source: str, requests: Sequence[Request]) -> list[str]:
    """The clusters that did not answer because others come first, although they would."""
    if any(not request.succeeded for request in requests):
        return []
    answered = {request.answer.cluster for request in requests if request.answer is not None}
    missing = [cluster.name for cluster in ways.snapshot.spec.data_planes if cluster.name not in answered]
    return [target for target in missing if ways.held_back(source, target) and ways.answered_past_sidecar(source, target)]


def _from(mesh: Mesh, source: str, requests: Sequence[Request], ways: Ways) -> Iterator[Found]:
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
    endpoints = istioctl(mesh, source, f'proxy-config endpoints {probes.client(source).name}.{probes.namespace} | grep "{probes.service}"')
    strangers = sorted(set(counts) - {cluster.name for cluster in mesh.spec.data_planes})
    waiting = _held_back(ways, source, requests)
    over_http = {request.answer.cluster for request in requests if request.answer and request.protocol is Protocol.HTTP}
    lacking = {cluster for cluster, count in counts.items() if not count} | set(unreached(mesh, source, over_http))
    missing = [cluster for cluster in counts if cluster in lacking and cluster not in strangers and cluster not in waiting]
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
        if not failed and ways.held_back(source, target) and not ways.tried_past_sidecar(source, target):
            yield Gap(f"{source} to {target}: nearer instances come first, and no way past the sidecar is known by which to ask it")
            continue
        way = ways.trace(source, target)
        hop = f" (broken at: {way.broken.name})" if way.broken else ""
        yield Finding(
            f"{source} does not reach {target}{hop}: none of {len(requests)} requests was answered there",
            clusters=(source, target),
            expected=f"answers from {names(counts)}",
            seen=f"answers: {spread}" + (f"; failures: {failed}" if failed else "; no failures") + f"; {way.summary}",
            remedy=way.remedy or endpoints,
            fault=_fault(way),
        )
    if failed and not missing:
        number = sum(not request.succeeded for request in requests)
        broken = [way for way in (ways.trace(source, target) for target in counts if target not in strangers) if way.broken]
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
    return way.broken.fault or ("authz-denied" if way.broken.name == AUTHORISATION else "cluster-not-reached")


def _unresolved(source: str, unresolved: Sequence[Request], count: int, ways: Ways) -> Finding:
    """A name that has no address is the client's cluster's affair, whatever it stands for."""
    way = Ways(ways.snapshot, unresolved).trace(source, source)
    hop = f"; {way.summary}" if way.broken else ""
    return Finding(
        f"{source}: {unresolved[0].host} had no address for {len(unresolved)} of {count} requests",
        clusters=(source,),
        expected="an address for the name of a service of this cluster",
        seen=f"{failures(unresolved)}{hop}",
        remedy=way.remedy,
        fault="dns-unresolved",
    )
