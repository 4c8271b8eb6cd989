"""Services that exist in one cluster only: MC-DISCOVERY-006."""

from __future__ import annotations

from collections.abc import Sequence

from ... import shell
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_REACH, check
from ..judging import Found, Gap, names, pair_names, verdict_from
from ..remedies import Commands
from ..site import Here
from .facts import Elsewhere
from .observe import services_elsewhere

DNS_PROXY = "https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/"


@check(
    "MC-DISCOVERY-006",
    "A service that exists in one cluster only is reached from the others, under its name where "
    "that resolves.",
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url=DNS_PROXY,
    explained_by=(*BELOW_REACH, "MC-CONTROL-001", "MC-CONTROL-008"),
    sees=services_elsewhere,
)
def service_in_one_cluster(here: Here, seen: tuple[tuple[Elsewhere, ...], float | None]) -> Verdict:
    """Every cluster reaches every service that exists in another one only.

    - Kubernetes knows a name only where the Service exists. The mesh must lead there from
      everywhere, once a client has any address.
    - A name that does not resolve is no fault of the mesh: the reason says what gives it an
      address.
    """
    calls, seconds = seen
    by_pair = {(call.source, call.target): call for call in reversed(calls)}
    found: list[Found] = []
    for source, target in here.mesh.spec.pairs:
        call = by_pair.get((source.name, target.name))
        if call is None:
            missing = f"no request was sent for the service of {target.name}"
            found.append(Gap(f"{source.name}: {missing}"))
        elif not call.answered_there:
            found.append(_not_reached(here, call))
    verdict = verdict_from(found, _passed(calls), pairs=pair_names(here.mesh))
    return verdict.with_convergence("services of one cluster answer in all others", seconds)


def _passed(calls: Sequence[Elsewhere]) -> str:
    unresolved = sorted({call.source for call in calls if not call.addresses})
    reached = f"{len(calls)} requests for services of one cluster were answered there"
    if not unresolved:
        return f"{reached}, under names that resolve everywhere"
    return (
        f"{reached}; in {names(unresolved)} such names have no address: there, apply the Service "
        "in every cluster, or let sidecars resolve it (ISTIO_META_DNS_CAPTURE)"
    )


def _not_reached(here: Here, call: Elsewhere) -> Finding:
    client = here.mesh.require_probes().client_pod(call.source)
    endpoints = Commands(here.snapshot).proxy_config(call.source, "endpoints", client)
    remedy = shell.matching(call.host, endpoints)
    pair, expected = (call.source, call.target), f"an answer from {call.target}"
    answer = call.request.answer
    if answer is not None and answer.cluster != call.target:
        summary = f"which exists in {call.target} only, is answered by {answer.cluster}"
        return Finding(
            f"{call.source}: {call.host}, {summary}",
            pair,
            expected=expected,
            seen=f"{answer.pod} in {answer.cluster}",
            remedy=remedy,
            fault="answered-elsewhere",
        )
    detour = " (sent under its name to an address of another service)"
    return Finding(
        f"{call.source} does not reach {call.host}, which exists in {call.target} only",
        pair,
        expected=expected,
        seen=call.request.failure + ("" if call.addresses else detour),
        remedy=remedy,
        fault="single-cluster-service-not-reached",
    )
