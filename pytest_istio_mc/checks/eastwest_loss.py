"""The loss of an east-west gateway's pod."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..evidence.pictures import timeline_evidence
from ..eventually import Timeouts
from ..mesh import Mesh
from ..outages import STEADY, GatewayLoss
from ..spec import Feature
from ..timelines import Flow
from ..verdicts import Finding, Verdict
from .apiserver_loss import failed_as, starved
from .catalogue import Kind, Profile, check
from .judging import Found, Gap, settle
from .live import kubectl


@check(
    "MC-EASTWEST-008",
    "When one pod of an east-west gateway is lost, no request fails if it has another one, and requests get through again soon if not.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=(Feature.MULTI_NETWORK, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-networks",
    explained_by=("MC-EASTWEST-001", "MC-EASTWEST-002", "MC-EASTWEST-003", "MC-EASTWEST-004", "MC-DISCOVERY-002", "MC-DISCOVERY-003"),
)
def gateway_pod_lost(mesh: Mesh, losses: Sequence[GatewayLoss], timeouts: Timeouts) -> Verdict:
    """The requests are for a service that only that gateway leads to."""
    found: list[Found] = []
    told = []
    for loss in losses:
        flows = [flow.between(loss.began, flow.ended) for flow in loss.timeline.flows]
        found += [item for flow in loss.timeline.flows for item in _judged(mesh, loss, flow, timeouts)]
        failed, sent = sum(len(flow.failures) for flow in flows), sum(len(flow.records) for flow in flows)
        gap = max((flow.longest_gap_seconds for flow in flows), default=0.0)
        pods = f"{loss.replicas} pods" if loss.replicas > 1 else "its only pod"
        told.append(
            f"{loss.network}'s gateway lost {'one of ' if loss.replicas > 1 else ''}{pods}: {failed} of {sent} requests failed, the longest "
            f"time without an answer was {gap:.1f} s, as many pods as before after {loss.whole_seconds:.1f} s"
        )
    if not losses:
        found.append(Gap("no gateway pod was lost"))
    evidence = [item for loss in losses for item in timeline_evidence(loss.timeline, f"one of {loss.replicas} gateway pods lost")]
    return settle(found, "; ".join(told)).with_evidence(*evidence)


def _judged(mesh: Mesh, loss: GatewayLoss, flow: Flow, timeouts: Timeouts) -> Iterator[Found]:
    before, after = flow.between(flow.began, loss.began), flow.between(loss.began, flow.ended)
    if before.failures or not before.records:
        yield Gap(f"{flow.name}: {failed_as(before.failures) or 'nothing was sent'}, before anything was lost")
        return
    if after.failures and (reason := starved(after)):
        yield Gap(reason)
        return
    get_pods = kubectl(mesh, loss.cluster, "get pods --all-namespaces -l istio=eastwestgateway -o wide")
    if loss.replicas > 1 and after.failures:
        yield Finding(
            f"{flow.source}: {len(after.failures)} of {len(after.records)} requests failed when one of {loss.replicas} gateway pods was lost",
            clusters=(flow.source, loss.cluster),
            expected="no failed request: the other pods take over",
            seen=f"{failed_as(after.failures)}; longest time without an answer {after.longest_gap_seconds:.1f} s",
            remedy=get_pods,
            fault="gateway-loss-fails-requests",
        )
    steady = flow.steady_from(STEADY, after=loss.began)
    last = max((record.answered_at for record in after.failures), default=loss.began)
    back = None if steady is None or not _ends_well(flow) else last - loss.began
    if back is None or back > timeouts.endpoint_propagation + loss.whole_seconds:
        yield Finding(
            f"{flow.source} does not get through the gateway of {loss.network} again after the loss of a pod",
            clusters=(flow.source, loss.cluster),
            expected=f"no failed request from {timeouts.endpoint_propagation:g} s after the new pod is ready",
            seen=f"{failed_as(after.failures)}; the last one {last - loss.began:.1f} s after the loss",
            remedy=get_pods,
            fault="gateway-loss-lasts",
        )


def _ends_well(flow: Flow) -> bool:
    return len(flow.records) >= STEADY and all(record.succeeded for record in flow.records[-STEADY:])
