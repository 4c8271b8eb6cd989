"""Every static check, without a table: right on healthy meshes, and able to fail."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

import pytest

import tests.checks
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.seeding import Case, Faults
from tests.checks.services.mistakes import MISTAKES
from tests.checks.services.shop import Shop
from tests.fake_clusters import FakeMesh
from tests.seeded import faults
from tests.static_checks import STATIC

RECORDED = Path(__file__).parents[1] / "recorded"
HEALTHY = sorted(folder.name for folder in RECORDED.glob("healthy*"))


@cache
def recorded(name: str) -> Snapshot:
    """A recorded healthy mesh, read once; nobody changes it."""
    return Snapshot.load(RECORDED / name)


@cache
def with_two_replicas() -> Snapshot:
    """A healthy mesh whose control planes have two replicas each."""
    mesh = FakeMesh()
    for number in (1, 2):
        mesh.add_replica(number)
    return mesh.record()


@cache
def with_services() -> Snapshot:
    """A healthy mesh with services of users."""
    return Shop().record()


@cache
def seeded() -> dict[str, list[str]]:
    """The faults, faked and recorded, that each check is the one root cause of."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages(tests.checks.__path__, "tests.checks."):
        if module.name.endswith(".test_faults"):
            registered: Faults = importlib.import_module(module.name).fault
            for parameters in registered.cases:
                case: Case = parameters.values[0]
                found.setdefault(case.check, []).append(case.fault)
    for mistake in MISTAKES:
        found.setdefault(mistake.check, []).append(mistake.fault)
    for fault in faults.known().values():
        if fault.recorded:
            found.setdefault(fault.check, []).append(fault.id)
    return found


def fits(id: str, snapshot: Snapshot) -> bool:
    """Whether the mesh has what the check is about."""
    return set(STATIC[id].requires) <= snapshot.spec.features


@pytest.mark.parametrize(
    ("id", "name"), [(id, name) for id in STATIC for name in HEALTHY if fits(id, recorded(name))]
)
def test_a_healthy_mesh_is_conformant(id: str, name: str) -> None:
    verdict = STATIC[id].judge(recorded(name))

    assert verdict.outcome in (Outcome.CONFORMANT, Outcome.NOT_APPLICABLE), verdict.reason
    assert verdict.reason


@pytest.mark.parametrize("id", STATIC)
def test_some_healthy_mesh_shows_what_the_check_is_about(id: str) -> None:
    meshes = [*map(recorded, HEALTHY), with_two_replicas(), with_services()]

    outcomes = {STATIC[id].judge(snapshot).outcome for snapshot in meshes if fits(id, snapshot)}

    assert Outcome.CONFORMANT in outcomes


@pytest.mark.parametrize("id", STATIC)
def test_some_fault_is_named_by_the_check(id: str) -> None:
    assert seeded().get(id), f"no fault, faked or recorded, has {id} as its root cause"
