"""The loss of a cluster's API server: what must go on, what may be lost, what tells of it, and how the mesh gets over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...errors import ObservationError
from ...eventually import Timeouts
from ...evidence.pictures import timeline_evidence
from ...mesh import Mesh
from ...spec import Feature, Role
from ...timelines import Flow, Record
from ...verdicts import Evidence, Finding, Verdict, not_applicable
from ..catalogue import BELOW_TRAFFIC, Kind, Profile, check
from ..judging import Found, Gap, verdict_from
from ..remedies import kubectl
from ..replies import fair, pair_names, starved
from .facts import STARTING_SECONDS, How, Isolation, Loss, Purpose, Return, flows
from .losses import (
    failed_as,
    failed_requests,
    judged_pushes,
    loss_in_words,
    not_returned,
    seconds_in_words,
    traffic_in_words,
    untouched,
)

DEPLOYMENT_MODELS = "https://istio.io/latest/docs/ops/deployment/deployment-models/"
REMOTE_SECRETS = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/#enable-endpoint-discovery"
PILOT_DISCOVERY = "https://istio.io/latest/docs/reference/commands/pilot-discovery/"
OUTLIER_DETECTION = (
    "https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection"
)
MONITORING = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"

SHARED = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)
BELOW = (
    "MC-ACCESS-006",
    "MC-DISCOVERY-001",
    "MC-DISCOVERY-002",
    "MC-DISCOVERY-003",
    "MC-EASTWEST-003",
    *BELOW_TRAFFIC,
)
STOPPING = ("stop-component",)
KILLING = ("kill-component",)

EJECTED_SECONDS = 6.0
"""How long an endpoint that died may still be tried: until it got three of ten requests a second, and Envoy's own second, with room to
spare: even one of three endpoints gets three of fifty but for one time in two million."""
CHANGE_SECONDS = 3.0
"""How long a change of remote secrets takes until every proxy has it, with room to spare."""

NOBODY = "no control plane watches a cluster elsewhere, so none of them depends on another cluster's API server"


@check(
    "MC-APISERVER-001",
    "While a cluster's API server is lost, traffic to, from and between all clusters goes on without a failed request.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    needs=KILLING,
    spec_url=DEPLOYMENT_MODELS,
    explained_by=BELOW,
)
def traffic_goes_on(mesh: Mesh, loss: Loss | None) -> Verdict:
    """New connections, kept ones and streams, from every cluster, through the whole loss and the recovery."""
    if loss is None:
        return not_applicable(NOBODY)
    otherwise = f"{loss_in_words(loss)}: {traffic_in_words(loss)}"
    return _judged(mesh, loss, untouched(mesh, loss), otherwise)


@check(
    "MC-APISERVER-002",
    "Endpoints that die while their cluster's API server is lost are ejected by outlier detection, after few failed requests.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    needs=KILLING,
    spec_url=OUTLIER_DETECTION,
    explained_by=(*BELOW, "MC-APISERVER-001"),
)
def dead_endpoints_ejected(mesh: Mesh, loss: Loss | None) -> Verdict:
    """No control plane can know that they died: only the proxies that try them do. The service has outlier detection with
    ``maxEjectionPercent: 100``; the default, 10, ejects none of a few endpoints.

    Where several clusters are behind one gateway, a proxy in another network has only its address: it counts the errors of one cluster and
    the answers of the others as those of one endpoint. What clients there suffer is told, and not judged.
    """
    if loss is None:
        return not_applicable(NOBODY)
    if not loss.died or loss.ended - loss.died < EJECTED_SECONDS + 2:
        raise ObservationError(
            f"cluster {loss.lost}",
            "the death of an endpoint",
            "it did not come early enough in the loss to be judged",
        )
    found: list[Found] = []
    errors: list[str] = []
    slowest = 0.0
    for flow in flows(loss.timeline, Purpose.DYING):
        after = flow.between(loss.died, loss.ended)
        judged = mesh.spec.seen_alone(loss.lost, flow.source)
        errors.append(
            f"{flow.source} {len(after.failures)}{'' if judged else ' (through a shared gateway)'}"
        )
        if not judged:
            continue
        if loss.lost not in flow.between(flow.began, loss.died).answered_by():
            found.append(
                Gap(
                    f"{flow.source} was not answered by the endpoint before it died, so that its end shows nothing"
                )
            )
        last = max((record.answered_at - loss.died for record in after.failures), default=0.0)
        slowest = max(slowest, last)
        found += _ejected(mesh, loss, after, last)
    otherwise = (
        f"an endpoint died in {loss.lost} {loss.died - loss.began:.1f} s into the loss: failed requests by client {', '.join(errors)}, "
        f"the last one {slowest:.1f} s after its death, then none for {loss.ended - loss.died - slowest:.1f} s (3 errors in a row eject)"
    )
    return _judged(mesh, loss, found, otherwise)


def _ejected(mesh: Mesh, loss: Loss, after: Flow, last: float) -> Iterator[Found]:
    if last <= EJECTED_SECONDS:
        return
    if reason := starved(after, loss.machine):
        yield Gap(reason)
        return
    yield Finding(
        f"{after.source} still tries an endpoint in {loss.lost} {last:.1f} s after its death",
        clusters=tuple(dict.fromkeys((after.source, loss.lost))),
        expected=f"no failed request from {EJECTED_SECONDS:g} s after it on",
        seen=failed_as(after.failures),
        remedy=kubectl(mesh, after.source, "get destinationrules --all-namespaces -o yaml")
        + "  # outlierDetection with maxEjectionPercent: 100",
        fault="dead-endpoint-not-ejected",
    )


@check(
    "MC-APISERVER-003",
    "While a cluster's API server is lost, the control planes elsewhere go on giving new configuration to their own proxies.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    needs=KILLING,
    spec_url=DEPLOYMENT_MODELS,
    explained_by=(*BELOW, "MC-CONTROL-005", "MC-CONTROL-009"),
)
def configuration_goes_on(mesh: Mesh, loss: Loss | None, timeouts: Timeouts) -> Verdict:
    """A route that is applied in another cluster during the loss is in force in every proxy that its control plane serves."""
    if loss is None:
        return not_applicable(NOBODY)
    found, taken = judged_pushes(mesh, loss, timeouts)
    otherwise = f"{loss_in_words(loss)}: a route applied meanwhile was in force in {seconds_in_words(taken)}"
    return _judged(mesh, loss, found, otherwise)


@check(
    "MC-APISERVER-004",
    "An istiod that starts while another cluster's API server is lost becomes ready without it, within PILOT_REMOTE_CLUSTER_TIMEOUT.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    needs=STOPPING,
    spec_url=PILOT_DISCOVERY,
    explained_by=BELOW,
)
def restarted_control_plane(mesh: Mesh, loss: Loss | None) -> Verdict:
    """It says of the cluster that it is not synchronised, and nobody's requests fail meanwhile."""
    if loss is None:
        return not_applicable(NOBODY)
    restart = loss.restart
    if restart is None:
        raise ObservationError("a control plane", "restarted during the loss", "it was not")
    found: list[Found] = []
    allowed = restart.timeout_seconds + STARTING_SECONDS
    logs = kubectl(
        mesh, restart.plane, f"-n {mesh.spec.istio_namespace} logs deployment/istiod --tail=50"
    )
    if restart.ready_seconds is None or restart.ready_seconds > allowed:
        took = (
            "never"
            if restart.ready_seconds is None
            else f"only {restart.ready_seconds:.1f} s after the old one ended"
        )
        found.append(
            Finding(
                f"istiod of {restart.plane}, restarted while {loss.lost} was lost, became ready {took}",
                clusters=(restart.plane, loss.lost),
                expected=f"ready within {allowed:g} s: PILOT_REMOTE_CLUSTER_TIMEOUT is {restart.timeout_seconds:g} s, plus its start",
                seen="not ready"
                if restart.ready_seconds is None
                else f"{restart.ready_seconds:.1f} s",
                remedy=logs,
                fault="istiod-blocked-by-lost-cluster",
            )
        )
    elif restart.status == "synced":
        found.append(
            Finding(
                f"istiod of {restart.plane} claims to be in sync with {loss.lost}, which it has never reached",
                clusters=(restart.plane, loss.lost),
                expected="a status other than synced (timeout, syncing)",
                seen=restart.status,
                remedy=kubectl(
                    mesh,
                    restart.plane,
                    f"-n {mesh.spec.istio_namespace} get secrets -l istio/multiCluster=true",
                ),
                fault="status-claims-synced",
            )
        )
    found += untouched(mesh, loss, go_on=False)
    drained = (
        f"; {loss.lost} last answered its proxies {restart.last_answer_seconds:.1f} s after it"
        if restart.last_answer_seconds
        else ""
    )
    otherwise = (
        f"{loss_in_words(loss)}: istiod of {restart.plane} was ready {restart.ready_seconds or 0:.1f} s after the restart (timeout "
        f"{restart.timeout_seconds:g} s) and says {restart.status or 'nothing'} of {loss.lost}{drained}; {traffic_in_words(loss)}"
    )
    return _judged(mesh, loss, found, otherwise)


