"""Requests that routes led as they should, for the tests of judges to spoil."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_istio_mc.checks.cluster_local.facts import (
    ALL_LOCAL,
    BEFORE,
    CASES,
    IN_NAMED_NAMESPACE,
    LIFTED,
    NAMED_ALONE,
    NAMED_IN_ONE,
    SOME_LOCAL,
    ClusterLocal,
)
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Request
from pytest_istio_mc.samples import Sample, Stage
from tests.checks.live_mesh import answer, failed, request

EACH = 12


def sample(
    of: Mesh,
    source: str,
    case: str,
    expected: Sequence[str],
    answered: Sequence[str] | None = None,
    role: str = "",
) -> Sample:
    """A sample that the ``answered`` clusters answer evenly, by default those that should."""
    goals = expected if answered is None else answered
    requests = [request(of, source, goal) for goal in goals for _ in range(EACH // len(goals))]
    if role:
        requests = [
            replace(one, answer=answer(of, one.answer.cluster, source, role=role))
            for one in requests
            if one.answer
        ]
    sent = tuple(requests or refusals(of, source))
    return Sample(
        source, case, f"{case.replace(' ', '-')}.istio-mc-test", tuple(expected), sent, role
    )


def refusals(of: Mesh, source: str, count: int = EACH) -> list[Request]:
    """Requests for which no instance is known."""
    return [failed(of, source, 503, "no healthy upstream")] * count


def unknown_at_gateway(of: Mesh, source: str) -> list[Request]:
    """Requests that a gateway has no filter chain for."""
    error = "upstream connect error or disconnect/reset before headers. reset reason: "
    return [failed(of, source, 503, error + "connection termination")] * 5


def spoiled(stage: Stage, source: str, case: str, requests: Iterable[Request]) -> Stage:
    """The stage with other requests in one sample."""
    (wanted,) = (one for one in stage.samples if (one.source, one.case) == (source, case))
    changed = replace(wanted, requests=tuple(requests))
    return replace(stage, samples=tuple(changed if one is wanted else one for one in stage.samples))


def cluster_local(of: Mesh) -> ClusterLocal:
    """A healthy pass.

    One service and one namespace are local everywhere, one service in the first control plane's
    clusters; then all services are, then none.
    """
    names = [cluster.name for cluster in of.spec.data_planes]
    first = of.spec.control_planes[0]
    told = [cluster.name for cluster in of.spec.served_by(first)]
    some = {NAMED_ALONE: names, IN_NAMED_NAMESPACE: names, NAMED_IN_ONE: told}
    local: dict[str, dict[str, list[str]]] = {
        BEFORE: {},
        SOME_LOCAL: some,
        ALL_LOCAL: dict.fromkeys(CASES, names),
        LIFTED: {},
    }

    def got(source: str, case: str, kept: dict[str, list[str]]) -> Sample:
        return sample(of, source, case, [source] if source in kept.get(case, ()) else names)

    stages = tuple(
        Stage(stage, tuple(got(source, case, kept) for source in names for case in CASES), 0.5)
        for stage, kept in local.items()
    )
    changed = {plane.name: "istio-system/istio" for plane in of.spec.control_planes}
    return ClusterLocal(stages, changed, first.name)


def with_stage(seen: ClusterLocal, changed: Stage) -> ClusterLocal:
    """The pass with another stage of that name."""
    stages = (changed if stage.name == changed.name else stage for stage in seen.stages)
    return replace(seen, stages=tuple(stages))
