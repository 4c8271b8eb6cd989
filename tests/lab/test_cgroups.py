"""Cgroups: only those of labs are removed, whatever a journal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_istio_mc.lab import cgroups, leftovers
from pytest_istio_mc.lab.journal import Entry, Journal

FOREIGN = ["", "/", ".", "..", "/system.slice", "/istio-mc-a/../system.slice", "kubepods", "//"]


@pytest.fixture
def hierarchy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that takes the place of the kernel's, with a lab's cgroup and another one."""
    monkeypatch.setattr(cgroups, "hierarchies", lambda: iter([tmp_path]))
    (tmp_path / "istio-mc-a" / "east").mkdir(parents=True)
    (tmp_path / "system.slice").mkdir()
    (tmp_path / "kubepods").mkdir()
    return tmp_path


def test_a_labs_cgroup_is_removed_with_all_below_it(hierarchy: Path) -> None:
    assert cgroups.remove("/istio-mc-a") == [hierarchy / "istio-mc-a"]
    assert sorted(path.name for path in hierarchy.iterdir()) == ["kubepods", "system.slice"]


@pytest.mark.parametrize("parent", FOREIGN)
def test_any_other_is_refused(hierarchy: Path, parent: str) -> None:
    with pytest.raises(ValueError, match="no lab's cgroup"):
        cgroups.remove(parent)

    assert (hierarchy / "istio-mc-a" / "east").is_dir()
    assert len(list(hierarchy.iterdir())) == 3


def test_a_damaged_journal_names_only_what_can_be_a_labs(hierarchy: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in (*FOREIGN, "/istio-mc-a"):
        Journal(home).add(Entry("cgroup", name))
    Journal(home).add(Entry("process", "init", 1, 1))

    found = {leftover.name for leftover in leftovers.find(home)}

    assert found == {str(hierarchy / "istio-mc-a"), str(home)}
