"""Every seeded fault is named as the root cause, and its remedy works.

- ``make faults`` runs them, ``make faults TOPOLOGY=federated`` those of one topology.
- ``make record`` also keeps the snapshots in ``tests/recorded``, for the tests without a mesh.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.checks.diagnosis import checks_below
from tests.seeded.faults import COMMON, SeededFault, known
from tests.seeded.mesh import SeededMesh, on, record

pytestmark = [pytest.mark.lab, pytest.mark.faults]

RECORDED = Path(__file__).parent.parent / "recorded"
FAULTS = known()
TOPOLOGIES = tuple(dict.fromkeys(fault.topology for fault in FAULTS.values()))
SPARED = {
    "trust": ("ACCESS",),
    "rs": ("TRUST",),
    "pr": ("TRUST", "EASTWEST"),
    "xc": ("TRUST", "EASTWEST"),
    "fed": ("TRUST", "EASTWEST"),
    "network": ("TRUST", "ACCESS", "CONTROL"),
    "loc": ("TRUST", "ACCESS", "CONTROL", "EASTWEST"),
    "cp": ("TRUST",),
    "ew": ("TRUST", "ACCESS"),
    "res": ("TRUST", "ACCESS"),
    "cl": ("TRUST", "ACCESS", "EASTWEST"),
    "dr": ("TRUST", "ACCESS", "EASTWEST"),
    "peerauth": ("TRUST", "ACCESS", "EASTWEST"),
    "svc": ("TRUST", "ACCESS", "DISCOVERY", "EASTWEST"),
}
"""By group of faults, the areas whose static checks such a fault must not touch."""

WRONG = ("non-conformant", "inconclusive")
Json = dict[str, Any]


def keep(mesh: SeededMesh, name: str, folder: str) -> None:
    if os.environ.get("RECORD"):
        record(mesh.folder / f"{name}.snapshot", RECORDED / folder)


def shown(certificate: Json) -> str:
    causes = [
        f"{one['check']} {one['fault']} {one['clusters']}: {one['summary']}\n  {one['remedy']}"
        for one in certificate["rootCauses"]
    ]
    checks = [
        f"{one['id']} {one['verdict']}: {one['reason']}"
        for one in certificate["checks"]
        if one["ran"] and one["verdict"] in WRONG
    ]
    return "\n".join((certificate["result"], *causes, *checks))


@pytest.mark.parametrize("mesh", [on(topology) for topology in TOPOLOGIES], indirect=True)
def test_nothing_is_wrong_with_a_healthy_mesh(mesh: SeededMesh) -> None:
    snapshot = mesh.folder / "healthy.snapshot"
    allowed = ("--mesh-disruptive", "--mesh-allow=every-service")
    certificate = mesh.certify("healthy", *allowed, f"--mesh-snapshot={snapshot}")

    assert certificate["result"] == "success", shown(certificate)
    assert certificate["rootCauses"] == []
    keep(mesh, "healthy", "healthy" if mesh.topology == COMMON else f"healthy-{mesh.topology}")


@pytest.mark.parametrize(
    ("mesh", "fault"),
    [on(fault.topology, fault, id=fault.name) for fault in FAULTS.values()],
    indirect=["mesh"],
)
def test_a_seeded_fault_is_named_and_its_remedy_works(fault: SeededFault, mesh: SeededMesh) -> None:
    seeded_and_mended(mesh, fault.id, fault)


PAIRS = (
    ("rs-missing", "ew-passthrough-mode"),
    ("dr-tls-disable", "svc-port-number"),
    ("rs-stale", "cp-ns-network-missing"),
)


@pytest.mark.parametrize(
    ("mesh", "names"),
    [on(COMMON, names, id="+".join(names)) for names in PAIRS],
    indirect=["mesh"],
)
def test_of_two_faults_neither_hides_the_other(names: tuple[str, ...], mesh: SeededMesh) -> None:
    seeded_and_mended(mesh, "+".join(names), *(FAULTS[name] for name in names))


def seeded_and_mended(mesh: SeededMesh, name: str, *faults: SeededFault) -> None:
    """Seed the faults, see them named, type in every remedy, see the mesh healthy."""
    began = time.monotonic()
    healed = False
    try:
        for fault in faults:
            fault.seed(mesh)
        patience = () if all(fault.starts for fault in faults) else ("--mesh-timeout-factor=0.5",)
        snapshot = mesh.folder / f"{name}.snapshot"
        broken = mesh.certify(name, f"--mesh-snapshot={snapshot}", *patience)
        found = time.monotonic() - began
        assert_named(faults, broken)
        if len(faults) == 1 and faults[0].recorded:
            keep(mesh, name, name)
        for cause in broken["rootCauses"]:
            mesh.type_in(cause["remedy"], cause["clusters"][-1])
        for fault in faults:
            if fault.heal:
                fault.heal(mesh)
        wrong = [entry["id"] for entry in broken["checks"] if entry["verdict"] in WRONG]
        areas = {fault.check.rpartition("-")[0] for fault in faults}
        again = ",".join((*sorted(areas), *wrong))
        mended = mesh.certify(f"{name}-mended", f"--mesh-checks={again}")
        verdicts = {entry["verdict"] for entry in mended["checks"] if entry["ran"]}
        assert verdicts <= {"conformant", "not-applicable"}, shown(mended)
        healed = True
        took = time.monotonic() - began
        print(f"{name}: named after {found:.0f} s, mended after {took:.0f} s")
    finally:
        if not healed:
            mesh.build()


def assert_named(faults: Sequence[SeededFault], certificate: Json) -> None:
    """The faults are the only root causes and explain all that is wrong.

    Static checks of the areas in ``SPARED`` are conformant, except those that they can explain.
    """
    causes = certificate["rootCauses"]
    named = {(cause["check"], cause["fault"], frozenset(cause["clusters"])) for cause in causes}
    wanted = {(fault.check, fault.name, frozenset(fault.clusters)) for fault in faults}
    assert named == wanted, shown(certificate)
    assert len(causes) == len(faults), shown(certificate)
    wrong = {entry["id"]: entry for entry in certificate["checks"] if entry["verdict"] in WRONG}
    explained = {id for cause in causes for id in (cause["check"], *cause["explains"])}
    assert wrong.keys() <= explained, shown(certificate)
    spared = set.intersection(*(set(SPARED[fault.group]) for fault in faults))
    below = checks_below(known_checks())
    own = {fault.check for fault in faults}
    touched = [
        id
        for id, entry in wrong.items()
        if entry["kind"] == "static" and id.split("-")[1] in spared and not own & {id, *below[id]}
    ]
    assert touched == [], shown(certificate)