@check(
    "MC-APISERVER-005",
    "That a cluster's API server is lost can be told from a status, a metric or a log of the control planes elsewhere.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    needs=STOPPING,
    spec_url=MONITORING,
    explained_by=("MC-ACCESS-001", "MC-ACCESS-006", "MC-APISERVER-004"),
)
def visible(mesh: Mesh, refused: Loss | None, hung: Loss | None) -> Verdict:
    """Which of them tell, after how long, and which do not. What counts is what can be read while it is lost: not in that cluster."""
    if refused is None or hung is None:
        return not_applicable(NOBODY)
    found: list[Found] = []
    told = [sign for loss in (refused, hung) for sign in loss.signs if not sign.lost_cluster]
    status = hung.restart.status if hung.restart else ""
    if not told and status in ("", "synced"):
        found.append(
            Finding(
                f"nothing that the control planes elsewhere say tells that the API server of {refused.lost} is lost",
                clusters=(*refused.planes, refused.lost),
                expected="a status other than synced, a metric that moves, or a line in a log",
                seen=f"{'; '.join((*refused.statuses, *hung.statuses))}; nothing in metrics and logs in {refused.seconds:.0f} and "
                f"{hung.seconds:.0f} s",
                remedy=f"istioctl --context={mesh.spec.cluster(refused.planes[0]).context} remote-clusters  # and probe the API server",
                fault="loss-is-silent",
            )
        )
    otherwise = f"{_told(refused)}. {_told(hung)}"
    return verdict_from(found, otherwise, pairs=pair_names(mesh)).with_evidence(*_evidence(refused))


