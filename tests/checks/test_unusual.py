"""Meshes that are healthy in an unusual way are not called broken, and checks stay awake there."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import pytest

from pytest_istio_mc.checks.tracing.trace import State
from pytest_istio_mc.checks.tracing.traces import Traces
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks import unusual
from tests.checks.unusual.case import Case, Fault, plain
from tests.static_checks import STATIC, findings, judge_all, taken_away


def cases() -> list[Case]:
    """The cases of every subject."""
    found: list[Case] = []
    for module in pkgutil.iter_modules(unusual.__path__, f"{unusual.__name__}."):
        found += getattr(importlib.import_module(module.name), "CASES", [])
    return found


@cache
def before(mesh: str) -> dict[str, Verdict]:
    """The verdicts on a recorded mesh as it is."""
    return judge_all(plain(mesh))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_it_is_not_called_broken_and_no_check_decides_less(case: Case) -> None:
    verdicts = judge_all(case.snapshot())

    wrong = [one for one in verdicts.values() if one.outcome is Outcome.NON_CONFORMANT]
    assert [f"{one.check}: {one.reason}" for one in wrong] == []
    changed = {
        id: f"{one.outcome.value}: {one.reason}"
        for id, one in verdicts.items()
        if one.outcome is not before(case.mesh)[id].outcome
    }
    assert {id: text for id, text in changed.items() if id not in case.less} == {}
    assert set(case.less) <= set(changed), "a check decides what it is excused from"


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        pytest.param(case, fault, id=f"{case}-{fault.seed.__name__}")
        for case in cases()
        for fault in case.faults
    ],
)
def test_a_fault_in_that_shape_is_found(case: Case, fault: Fault) -> None:
    verdict = STATIC[fault.check].judge(case.snapshot(fault))

    assert fault.name in {name for name, _ in findings(verdict)}, verdict.reason
    assert [one.remedy for one in verdict.findings if taken_away(one.remedy)] == []


def broken_hops(snapshot: Snapshot) -> list[str]:
    """The hops between all pairs of clusters, seen from sidecars and past them, that are broken."""
    pairs = [
        (source.name, target.name)
        for source, target in snapshot.spec.pairs
        if not snapshot.spec.federated
    ]
    return [
        f"{source} to {target}: {hop}"
        for past_sidecar in (False, True)
        for source, target in pairs
        for hop in Traces(snapshot, past_sidecar=past_sidecar).trace(source, target).hops
        if hop.state is State.BROKEN
    ]


@pytest.mark.parametrize("case", cases(), ids=str)
def test_no_hop_of_a_path_is_called_broken(case: Case) -> None:
    assert broken_hops(case.snapshot()) == broken_hops(plain(case.mesh))


def test_every_shape_has_a_fault() -> None:
    shapes = {
        case.name: any(one.faults for one in cases() if one.name == case.name) for case in cases()
    }

    assert [name for name, faulty in shapes.items() if not faulty] == []
