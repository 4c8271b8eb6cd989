"""pytest-xdist: the controller makes and removes one mesh for all workers."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.certifying import (
    BROKEN,
    CERTIFY,
    HEALTHY,
    entry_of,
    report_of,
    write_suite,
)

pytest.importorskip("xdist")

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def log(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the fake provider did, as lines."""
    path = pytester.path / "log"
    monkeypatch.setenv("FAKE_LOG", str(path))
    return lambda: path.read_text().splitlines() if path.exists() else []


def test_the_controller_owns_the_mesh_and_workers_attach(
    pytester: pytest.Pytester, log: Callable[[], list[str]]
) -> None:
    write_suite(
        pytester,
        more="""
        import os
        from pathlib import Path

        def test_who(mesh, snapshot, worker_id):
            with Path("seen").open("a") as stream:
                stream.write(f"{worker_id} {os.getpid()} {mesh.run_id} {snapshot.run_id}\\n")
        """,
    )

    result = pytester.runpytest_subprocess(*CERTIFY, "-n2", "--dist=each")

    assert result.ret == 0
    done = log()
    assert [line.split()[0] for line in done] == ["provide", "record", "clean"]
    seen = [line.split() for line in (pytester.path / "seen").read_text().splitlines()]
    assert {worker for worker, *_ in seen} == {"gw0", "gw1"}
    provider = done[0].rpartition("pid=")[2]
    assert provider not in {pid for _, pid, *_ in seen}
    assert str(os.getpid()) != provider
    assert len({run for *_, run, _ in seen} | {recorded for *_, recorded in seen}) == 1
    result.stdout.fnmatch_lines(["*fake clusters ready*", "*SUCCESS*"])


def test_node_ids_verdicts_and_diagnosis_are_the_same_with_and_without_workers(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester, BROKEN)
    alone = pytester.runpytest_subprocess(*CERTIFY, "-rA", "--mesh-report=alone.yaml")
    together = pytester.runpytest_subprocess(*CERTIFY, "-rA", "-n2", "--mesh-report=together.yaml")

    def told(result: pytest.RunResult) -> list[str]:
        words = ("NON-CONFORMANT", "CONFORMANT", "INCONCLUSIVE", "SKIPPED", "PASSED")
        lines = [line for line in result.outlines if line.startswith(words)]
        return sorted(line.partition(" - ")[0] for line in lines)

    assert told(alone) == told(together)
    assert alone.ret == together.ret == 1
    first, second = report_of(pytester, "alone.yaml"), report_of(pytester, "together.yaml")
    for report in (first, second):
        for volatile in ("date", "timing", "reproduce", "mesh"):
            report.pop(volatile)
        for entry in report["checks"]:
            entry.pop("duration_seconds")
    assert first == second


def test_a_typing_error_builds_no_clusters(
    pytester: pytest.Pytester, log: Callable[[], list[str]]
) -> None:
    write_suite(pytester)

    nothing = pytester.runpytest_subprocess(*CERTIFY, "-n2", "-k", "nothing_is_called_so")
    pytester.makepyfile(test_broken="import nothing_that_exists")
    broken = pytester.runpytest_subprocess(*CERTIFY, "-n2")

    assert nothing.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert broken.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    broken.stdout.fnmatch_lines(["*No module named 'nothing_that_exists'"])
    assert log() == []


def test_a_worker_that_dies_leaves_its_check_inconclusive_and_the_rest_goes_on(
    pytester: pytest.Pytester, log: Callable[[], list[str]]
) -> None:
    write_suite(pytester, HEALTHY | {"discovery": "__import__('os')._exit(7)"})

    result = pytester.runpytest_subprocess(*CERTIFY, "-n2")

    assert result.ret == 3
    report = report_of(pytester)
    dead = entry_of(report, "MC-DISCOVERY-901")
    assert dead["verdict"] == "inconclusive"
    assert "ended unexpectedly" in dead["reason"]
    assert entry_of(report, "MC-EASTWEST-901")["verdict"] == "conformant"
    assert log()[-1] == "clean up"


ACTS = """
        import time
        from dataclasses import replace
        from pathlib import Path

        import pytest

        from pytest_istio_mc.verdicts import conformant

        def act(name, id, expect):
            with Path("order").open("a") as stream:
                stream.write(f"begin {name}\\n")
            time.sleep(0.3)
            with Path("order").open("a") as stream:
                stream.write(f"end {name}\\n")
            expect(replace(conformant("done"), check=id))

        @pytest.mark.mesh_check("MC-EASTWEST-902")
        def test_fault(mesh, expect):
            act("fault", "MC-EASTWEST-902", expect)

        @pytest.mark.mesh_check("MC-EASTWEST-901")
        @pytest.mark.parametrize("number", range(4))
        def test_live(mesh, expect, number):
            act(f"live{number}", "MC-EASTWEST-901", expect)
"""
"""Each live test and the fault write into ``order`` when they begin and end."""
DISRUPTIVE = ("-n2", "--mesh-profile=disruptive", "--mesh-disruptive")


def test_faults_run_last_and_alone(pytester: pytest.Pytester) -> None:
    """Live tests run side by side; nothing else runs during the fault."""
    pytester.makepyfile(ACTS)

    result = pytester.runpytest_subprocess(*CERTIFY, *DISRUPTIVE)

    result.assert_outcomes(passed=5)
    order = (pytester.path / "order").read_text().splitlines()
    assert order[-2:] == ["begin fault", "end fault"]
    assert [line.split()[0] for line in order[:2]] == ["begin", "begin"]


def test_a_live_check_that_changes_the_whole_mesh_runs_alone(pytester: pytest.Pytester) -> None:
    """An exclusive live check: each test ends before the next one begins."""
    pytester.makeconftest(
        """
        from dataclasses import replace
        from tests.fake_mesh import CHECKS

        CHECKS["MC-EASTWEST-901"] = replace(CHECKS["MC-EASTWEST-901"], exclusive=True)
        """
    )
    pytester.makepyfile(ACTS)

    result = pytester.runpytest_subprocess(*CERTIFY, *DISRUPTIVE)

    result.assert_outcomes(passed=5)
    order = (pytester.path / "order").read_text().splitlines()
    assert [line.split()[0] for line in order] == ["begin", "end"] * 5
    assert [first.split()[1] for first in order[::2]] == [last.split()[1] for last in order[1::2]]
    assert order[-1] == "end fault"


def test_a_fault_is_not_claimed_on_clusters_that_outlive_the_run(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester)

    pytester.runpytest_subprocess(*CERTIFY, "-n2")

    report = report_of(pytester)
    assert report["result"] == "success"
    reason = entry_of(report, "MC-EASTWEST-902")["reason"]
    assert reason.endswith("(--mesh-disruptive --mesh-profile=disruptive)")
