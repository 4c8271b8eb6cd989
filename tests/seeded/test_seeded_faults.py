"""Every seeded fault is the one root cause of its certificate, with a remedy that works when it is typed in.

``make faults`` runs them; ``make record`` also keeps the snapshots in ``tests/recorded``, for the tests that need no mesh.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.lab import toolchain

from .faults import FAULTS, SeededFault
from .mesh import SeededMesh, record

pytestmark = [pytest.mark.lab, pytest.mark.faults]

RECORDED = Path(__file__).parent.parent / "recorded"
SPARED = {
    "trust": ("ACCESS",),
    "rs": ("TRUST",),
    "cp": ("TRUST",),
    "ew": ("TRUST", "ACCESS"),
    "res": ("TRUST", "ACCESS"),
    "cl": ("TRUST", "ACCESS", "EASTWEST"),
    "dr": ("TRUST", "ACCESS", "EASTWEST"),
    "peerauth": ("TRUST", "ACCESS", "EASTWEST"),
    "svc": ("TRUST", "ACCESS", "DISCOVERY", "EASTWEST"),
}
"""By group of faults, the areas whose static checks such a fault must not touch."""

Json = dict[str, Any]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeededMesh]:
    """A lab mesh that all faults share; a test that does not see it healed makes it anew."""
    if toolchain.cached() is None or os.geteuid() != 0:
        pytest.skip("a lab needs root and the toolchain: istio-mc lab build")
    seeded = SeededMesh(f"faults-{os.getpid()}", tmp_path_factory.mktemp("faults"))
    try:
        seeded.build()
        yield seeded
    finally:
        seeded.remove()


def keep(mesh: SeededMesh, name: str) -> None:
    if os.environ.get("RECORD"):
        record(mesh.folder / f"{name}.snapshot", RECORDED / name)


def shown(certificate: Json) -> str:
    causes = [f"{one['check']} {one['fault']} {one['clusters']}: {one['summary']}\n  {one['remedy']}" for one in certificate["rootCauses"]]
    checks = [f"{one['id']} {one['verdict']}: {one['reason']}" for one in certificate["checks"] if one["verdict"] in WRONG]
    return "\n".join((certificate["result"], *causes, *checks))


WRONG = ("non-conformant", "inconclusive")


def test_nothing_is_wrong_with_a_healthy_mesh(mesh: SeededMesh) -> None:
    certificate = mesh.certify("healthy", f"--mesh-snapshot={mesh.folder / 'healthy.snapshot'}")

    assert certificate["result"] == "success", shown(certificate)
    assert certificate["rootCauses"] == []
    keep(mesh, "healthy")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_seeded_fault_is_named_and_its_remedy_works(fault: SeededFault, mesh: SeededMesh, record_property: Any) -> None:
    began = time.monotonic()
    healed = False
    try:
        fault.seed(mesh.spec, mesh.kubes)
        broken = mesh.certify(fault.name, f"--mesh-snapshot={mesh.folder / f'{fault.name}.snapshot'}")
        found = time.monotonic()

        assert_named(fault, broken)
        keep(mesh, fault.name)

        mesh.type_in(broken["rootCauses"][0]["remedy"], fault.clusters[-1])
        wrong = [entry["id"] for entry in broken["checks"] if entry["verdict"] in WRONG]
        area = fault.check.rpartition("-")[0]
        mended = mesh.certify(f"{fault.name}-mended", f"--mesh-checks={','.join((area, *wrong))}")
        assert {entry["verdict"] for entry in mended["checks"] if entry["ran"]} <= {"conformant", "not-applicable"}, shown(mended)
        healed = True
        print(f"{fault.name}: named after {found - began:.0f} s, mended after {time.monotonic() - began:.0f} s")
    finally:
        if not healed:
            mesh.build()


def assert_named(fault: SeededFault, certificate: Json) -> None:
    """The fault is the only root cause, explains all that is wrong, and what has nothing to do with it is conformant."""
    causes = certificate["rootCauses"]
    assert [(cause["check"], cause["fault"], set(cause["clusters"])) for cause in causes] == [
        (fault.check, fault.name, set(fault.clusters))
    ], shown(certificate)
    wrong = {entry["id"]: entry for entry in certificate["checks"] if entry["verdict"] in WRONG}
    assert wrong.keys() <= {causes[0]["check"], *causes[0]["explains"]}, shown(certificate)
    touched = [
        id for id, entry in wrong.items() if id != fault.check and entry["kind"] == "static" and id.split("-")[1] in SPARED[fault.group]
    ]
    assert touched == [], shown(certificate)
