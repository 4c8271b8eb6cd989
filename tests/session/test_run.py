"""Runs: what checks see is observed once, also where several processes share it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.checks.catalogue import Check, Kind
from pytest_istio_mc.checks.site import Here, Site
from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.session.run import Run
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.topologies import known
from pytest_istio_mc.verdicts import Verdict, conformant
from tests.checks.live_mesh import mesh

RECORDED = Path(__file__).parents[1] / "recorded" / "healthy"
TOPOLOGY = known()["multi-network-multi-primary"]


@dataclass(frozen=True)
class Seen:
    """What the observers of these tests give."""

    number: int


ASKED: list[str] = []


def observe(site: Site) -> Seen | None:
    """Notes that it was asked."""
    ASKED.append("observe")
    return Seen(len(ASKED))


def silent(site: Any):  # type: ignore[no-untyped-def]
    """Does not say what it returns."""
    ASKED.append("silent")
    return Seen(len(ASKED))


def failing(site: Site) -> Seen:
    """Finds nothing out."""
    ASKED.append("failing")
    raise ObservationError("proxy", "cannot be read")


def judge(here: Here, *seen: Seen) -> Verdict:
    """Tells what it was given."""
    return conformant(" ".join(str(one.number) for one in seen))


def check_of(*sees: Any, exclusive: bool = False) -> Check:
    return Check(
        "MC-TRUST-901", "x", Kind.LIVE, "x", exclusive=exclusive, sees=tuple(sees), judge=judge
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run on a mesh that nobody can talk to, with a recorded snapshot."""
    ASKED.clear()
    return _run(tmp_path)


def _run(folder: Path) -> Run:
    settings = Settings(TOPOLOGY.name, "lab", TOPOLOGY.default_spec())
    return Run(settings, "run", folder, mesh=mesh(), snapshot_folder=RECORDED)


def test_a_static_check_is_given_the_snapshot(run: Run) -> None:
    given: list[Snapshot] = []

    def static(snapshot: Snapshot) -> Verdict:
        given.append(snapshot)
        return conformant("read")

    verdict, before = run.judge(Check("MC-TRUST-901", "x", Kind.STATIC, "x", judge=static))

    assert (verdict.reason, before) == ("read", 0.0)
    assert given == [run.read_snapshot()]


def test_what_several_checks_see_is_observed_once_and_given_in_order(run: Run) -> None:
    first, _ = run.judge(check_of(observe, silent))
    second, _ = run.judge(check_of(silent, observe))

    assert (first.reason, second.reason) == ("1 2", "2 1")
    assert ASKED == ["observe", "silent"]


@pytest.mark.parametrize(
    ("observer", "times"),
    [pytest.param(observe, 1, id="annotated"), pytest.param(silent, 2, id="not-annotated")],
)
def test_processes_share_what_checks_that_run_alone_see(
    run: Run, tmp_path: Path, observer: Any, times: int
) -> None:
    alone = check_of(observer, exclusive=True)

    here, there = run.judge(alone)[0], _run(tmp_path).judge(alone)[0]

    assert len(ASKED) == times
    assert [here.reason, there.reason] == ["1", str(times)]


def test_what_failed_fails_again_in_this_process_and_is_tried_again_in_another(
    run: Run, tmp_path: Path
) -> None:
    alone = check_of(failing, exclusive=True)

    for process, asked in ((run, 1), (run, 1), (_run(tmp_path), 2)):
        with pytest.raises(ObservationError, match="cannot be read"):
            process.judge(alone)
        assert len(ASKED) == asked


def test_what_runs_alone_is_observed_in_the_thread_of_its_test(run: Run) -> None:
    threads: list[threading.Thread] = []

    def here(site: Site) -> None:
        threads.append(threading.current_thread())

    def judged(_: Here, seen: None) -> Verdict:
        return conformant("seen")

    run.judge(Check("MC-TRUST-901", "x", Kind.FAULT, "x", sees=(here,), judge=judged))

    assert threads == [threading.current_thread()]
