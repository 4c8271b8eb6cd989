"""Services that exist in one cluster only, live: MC-DISCOVERY-006."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...mesh import Mesh
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_REACH, Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import istioctl
from ..replies import pair_names, probes_of
from .facts import Elsewhere

DNS_PROXY = "https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/"


@check(
    "MC-DISCOVERY-006",
    "A service that exists in one cluster only is reached from the others, under its name where that resolves.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url=DNS_PROXY,
    explained_by=(*BELOW_REACH, "MC-CONTROL-001", "MC-CONTROL-008"),
)
def service_in_one_cluster(mesh: Mesh, calls: Sequence[Elsewhere]) -> Verdict:
    """Kubernetes knows a name only where the Service exists; the mesh must lead there from everywhere once a client has any address.

    Where the name does not resolve, that is said in the reason, with what gives it an address; it is no fault of the mesh.
    """
    found: list[Found] = []
    for source, target in mesh.spec.pairs:
        call = next(
            (call for call in calls if (call.source, call.target) == (source.name, target.name)),
            None,
        )
        found += (
            _reached(mesh, call)
            if call
            else [Gap(f"{source.name}: no request was sent for the service of {target.name}")]
        )
    return verdict_from(found, _otherwise(calls), pairs=pair_names(mesh))


def _otherwise(calls: Sequence[Elsewhere]) -> str:
    unresolved = sorted({call.source for call in calls if not call.addresses})
    reached = f"{len(calls)} requests for services of one cluster were answered there"
    if not unresolved:
        return f"{reached}, under names that resolve everywhere"
    return (
        f"{reached}; in {names(unresolved)} such names have no address: there, apply the Service in every cluster, or let sidecars resolve "
        "it (ISTIO_META_DNS_CAPTURE)"
    )


def _reached(mesh: Mesh, call: Elsewhere) -> Iterator[Found]:
    request, answer = call.request, call.request.answer
    if request.succeeded and answer is not None and answer.cluster == call.target:
        return
    client = probes_of(mesh).client(call.source)
    remedy = istioctl(
        mesh,
        call.source,
        f"proxy-config endpoints {client.name}.{probes_of(mesh).namespace} | grep {call.host}",
    )
    if answer is not None and answer.cluster != call.target:
        yield Finding(
            f"{call.source}: {call.host}, which exists in {call.target} only, is answered by {answer.cluster}",
            (call.source, call.target),
            expected=f"an answer from {call.target}",
            seen=f"{answer.pod} in {answer.cluster}",
            remedy=remedy,
            fault="answered-elsewhere",
        )
    else:
        yield Finding(
            f"{call.source} does not reach {call.host}, which exists in {call.target} only",
            (call.source, call.target),
            expected=f"an answer from {call.target}",
            seen=request.failure
            + ("" if call.addresses else " (sent under its name to an address of another service)"),
            remedy=remedy,
            fault="single-cluster-service-not-reached",
        )
