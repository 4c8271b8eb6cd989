"""Judges of lost API servers: traffic, configuration and endpoints, meanwhile and afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from ... import shell
from ...errors import ObservationError
from ...spec import Feature, Role
from ...timelines import Flow
from ...verdicts import Finding, Verdict, not_applicable
from ..excuses import fair, starved
from ..judging import Found, Gap, pair_names, verdict_from
from ..remedies import Commands
from ..site import Here
from .facts import Loss, Purpose, flows
from .header import (
    ACROSS_CLUSTERS,
    BELOW_LOSS,
    DEPLOYMENT_MODELS,
    ENDPOINT_DISCOVERY,
    KILLING,
    NOBODY,
    STOPPING,
    apiserver,
)
from .losses import (
    delays_in_words,
    failed_as,
    judged_loss,
    loss_in_words,
    not_pushed,
    not_returned,
    pushes_in_words,
    traffic_in_words,
    untouched,
    with_pushes,
    with_time_line,
)
from .observe import hung, primary, refused

OUTLIER_DETECTION = (
    "https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection"
)
EJECTED_SECONDS = 6.0
"""How long an endpoint that died may still be tried.

Until it got three of ten requests a second, and Envoy's own second, with room to spare: even one of
three endpoints gets three of fifty but for one time in two million.
"""


@apiserver(
    "MC-APISERVER-001",
    "While a cluster's API server is lost, traffic to, from and between all clusters goes on "
    "without a failed request.",
    spec_url=DEPLOYMENT_MODELS,
    sees=refused,
    needs=KILLING,
)
def traffic_goes_on(here: Here, loss: Loss | None) -> Verdict:
    """No request fails, on new connections, kept ones and streams, until after the recovery."""
    if loss is None:
        return not_applicable(NOBODY)
    passed = f"{loss_in_words(loss)}: {traffic_in_words(loss)}"
    return judged_loss(here, loss, untouched(here, loss), passed)


@apiserver(
    "MC-APISERVER-002",
    "Endpoints that die while their cluster's API server is lost are ejected by outlier detection, "
    "after few failed requests.",
    spec_url=OUTLIER_DETECTION,
    sees=refused,
    explained_by=(*BELOW_LOSS, "MC-APISERVER-001"),
    needs=KILLING,
)
def dead_endpoints_ejected(here: Here, loss: Loss | None) -> Verdict:
    """Only the proxies that try dead endpoints can know that they died.

    - The service has outlier detection with ``maxEjectionPercent: 100``; the default, 10, ejects
      none of a few endpoints.
    - Where several clusters are behind one gateway, a proxy in another network has only its
      address: it counts the errors of one cluster and the answers of the others as those of one
      endpoint. What clients there suffer is told, and not judged.
    """
    if loss is None:
        return not_applicable(NOBODY)
    if not loss.died or loss.ended - loss.died < EJECTED_SECONDS + 2:
        problem = "it did not come early enough in the loss to be judged"
        raise ObservationError(f"cluster {loss.lost}", "the death of an endpoint", problem)
    found: list[Found] = []
    errors: list[str] = []
    slowest = 0.0
    for flow in flows(loss.timeline, Purpose.DYING):
        after = flow.between(loss.died, loss.ended)
        judged = here.mesh.spec.seen_alone(loss.lost, flow.source)
        shared = "" if judged else " (through a shared gateway)"
        errors.append(f"{flow.source} {len(after.failures)}{shared}")
        if not judged:
            continue
        if loss.lost not in flow.between(flow.began, loss.died).answered_by():
            reason = (
                "was not answered by the endpoint before it died, so that its end shows nothing"
            )
            found.append(Gap(f"{flow.source} {reason}"))
        last = max((record.answered_at - loss.died for record in after.failures), default=0.0)
        slowest = max(slowest, last)
        found += _ejected(here, loss, after, last)
    quiet = loss.ended - loss.died - slowest
    passed = (
        f"an endpoint died in {loss.lost} {loss.died - loss.began:.1f} s into the loss: "
        f"failed requests by client {', '.join(errors)}, the last one {slowest:.1f} s after "
        f"its death, then none for {quiet:.1f} s (3 errors in a row eject)"
    )
    return judged_loss(here, loss, found, passed)


def _ejected(here: Here, loss: Loss, after: Flow, last: float) -> Iterator[Found]:
    if last <= EJECTED_SECONDS:
        return
    if reason := starved(after, loss.machine):
        yield Gap(reason)
        return
    rules = Commands(here.snapshot).kubectl(
        after.source, "get destinationrules --all-namespaces -o yaml"
    )
    yield Finding(
        f"{after.source} still tries an endpoint in {loss.lost} {last:.1f} s after its death",
        clusters=tuple(dict.fromkeys((after.source, loss.lost))),
        expected=f"no failed request from {EJECTED_SECONDS:g} s after it on",
        seen=failed_as(after.failures),
        remedy=shell.with_note(rules, "outlierDetection with maxEjectionPercent: 100"),
        fault="dead-endpoint-not-ejected",
    )


@apiserver(
    "MC-APISERVER-003",
    "While a cluster's API server is lost, the control planes elsewhere go on giving new "
    "configuration to their own proxies.",
    spec_url=DEPLOYMENT_MODELS,
    sees=refused,
    explained_by=(*BELOW_LOSS, "MC-CONTROL-005", "MC-CONTROL-009"),
    needs=KILLING,
)
def configuration_goes_on(here: Here, loss: Loss | None) -> Verdict:
    """A route applied elsewhere meanwhile is in force in that control plane's proxies."""
    if loss is None:
        return not_applicable(NOBODY)
    pushed = f"a route applied meanwhile was in force in {pushes_in_words(loss)}"
    passed = f"{loss_in_words(loss)}: {pushed}"
    return with_pushes(judged_loss(here, loss, not_pushed(here, loss), passed), loss)


