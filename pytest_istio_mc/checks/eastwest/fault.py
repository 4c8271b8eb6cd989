"""The loss of an east-west gateway's pod."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...eventually import Timeouts
from ...evidence.pictures import timeline_evidence
from ...mesh import Mesh
from ...spec import Feature
from ...timelines import Flow
from ...verdicts import Finding, Verdict
from ..apiserver.facts import STEADY, GatewayLoss, Purpose, ends_steady, flows
from ..apiserver.losses import failed_as
from ..catalogue import Kind, Profile, check
from ..judging import Found, Gap, verdict_from
from ..remedies import kubectl
from ..replies import fair, starved


@check(
    "MC-EASTWEST-008",
    "When one pod of an east-west gateway is lost, no request fails if it has another one, and requests get through again soon if not.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=(Feature.MULTI_NETWORK, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-networks",
    explained_by=(
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-EASTWEST-003",
        "MC-EASTWEST-004",
        "MC-DISCOVERY-002",
        "MC-DISCOVERY-003",
    ),
)
def gateway_pod_lost(mesh: Mesh, losses: Sequence[GatewayLoss], timeouts: Timeouts) -> Verdict:
    """The requests are for a service that only that gateway leads to.

    Connections that clients' proxies keep through a pod die with it. Requests that find that out fail by Istio's defaults (a connection
    that is reset is no reason for it to try again), so that none fails only where a VirtualService has ``retryOn: reset``: that is judged.
    """
    found: list[Found] = []
    told = []
    for loss in losses:
        for purpose in (Purpose.ONLY, Purpose.RETRIED):
            for flow in flows(loss.timeline, purpose):
                judged = _judged(
                    mesh,
                    loss,
                    flow,
                    timeouts,
                    spared=loss.replicas > 1 and purpose is Purpose.RETRIED,
                )
                found += fair(judged, loss.machine)
        pods = f"one of {loss.replicas} pods" if loss.replicas > 1 else "its only pod"
        told.append(
            f"{loss.network}'s gateway lost {pods}, and had as many as before after {loss.whole_seconds:.1f} s: "
            f"{_count(loss, Purpose.RETRIED)} with retries on reset, {_count(loss, Purpose.ONLY)} with Istio's default retries"
        )
    if not losses:
        found.append(Gap("no gateway pod was lost"))
    evidence = [
        item
        for loss in losses
        for item in timeline_evidence(loss.timeline, f"one of {loss.replicas} gateway pods lost")
    ]
    return verdict_from(found, "; ".join(told)).with_evidence(*evidence)


def _count(loss: GatewayLoss, purpose: Purpose) -> str:
    sent = [flow.between(loss.began, flow.ended) for flow in flows(loss.timeline, purpose)]
    gap = max((flow.longest_gap_seconds for flow in sent), default=0.0)
    failed = sum(len(flow.failures) for flow in sent)
    return f"{failed} of {sum(len(flow.records) for flow in sent)} requests failed, at most {gap:.1f} s without an answer,"


def _judged(
    mesh: Mesh, loss: GatewayLoss, flow: Flow, timeouts: Timeouts, *, spared: bool
) -> Iterator[Found]:
    before, after = flow.between(flow.began, loss.began), flow.between(loss.began, flow.ended)
    if before.failures or not before.records:
        yield Gap(
            f"{flow.name}: {failed_as(before.failures) or 'nothing was sent'}, before anything was lost"
        )
        return
    if after.failures and (reason := starved(after, loss.machine)):
        yield Gap(reason)
        return
    get_pods = kubectl(
        mesh, loss.cluster, "get pods --all-namespaces -l istio=eastwestgateway -o wide"
    )
    if spared and after.failures:
        yield Finding(
            f"{flow.source}: {len(after.failures)} of {len(after.records)} requests failed, though with retries, when one of "
            f"{loss.replicas} gateway pods was lost",
            clusters=(flow.source, loss.cluster),
            expected="no failed request: the other pods take over",
            seen=f"{failed_as(after.failures)}; longest time without an answer {after.longest_gap_seconds:.1f} s",
            remedy=get_pods,
            fault="gateway-loss-fails-requests",
        )
    steady = flow.steady_from(STEADY, after=loss.began)
    last = max((record.answered_at for record in after.failures), default=loss.began)
    back = None if steady is None or not ends_steady(flow) else last - loss.began
    if back is None or back > timeouts.endpoint_propagation + loss.whole_seconds:
        yield Finding(
            f"{flow.source} does not get through the gateway of {loss.network} again after the loss of a pod",
            clusters=(flow.source, loss.cluster),
            expected=f"no failed request from {timeouts.endpoint_propagation:g} s after the new pod is ready",
            seen=f"{failed_as(after.failures)}; the last one {last - loss.began:.1f} s after the loss",
            remedy=get_pods,
            fault="gateway-loss-lasts",
        )