@check(
    "MC-APISERVER-006",
    "When a lost API server is back, endpoints of its cluster are seen everywhere again, without a restart of anything.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    needs=KILLING,
    spec_url=REMOTE_SECRETS,
    explained_by=(*BELOW, "MC-DISCOVERY-004"),
)
def converges_again(mesh: Mesh, loss: Loss | None, timeouts: Timeouts) -> Verdict:
    """An endpoint that the cluster gets right after the loss answers clients in every cluster."""
    if loss is None:
        return not_applicable(NOBODY)
    found: list[Found] = list(not_returned(mesh, loss, timeouts))
    for pod in loss.restarted:
        cluster = pod.partition(":")[0]
        found.append(
            Finding(
                f"a control plane was restarted by the loss: {pod}",
                clusters=(cluster, loss.lost),
                expected="the same pods as before, none of their containers restarted",
                seen=pod,
                remedy=kubectl(
                    mesh,
                    cluster,
                    f"-n {mesh.spec.istio_namespace} logs deployment/istiod --previous",
                ),
                fault="istiod-restarted-by-loss",
            )
        )
    taken = _seconds(loss.returns)
    late = {
        entry.source: entry.after_endpoint_seconds
        for entry in loss.returns
        if entry.after_endpoint_seconds is not None
    }
    otherwise = (
        f"{loss_in_words(loss)}: an endpoint added there afterwards answered {seconds_in_words(taken)} after the loss was mended, "
        f"{max(late.values(), default=0.0):.1f} s at most after it was there; no istiod was restarted"
    )
    return _judged(mesh, loss, found, otherwise)


