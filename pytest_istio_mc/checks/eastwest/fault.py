"""The judge of an east-west gateway that loses a pod."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...spec import Feature
from ...timelines import Flow
from ...verdicts import Finding, Verdict
from ..apiserver.facts import STEADY, Purpose, ends_steady, flows
from ..apiserver.losses import failed_as
from ..catalogue import Kind, check
from ..excuses import fair, starved
from ..judging import Found, Gap, verdict_from
from ..remedies import Commands
from ..site import Here
from .facts import GatewayLoss
from .observe import gateway_lost


@check(
    "MC-EASTWEST-008",
    "When one pod of an east-west gateway is lost, no request fails if it has another one, and "
    "requests get through again soon if not.",
    kind=Kind.FAULT,
    requires=(Feature.MULTI_NETWORK, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-networks",
    sees=gateway_lost,
    effect="kills one pod of an east-west gateway without grace, and gives a gateway that has one "
    "pod a second one for some seconds to kill one of two: connections through the pod break. A "
    "pod that has no second one beside it is killed only with --mesh-allow=single-gateways",
    explained_by=(
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-EASTWEST-003",
        "MC-EASTWEST-004",
        "MC-DISCOVERY-002",
        "MC-DISCOVERY-003",
    ),
)
def gateway_pod_lost(here: Here, losses: Sequence[GatewayLoss]) -> Verdict:
    """The requests are for a service that only that gateway leads to.

    Connections that clients' proxies keep through a pod die with it. Requests that find that out
    fail by Istio's defaults (a connection that is reset is no reason for it to try again), so that
    none fails only where a VirtualService has ``retryOn: reset``: that is judged.
    """
    found: list[Found] = []
    told = []
    for loss in losses:
        for purpose in (Purpose.ONLY, Purpose.RETRIED):
            spared = loss.replicas > 1 and purpose is Purpose.RETRIED
            for flow in flows(loss.timeline, purpose):
                found += fair(_judged(here, loss, flow, spared=spared), loss.machine)
        pods = f"one of {loss.replicas} pods" if loss.replicas > 1 else "its only pod"
        told.append(
            f"{loss.network}'s gateway lost {pods}, and had as many as before after "
            f"{loss.whole_seconds:.1f} s: {_count(loss, Purpose.RETRIED)} with retries on reset, "
            f"{_count(loss, Purpose.ONLY)} with Istio's default retries"
        )
    if not losses:
        found.append(Gap("no gateway pod was lost"))
    verdict = verdict_from(found, "; ".join(told))
    for loss in losses:
        title = f"one of {loss.replicas} gateway pods lost"
        verdict = verdict.with_timeline(title, loss.timeline)
    return verdict


def _count(loss: GatewayLoss, purpose: Purpose) -> str:
    sent = [flow.between(loss.began, flow.ended) for flow in flows(loss.timeline, purpose)]
    gap = max((flow.longest_gap_seconds for flow in sent), default=0.0)
    failed = sum(len(flow.failures) for flow in sent)
    total = sum(len(flow.records) for flow in sent)
    return f"{failed} of {total} requests failed, at most {gap:.1f} s without an answer,"


def _judged(here: Here, loss: GatewayLoss, flow: Flow, *, spared: bool) -> Iterator[Found]:
    before, after = flow.between(flow.began, loss.began), flow.between(loss.began, flow.ended)
    failures, within = after.failures, here.timeouts.endpoint_propagation
    if before.failures or not before.records:
        seen = failed_as(before.failures) or "nothing was sent"
        yield Gap(f"{flow.name}: {seen}, before anything was lost")
        return
    if failures and (reason := starved(after, loss.machine)):
        yield Gap(reason)
        return
    get_pods = Commands(here.snapshot).kubectl(
        loss.cluster, "get pods --all-namespaces -l istio=eastwestgateway -o wide"
    )
    if spared and failures:
        gap = f"longest time without an answer {after.longest_gap_seconds:.1f} s"
        yield Finding(
            f"{flow.source}: {len(failures)} of {len(after.records)} requests failed, though with "
            f"retries, when one of {loss.replicas} gateway pods was lost",
            clusters=(flow.source, loss.cluster),
            expected="no failed request: the other pods take over",
            seen=f"{failed_as(failures)}; {gap}",
            remedy=get_pods,
            fault="gateway-loss-fails-requests",
        )
    steady = flow.steady_from(STEADY, after=loss.began)
    last = max((record.answered_at for record in failures), default=loss.began) - loss.began
    if steady is None or not ends_steady(flow) or last > within + loss.whole_seconds:
        yield Finding(
            f"{flow.source} does not get through the gateway of {loss.network} again "
            "after the loss of a pod",
            clusters=(flow.source, loss.cluster),
            expected=f"no failed request from {within:g} s after the new pod is ready",
            seen=f"{failed_as(failures)}; the last one {last:.1f} s after the loss",
            remedy=get_pods,
            fault="gateway-loss-lasts",
        )