@apiserver(
    "MC-APISERVER-006",
    "When a lost API server is back, endpoints of its cluster are seen everywhere again, without "
    "a restart of anything.",
    spec_url=ENDPOINT_DISCOVERY,
    sees=refused,
    explained_by=(*BELOW_LOSS, "MC-DISCOVERY-004"),
    needs=KILLING,
)
def converges_again(here: Here, loss: Loss | None) -> Verdict:
    """An endpoint that the cluster gets right after the loss answers clients in every cluster."""
    if loss is None:
        return not_applicable(NOBODY)
    found: list[Found] = list(not_returned(here, loss))
    for pod in loss.restarted:
        cluster = pod.partition(":")[0]
        found.append(
            Finding(
                f"a control plane was restarted by the loss: {pod}",
                clusters=(cluster, loss.lost),
                expected="the same pods as before, none of their containers restarted",
                seen=pod,
                remedy=Commands(here.snapshot).istio(cluster, "logs deployment/istiod --previous"),
                fault="istiod-restarted-by-loss",
            )
        )
    late = max((entry.after_endpoint_seconds or 0.0 for entry in loss.returns), default=0.0)
    passed = (
        f"{loss_in_words(loss)}: an endpoint added there afterwards answered "
        f"{delays_in_words(loss.returns)} after the loss was mended, "
        f"{late:.1f} s at most after it was there; no istiod was restarted"
    )
    verdict = judged_loss(here, loss, found, passed)
    for entry in loss.returns:
        what = f"{entry.source} sees a new endpoint of a cluster whose API server was lost"
        verdict = verdict.with_convergence(what, entry.seconds)
    return verdict


@apiserver(
    "MC-APISERVER-008",
    "Remote clusters go on without their own API server, and without their primary's API server "
    "and control plane.",
    spec_url=DEPLOYMENT_MODELS,
    sees=(refused, primary),
    requires=(*ACROSS_CLUSTERS, Feature.REMOTE_CLUSTERS),
    needs=(*KILLING, "block-address"),
)
def remotes_go_on(here: Here, own: Loss | None, served: Loss | None) -> Verdict:
    """A remote's API server is lost, then its primary's with the control plane out of reach."""
    spec = here.mesh.spec
    if own is None or served is None or spec.cluster(own.lost).role is not Role.REMOTE:
        return not_applicable("no remote cluster is served by a control plane elsewhere")
    found = [
        *fair(untouched(here, own), own.machine),
        *fair(untouched(here, served), served.machine),
    ]
    passed = (
        f"{loss_in_words(own)}: {traffic_in_words(own)}. {loss_in_words(served)}, "
        f"its control plane out of reach: {traffic_in_words(served)}"
    )
    verdict = verdict_from(found, passed, pairs=pair_names(here.mesh))
    return with_time_line(with_time_line(verdict, own), served)


@apiserver(
    "MC-APISERVER-009",
    "An API server that hangs, taking connections and never answering, does no more harm than one "
    "that is gone.",
    spec_url=DEPLOYMENT_MODELS,
    sees=hung,
    explained_by=(*BELOW_LOSS, "MC-APISERVER-001", "MC-APISERVER-003"),
    needs=STOPPING,
)
def hanging(here: Here, loss: Loss | None) -> Verdict:
    """Traffic goes on, configuration elsewhere does, and endpoints converge afterwards."""
    if loss is None:
        return not_applicable(NOBODY)
    suffered = untouched(here, loss, go_on=False)
    found = [*suffered, *not_pushed(here, loss), *not_returned(here, loss)]
    passed = (
        f"{loss_in_words(loss)}: {traffic_in_words(loss)}; a route was in force in "
        f"{pushes_in_words(loss)}; new endpoint after {delays_in_words(loss.returns)}"
    )
    return with_pushes(judged_loss(here, loss, found, passed), loss)
