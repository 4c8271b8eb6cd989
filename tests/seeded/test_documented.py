"""The documentation lists every fault that exists in one topology only."""

from __future__ import annotations

from pathlib import Path

from tests.seeded.faults import COMMON, known

DOCUMENT = Path(__file__).parents[2] / "docs" / "seeded-faults.md"


def test_every_fault_of_a_topology_is_documented() -> None:
    documented = {line for line in DOCUMENT.read_text().splitlines() if "| MC-" in line}

    def row(topology: str, name: str, check: str, said: str) -> str:
        return f"| {topology} | `{name}` | {check} | {said} |"

    wanted = {
        row(
            fault.topology,
            fault.name,
            fault.check,
            (fault.seed.__doc__ or "").strip().splitlines()[0],
        )
        for fault in known().values()
        if fault.topology != COMMON
    }
    assert documented == wanted


def test_every_other_topology_has_three_faults_of_its_own() -> None:
    from pytest_istio_mc.topologies import known as topologies

    for topology in topologies():
        assert sum(fault.topology == topology for fault in known().values()) >= 3, topology
