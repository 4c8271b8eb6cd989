"""Requests that routes led as they should, for the tests of judges to spoil."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_istio_mc.checks.cluster_local.facts import (
    ALL,
    BEFORE,
    CASES,
    LIFTED,
    NAMESPACE,
    ONE,
    SOLO,
    SOME,
    ClusterLocal,
)
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Request
from pytest_istio_mc.samples import Sample, Stage
from tests.checks.live_mesh import answer, failed, request

EACH = 12


def sample(
    here: Mesh,
    source: str,
    case: str,
    expected: Sequence[str],
    answered: Sequence[str] | None = None,
    role: str = "",
) -> Sample:
    """A sample in which the ``answered`` clusters answer evenly, those that should where nothing else is said."""
    goals = expected if answered is None else answered
    requests = (
        [request(here, source, goal) for goal in goals for _ in range(EACH // len(goals))]
        if goals
        else refusals(here, source)
    )
    if role:
        requests = [
            replace(one, answer=answer(here, one.answer.cluster, source, role=role))
            for one in requests
            if one.answer
        ]
    return Sample(
        source,
        case,
        f"{case.replace(' ', '-')}.istio-mc-test",
        tuple(expected),
        tuple(requests),
        role,
    )


def refusals(here: Mesh, source: str, count: int = EACH) -> list[Request]:
    """Requests for which no instance is known."""
    return [failed(here, source, 503, "no healthy upstream")] * count


def unknown_at_gateway(here: Mesh, source: str) -> list[Request]:
    """Requests that a gateway has no filter chain for."""
    return [
        failed(
            here,
            source,
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        )
    ] * 5


def spoiled(stage: Stage, source: str, case: str, requests: Iterable[Request]) -> Stage:
    """The stage with other requests in one sample."""
    wanted = [one for one in stage.samples if (one.source, one.case) == (source, case)]
    assert len(wanted) == 1, (source, case, [(one.source, one.case) for one in stage.samples])
    samples = tuple(
        replace(one, requests=tuple(requests)) if one is wanted[0] else one for one in stage.samples
    )
    return replace(stage, samples=samples)


def cluster_local(here: Mesh) -> ClusterLocal:
    """A healthy pass: one service and one namespace local everywhere, one service in the first control plane, then all, then none."""
    names = [cluster.name for cluster in here.spec.data_planes]
    first = here.spec.control_planes[0]
    told = [cluster.name for cluster in here.spec.served_by(first)]
    local = {
        BEFORE: {},
        SOME: {ONE: names, NAMESPACE: names, SOLO: told},
        ALL: dict.fromkeys(CASES, names),
        LIFTED: {},
    }
    stages = tuple(
        Stage(
            stage,
            tuple(
                sample(here, source, case, [source] if source in kept.get(case, ()) else names)
                for source in names
                for case in CASES
            ),
            0.5,
        )
        for stage, kept in local.items()
    )
    return ClusterLocal(
        stages, {plane.name: "istio-system/istio" for plane in here.spec.control_planes}, first.name
    )


def with_stage(seen: ClusterLocal, changed: Stage) -> ClusterLocal:
    """The pass with another stage of that name."""
    return replace(
        seen,
        stages=tuple(changed if stage.name == changed.name else stage for stage in seen.stages),
    )
