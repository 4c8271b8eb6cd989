"""A snapshot is kept by itself where something is wrong: bounded, told, and judged again."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from pytest_istio_mc.session import keeping
from pytest_istio_mc.snapshot import Snapshot
from tests.certifying import (
    BROKEN,
    CERTIFY,
    HEALTHY,
    report_of,
    write_suite,
)
from tests.checks.topologies import RECORDED

pytestmark = pytest.mark.usefixtures("clean_environment")


def kept() -> list[Path]:
    home = Path(os.environ["ISTIO_MC_CACHE"]) / "snapshots"
    return sorted(home.iterdir()) if home.exists() else []


def test_a_failing_run_keeps_its_snapshot_and_says_how_to_judge_it_again(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester, BROKEN)

    result = pytester.runpytest(*CERTIFY)

    (folder,) = kept()
    assert folder.stat().st_mode & 0o077 == 0
    result.stdout.fnmatch_lines([f"snapshot    {folder}"])
    line = next(one for one in result.outlines if one.startswith("judge again "))
    command = shlex.split(line.removeprefix("judge again "))
    again = pytester.runpytest("-p", "tests.fake_mesh", *command[1:])
    assert again.ret == pytest.ExitCode.TESTS_FAILED
    assert report_of(pytester)["rootCauses"][0]["check"] == "MC-ACCESS-901"
    assert kept() == [folder]  # a replay keeps none


@pytest.mark.parametrize("more", [(), ("--mesh-snapshot=mine",)])
def test_nothing_is_kept_where_nothing_is_wrong_or_a_folder_was_named(
    pytester: pytest.Pytester, more: tuple[str, ...]
) -> None:
    write_suite(pytester, BROKEN if more else HEALTHY)

    result = pytester.runpytest(*CERTIFY, *more)

    assert kept() == []
    result.stdout.no_fnmatch_line("snapshot *")


def test_the_oldest_goes_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    home = Path(os.environ["ISTIO_MC_CACHE"]) / "snapshots"
    (home / "theirs").mkdir(parents=True)

    for number in range(keeping.NUMBER + 2):
        list(keeping.keep(RECORDED / "healthy", "multi", f"{number:08}"))
        os.utime(home / f"multi-{number:08}" / "snapshot.json.gz", (number, number))

    names = [folder.name for folder in kept()]
    assert names == [f"multi-{n:08}" for n in range(2, keeping.NUMBER + 2)] + ["theirs"]
    assert Snapshot.load(kept()[0]).spec.topology == "multi-network-multi-primary"


def test_one_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LARGEST", 1000)

    (line,) = keeping.keep(RECORDED / "healthy", "multi", "00000001")

    assert line.startswith("snapshot    not kept: it has ")
    assert kept() == []


def test_a_cache_that_takes_no_files_fails_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester, BROKEN)
    monkeypatch.setenv("ISTIO_MC_CACHE", "/proc/nowhere")

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["snapshot    not kept: *"])
