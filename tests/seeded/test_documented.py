"""The documentation lists every fault that exists in one topology only."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_istio_mc.topologies import known as topologies
from tests.seeded.faults import COMMON, SeededFault, known

DOCUMENT = Path(__file__).parents[2] / "docs" / "seeded-faults.md"


def row(fault: SeededFault) -> str:
    """The row of a fault: its docstring up to what was seen."""
    wrong = " ".join((fault.seed.__doc__ or "").partition("Seen:")[0].split())
    return f"| {fault.topology} | `{fault.name}` | {fault.check} | {wrong} |"


def test_every_fault_of_a_topology_is_documented() -> None:
    documented = {line for line in DOCUMENT.read_text().splitlines() if "| MC-" in line}

    assert documented == {row(fault) for fault in known().values() if fault.topology != COMMON}


def test_the_example_is_one_of_them() -> None:
    (example,) = re.findall(r"(?ms)^```python\n(.*?)^```$", DOCUMENT.read_text())

    assert any(example in module.read_text() for module in Path(__file__).parent.glob("*.py"))


def test_every_other_topology_has_three_faults_of_its_own() -> None:
    for topology in topologies():
        assert sum(fault.topology == topology for fault in known().values()) >= 3, topology
