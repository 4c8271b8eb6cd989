"""The checks on snapshots of real meshes, healthy and broken.

``make record`` records them again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.checks.diagnosis import diagnose
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.topologies import known
from pytest_istio_mc.verdicts import Outcome
from tests.seeded import faults
from tests.static_checks import judge_all
from tests.test_snapshot import TOKEN, read_all

RECORDED = Path(__file__).parent.parent / "recorded"
DEFAULT = "multi-network-multi-primary"

FAULTS = {id: fault for id, fault in faults.known().items() if fault.recorded}

HEALTHY = {"healthy" if name == DEFAULT else f"healthy-{name}" for name in known()}

ROOT_CAUSES: dict[str, set[tuple[str, str]]] = {
    **{name: set() for name in HEALTHY},
    **{id: {(fault.check, fault.name)} for id, fault in FAULTS.items()},
}
"""By folder, the root causes (check, fault) of what was recorded; none for healthy meshes."""

LARGEST = 300_000
"""Bytes that a recorded snapshot may have."""


def folders() -> list[Path]:
    return sorted(file.parent for file in RECORDED.glob("*/snapshot.json*"))


def test_every_recorded_snapshot_is_expected() -> None:
    assert {folder.name for folder in folders()} == ROOT_CAUSES.keys()


@pytest.mark.parametrize("name", sorted(ROOT_CAUSES))
def test_a_recorded_mesh_leads_to_its_root_causes(name: str) -> None:
    verdicts = judge_all(Snapshot.load(RECORDED / name))

    causes = diagnose(verdicts, known_checks())

    said = verdicts.values()
    shown = "\n".join(f"{one.check} {one.outcome.value}: {one.reason}" for one in said)
    assert {(cause.check, cause.fault) for cause in causes} == ROOT_CAUSES[name], shown
    if ROOT_CAUSES[name]:
        assert set(causes[0].clusters) == set(FAULTS[name].clusters), shown
    else:
        fine = (Outcome.CONFORMANT, Outcome.NOT_APPLICABLE)
        assert all(one.outcome in fine for one in said), shown


@pytest.mark.parametrize("name", sorted(ROOT_CAUSES))
def test_a_recorded_snapshot_is_small(name: str) -> None:
    files = [file for file in (RECORDED / name).rglob("*") if file.is_file()]

    assert sum(file.stat().st_size for file in files) < LARGEST


@pytest.mark.parametrize("name", sorted(ROOT_CAUSES))
def test_a_recorded_snapshot_holds_nothing_secret_and_no_path_of_its_machine(name: str) -> None:
    text = read_all(RECORDED / name)

    assert "PRIVATE KEY" not in text
    assert not TOKEN.search(text)
    assert not re.search(r"/root/|/home/|/tmp/|kubeconfig\.yaml", text)
