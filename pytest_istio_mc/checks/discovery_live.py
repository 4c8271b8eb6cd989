"""Endpoint discovery, live: every workload reaches every cluster's instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..mesh import Mesh
from ..observations import Request
from ..spec import Feature
from ..verdicts import Finding, Verdict
from .catalogue import Kind, check
from .judging import Found, Gap, names, settle
from .live import failures, istioctl, pair_names, probes_of
from .trust_live import TRUST_BELOW


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
        *(f"MC-CONTROL-{number:03}" for number in range(2, 8)),
        "MC-DISCOVERY-001",
        "MC-DISCOVERY-002",
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-EASTWEST-003",
        "MC-EASTWEST-004",
        "MC-EASTWEST-007",
    ),
)
def every_cluster_reached(mesh: Mesh, requests: Sequence[Request], miss_probability: float) -> Verdict:
    """Each cluster is told by the identity of the answer, also where several are behind one gateway.

    ``miss_probability`` is that of a cluster being missed by chance, with an even spread over ``requests``.
    """
    found: list[Found] = []
    for cluster in mesh.spec.data_planes:
        found += _from(mesh, cluster.name, [request for request in requests if request.source == cluster.name])
    count = len(requests) // max(1, len(mesh.spec.data_planes))
    otherwise = f"{count} requests from each cluster were all answered, by every cluster (a miss by chance: {miss_probability:.0e})"
    return settle(found, otherwise, pairs=pair_names(mesh))


def _from(mesh: Mesh, source: str, requests: Sequence[Request]) -> Iterator[Found]:
    probes = probes_of(mesh)
    if not requests:
        yield Gap(f"{source}: no request was sent")
        return
    counts = {cluster.name: 0 for cluster in mesh.spec.data_planes}
    for request in requests:
        if request.answer is not None:
            counts[request.answer.cluster] = counts.get(request.answer.cluster, 0) + 1
    spread = ", ".join(f"{cluster} {count}" for cluster, count in counts.items())
    failed = failures(requests)
    endpoints = istioctl(mesh, source, f'proxy-config endpoints {probes.client(source).name}.{probes.namespace} | grep "{probes.service}"')
    strangers = sorted(set(counts) - {cluster.name for cluster in mesh.spec.data_planes})
    missing = [cluster for cluster, count in counts.items() if not count and cluster not in strangers]
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
        yield Finding(
            f"{source} does not reach {target}: none of {len(requests)} requests was answered there",
            clusters=(source, target),
            expected=f"answers from {names(counts)}",
            seen=f"answers: {spread}" + (f"; failures: {failed}" if failed else "; no failures"),
            remedy=endpoints,
            fault="cluster-not-reached",
        )
    if failed and not missing:
        number = sum(not request.succeeded for request in requests)
        yield Finding(
            f"{source}: {number} of {len(requests)} requests failed although every cluster answered some",
            clusters=(source,),
            expected="every request answered",
            seen=f"failures: {failed}; answers: {spread}",
            remedy=endpoints,
            fault="requests-fail",
        )