@check(
    "MC-APISERVER-007",
    "Removing a cluster's remote secrets takes it out of traffic, adding them brings it back, and no request fails in the other clusters.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    spec_url=REMOTE_SECRETS,
    explained_by=BELOW,
)
def isolation(mesh: Mesh, isolated: Isolation | None, timeouts: Timeouts) -> Verdict:
    """How to isolate a cluster, and how to bring it back.

    The control plane that serves a remote cluster forgets with its secret also what the remote's own pods serve, at the same moment as it
    tells all others to send nothing more: requests that are on their way then are answered with 503 by the sidecar there. For a cluster
    without a control plane of its own these are counted, and not held against the mesh.
    """
    if isolated is None:
        return not_applicable(NOBODY)
    found: list[Found] = []
    budget, cluster = timeouts.endpoint_propagation, isolated.cluster
    for entry, what, done, fault in (
        *(
            (entry, "still sends requests to", "removed", "isolation-does-not-drain")
            for entry in isolated.drained
        ),
        *(
            (entry, "does not send requests again to", "added again", "isolation-does-not-end")
            for entry in isolated.returns
        ),
    ):
        if entry.seconds is None or entry.seconds > budget:
            seen = "never" if entry.seconds is None else f"{entry.seconds:.1f} s"
            found.append(
                Finding(
                    f"{entry.source} {what} {cluster} {budget:g} s after its remote secrets were {done}",
                    clusters=(entry.source, cluster),
                    expected=f"within {budget:g} s",
                    seen=seen,
                    remedy=f"istioctl --context={mesh.spec.cluster(entry.source).context} remote-clusters",
                    fault=fault,
                )
            )
    own = spared = 0
    for flow in flows(isolated.timeline, Purpose.PLAIN):
        if flow.source == cluster:
            own += len(flow.failures)
            continue
        kept = flow
        if mesh.spec.cluster(cluster).role is not Role.PRIMARY:
            kept = replace(
                flow,
                records=tuple(
                    record
                    for record in flow.records
                    if record.succeeded or not _changing(isolated, record)
                ),
            )
            spared += len(flow.failures) - len(kept.failures)
        found += failed_requests(
            mesh,
            kept,
            f"{cluster} was taken out of the mesh and brought back",
            (flow.source, cluster),
            isolated.machine,
        )
    drained = _seconds(isolated.drained)
    back = _seconds(isolated.returns)
    otherwise = (
        f"{cluster} isolated: the last answer from it {seconds_in_words(drained)} after its remote secrets were removed; the first one "
        f"{seconds_in_words(back)} after they were added again; {spared} failed requests elsewhere"
        f"{', all in the moments of change' if spared else ''}, {own} from {cluster} itself"
    )
    verdict = verdict_from(fair(found, isolated.machine), otherwise, pairs=pair_names(mesh))
    return verdict.with_evidence(*timeline_evidence(isolated.timeline, "time line of isolation"))


def _changing(isolated: Isolation, record: Record) -> bool:
    """Whether a request was sent while a remote cluster's secret had just been removed, or added again."""
    return any(
        0 <= record.answered_at - when <= CHANGE_SECONDS
        for when in (isolated.began, isolated.ended)
    )


