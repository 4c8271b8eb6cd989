"""Judges of a watched change: what was lost, and what was worse meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...counted import Count
from ...verdicts import Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, Gap, verdict_from
from ..site import Here
from . import control_planes
from .facts import NO_CHANGE, Watched
from .losses import losses, told
from .observe import watched

_CANARY = "https://istio.io/latest/docs/setup/upgrade/canary/"
_RETRIES = (
    "https://istio.io/latest/docs/concepts/traffic-management/#network-resilience-and-testing"
)
_INJECTION = "https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/"
_MODELS = "https://istio.io/latest/docs/ops/deployment/deployment-models/"


def _traffic(here: Here, seen: Watched | None, wanted: Callable[[Count], bool]) -> Verdict:
    if seen is None:
        return not_applicable(NO_CHANGE)
    return verdict_from(losses(here, seen, wanted), told(seen, wanted), pairs=_pairs(seen, wanted))


def _pairs(seen: Watched, wanted: Callable[[Count], bool]) -> list[str]:
    return list(dict.fromkeys(count.pair for count in seen.counts if wanted(count)))


@check(
    "MC-UPGRADE-101",
    "While the mesh is changed, no request is lost that proxies may retry as Istio has them do.",
    spec_url=_CANARY,
    sees=watched,
    watches=True,
)
def requests_go_on(here: Here, seen: Watched | None) -> Verdict:
    """HTTP, HTTP/2 and TCP, on new and kept connections, between all clusters and within each."""
    return _traffic(here, seen, lambda count: count.retried and not count.stream)


@check(
    "MC-UPGRADE-102",
    "While the mesh is changed, no request is lost that nobody retries.",
    spec_url=_RETRIES,
    sees=watched,
    explained_by=("MC-UPGRADE-101",),
    watches=True,
)
def unretried_requests_go_on(here: Here, seen: Watched | None) -> Verdict:
    """What Istio's own retries hide is lost for requests that must not be sent twice."""
    return _traffic(here, seen, lambda count: not count.retried)


@check(
    "MC-UPGRADE-103",
    "While the mesh is changed, streams between clusters and within each are not cut.",
    spec_url=_CANARY,
    sees=watched,
    explained_by=("MC-UPGRADE-101",),
    watches=True,
)
def streams_go_on(here: Here, seen: Watched | None) -> Verdict:
    """One long-lived TCP connection for each pair, with a line out and back at every beat."""
    return _traffic(here, seen, lambda count: count.stream)


def _sampled(
    here: Here,
    seen: Watched | None,
    judge: Callable[[Here, Watched], Iterator[Found]],
    passed: Callable[[Watched], str],
) -> Verdict:
    if seen is None:
        return not_applicable(NO_CHANGE)
    if seen.command.problem:
        return verdict_from([Gap(seen.command.failure)], "")
    return verdict_from(judge(here, seen), passed(seen))


@check(
    "MC-UPGRADE-104",
    "While the mesh is changed, new pods go on being given their sidecars.",
    spec_url=_INJECTION,
    sees=watched,
    watches=True,
)
def injection_goes_on(here: Here, seen: Watched | None) -> Verdict:
    """A pod is admitted in a dry run every two seconds in every cluster."""
    return _sampled(here, seen, control_planes.injection, control_planes.injection_told)


@check(
    "MC-UPGRADE-105",
    "While the mesh is changed, control planes and proxies keep every remote cluster's endpoints "
    "and gateways.",
    spec_url=_MODELS,
    sees=watched,
    watches=True,
)
def endpoints_stay(here: Here, seen: Watched | None) -> Verdict:
    """Endpoints of clients' proxies, gateways and remote clusters of istiods, never fewer."""
    return _sampled(here, seen, control_planes.reach, control_planes.reach_told)


@check(
    "MC-UPGRADE-106",
    "While the mesh is changed, no istiod crashes, and no proxy refuses its configuration or lacks "
    "a part of it afterwards.",
    spec_url=_CANARY,
    sees=watched,
    watches=True,
)
def configuration_stays(here: Here, seen: Watched | None) -> Verdict:
    """Restarts of istiods' containers, refused configuration, Envoy clusters before and after."""
    return _sampled(here, seen, control_planes.configuration, control_planes.configuration_told)