@check(
    "MC-APISERVER-008",
    "Remote clusters go on without their own API server, and without their primary's API server and control plane.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=(*SHARED, Feature.REMOTE_CLUSTERS),
    needs=(*KILLING, "block-address"),
    spec_url=DEPLOYMENT_MODELS,
    explained_by=BELOW,
)
def remotes_go_on(mesh: Mesh, remote: Loss | None, primary: Loss | None) -> Verdict:
    """Two losses one after the other: that of the remote's API server, and that of the primary's, whose control plane the remote's proxies
    cannot reach meanwhile."""
    if remote is None or primary is None:
        return not_applicable("no remote cluster is served by a control plane elsewhere")
    found = [
        *fair(untouched(mesh, remote), remote.machine),
        *fair(untouched(mesh, primary), primary.machine),
    ]
    otherwise = f"{loss_in_words(remote)}: {traffic_in_words(remote)}. {loss_in_words(primary)}, its control plane out of reach: {traffic_in_words(primary)}"
    return verdict_from(found, otherwise, pairs=pair_names(mesh)).with_evidence(
        *_evidence(remote), *_evidence(primary)
    )


@check(
    "MC-APISERVER-009",
    "An API server that hangs, taking connections and never answering, does no more harm than one that is gone.",
    kind=Kind.FAULT,
    profile=Profile.EXTENDED,
    requires=SHARED,
    needs=STOPPING,
    spec_url=DEPLOYMENT_MODELS,
    explained_by=(*BELOW, "MC-APISERVER-001", "MC-APISERVER-003"),
)
def hanging(mesh: Mesh, loss: Loss | None, timeouts: Timeouts) -> Verdict:
    """Traffic goes on, configuration elsewhere does, and endpoints converge afterwards."""
    if loss is None:
        return not_applicable(NOBODY)
    pushed, taken = judged_pushes(mesh, loss, timeouts)
    found = [*untouched(mesh, loss, go_on=False), *pushed, *not_returned(mesh, loss, timeouts)]
    back = _seconds(loss.returns)
    otherwise = f"{loss_in_words(loss)}: {traffic_in_words(loss)}; a route was in force in {seconds_in_words(taken)}; new endpoint after {seconds_in_words(back)}"
    return _judged(mesh, loss, found, otherwise)


def _told(loss: Loss) -> str:
    elsewhere = [sign for sign in loss.signs if not sign.lost_cluster]
    own = [sign for sign in loss.signs if sign.lost_cluster]
    parts = [
        f"{sign.kind} of {sign.istiod} after {sign.after_seconds:.0f} s: {sign.text[:120]}"
        for sign in elsewhere[:3]
    ]
    if not elsewhere:
        parts.append(
            f"no status, metric or log elsewhere in {loss.seconds:.0f} s ({'; '.join(loss.statuses) or 'no status known'})"
        )
    if loss.restart:
        metrics = f", {loss.restart.metrics[0]}" if loss.restart.metrics else ""
        parts.append(
            f"istiod of {loss.restart.plane}, restarted meanwhile, says {loss.restart.status or 'nothing'}{metrics}"
        )
    if own:
        parts.append(
            f"only {loss.lost}'s own istiod logs it, after {own[0].after_seconds:.0f} s: {own[0].text[:90]}"
        )
    how = "refused" if loss.how is How.REFUSED else "hung"
    return f"{loss.lost} {how}: {'; '.join(parts)}"


def _seconds(returns: Iterable[Return]) -> dict[str, float]:
    """The times that there are, by source."""
    return {entry.source: entry.seconds for entry in returns if entry.seconds is not None}


def _judged(mesh: Mesh, loss: Loss, found: Iterable[Found], otherwise: str) -> Verdict:
    """The verdict on what was found of one loss, with its time line."""
    return verdict_from(fair(found, loss.machine), otherwise, pairs=pair_names(mesh)).with_evidence(
        *_evidence(loss)
    )


def _evidence(loss: Loss) -> tuple[Evidence, ...]:
    return timeline_evidence(
        loss.timeline, f"time line, API server of {loss.lost} {loss.how.value}"
    )
