"""The gate as a session: certificate, command, certificate, one result and one exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_istio_mc.evidence.report import validate
from tests.certifying import (
    CERTIFY,
    HEALTHY,
    entry_of,
    report_of,
    write_suite,
)

pytestmark = pytest.mark.usefixtures("clean_environment")

GATE = (*CERTIFY, "-p", "tests.fake_watch")
UPGRADE = """
    from pytest_istio_mc.session.tests import checks_of

    test_check = checks_of("UPGRADE")
"""


@pytest.fixture
def log(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The first word of each line in the fakes' log."""
    path = pytester.path / "log"
    monkeypatch.setenv("FAKE_LOG", str(path))
    return lambda: [line.split()[0] for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def _suites(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    pytester.makepyfile(test_upgrade=UPGRADE)


def gated(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*GATE, *options)


def test_nothing_lost_and_nothing_worse_ends_with_zero(
    pytester: pytest.Pytester, log: Callable[[], list[str]]
) -> None:
    result = gated(pytester, "--mesh-gate=echo upgrading && touch done")

    assert result.ret == 0
    assert (pytester.path / "done").exists()
    assert log() == ["provide", "record", "watch", "clean", "provide", "record", "clean"]
    for name in ("mesh-report", "mesh-report-before", "mesh-report-gate"):
        validate(report_of(pytester, f"{name}.yaml"))
    after = report_of(pytester)
    before = report_of(pytester, "mesh-report-before.yaml")
    assert entry_of(after, "MC-UPGRADE-101")["verdict"] == "conformant"
    assert entry_of(before, "MC-UPGRADE-101")["verdict"] == "not-applicable"
    assert "no change was watched" in entry_of(before, "MC-UPGRADE-101")["reason"]
    gate = report_of(pytester, "mesh-report-gate.yaml")
    assert (gate["result"], gate["worse"]) == ("success", [])
    assert gate["certificates"] == {
        "before": "mesh-report-before.yaml",
        "after": "mesh-report.yaml",
    }
    result.stdout.fnmatch_lines(["  | upgrading", "*= mesh gate =*", "gate        SUCCESS: *"])


def test_what_was_wrong_before_and_is_wrong_after_is_not_the_changes_fault(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BROKEN", "MC-ACCESS-901")
    write_suite(pytester, HEALTHY | {"access": "NO_SECRET"})

    result = gated(pytester, "--mesh-gate=true")

    assert report_of(pytester, "mesh-report-before.yaml")["result"] == "failure"
    assert report_of(pytester)["result"] == "failure"
    assert report_of(pytester, "mesh-report-gate.yaml")["result"] == "success"
    assert result.ret == 0


def test_what_is_worse_afterwards_ends_with_one(pytester: pytest.Pytester) -> None:
    write_suite(pytester, HEALTHY | {"access": "NO_SECRET"})

    result = gated(pytester, "--mesh-gate=true")

    assert result.ret == 1
    (worse,) = report_of(pytester, "mesh-report-gate.yaml")["worse"]
    assert worse.startswith("worse: MC-ACCESS-901 conformant -> non-conformant")


def test_what_nobody_can_say_afterwards_ends_with_three(pytester: pytest.Pytester) -> None:
    write_suite(pytester, HEALTHY | {"gateway": "NO_ANSWER"})

    result = gated(pytester, "--mesh-gate=true")

    assert result.ret == 3


def test_a_failing_command_is_named_first_and_certified_all_the_same(
    pytester: pytest.Pytester,
) -> None:
    result = gated(pytester, "--mesh-gate=exit 7")

    assert result.ret == 1
    gate = report_of(pytester, "mesh-report-gate.yaml")
    assert gate["reasons"][0] == "the command failed with exit code 7"
    assert report_of(pytester)["checks"]
    result.stdout.fnmatch_lines(["gate        FAILURE: the command failed with exit code 7"])


def test_what_is_lost_ends_with_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LOST", "1")

    result = gated(pytester, "--mesh-gate=: lossy")

    assert result.ret == 1
    reason = report_of(pytester, "mesh-report-gate.yaml")["reasons"][0]
    assert reason.startswith("MC-UPGRADE-101: 1 of 500 requests from cluster1 to cluster2")


def test_what_the_control_run_loses_as_well_is_not_charged(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LOST", "1")

    result = gated(pytester, "--mesh-gate=: lossy", "--mesh-control=: lossy, too")

    assert result.ret == 0
    gate = report_of(pytester, "mesh-report-gate.yaml")
    assert gate["control"]["command"]["text"] == ": lossy, too"
    told = "no more was lost than in the control run, and nothing is worse than before"
    assert gate["reasons"] == [told]


def test_where_the_control_run_fails_the_command_is_not_run(pytester: pytest.Pytester) -> None:
    result = gated(pytester, "--mesh-gate=touch done", "--mesh-control=exit 3")

    assert result.ret == 3
    assert not (pytester.path / "done").exists()
    result.stdout.fnmatch_lines(["the control run: did not succeed, so the command was not run*"])


def test_without_a_mesh_the_command_is_not_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PROVIDE", "fail")

    result = gated(pytester, "--mesh-gate=touch done")

    assert result.ret == 3
    assert not (pytester.path / "done").exists()


@pytest.mark.parametrize(("command", "code"), [("true", 3), ("exit 7", 1)])
def test_a_mesh_that_cannot_be_certified_afterwards_is_no_pass(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    monkeypatch.setenv("FAKE_PROVIDE_LATER", "fail")

    result = gated(pytester, f"--mesh-gate={command}")

    assert result.ret == code
    gate = report_of(pytester, "mesh-report-gate.yaml")
    assert any("afterwards: " in reason for reason in gate["reasons"])


def test_workers_of_xdist_judge_what_was_watched(pytester: pytest.Pytester) -> None:
    result = gated(pytester, "--mesh-gate=true", "-n2")

    assert result.ret == 0
    assert entry_of(report_of(pytester), "MC-UPGRADE-106")["verdict"] == "conformant"


def test_an_interrupted_command_still_yields_the_certificate(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    command = "trap 'exit 4' INT; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *GATE, f"--mesh-gate={command}"],
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "| ready" in line:
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        code = process.wait(60)

    assert code == 1, rest
    gate = report_of(pytester, "mesh-report-gate.yaml")
    assert gate["command"]["interrupted"]
    assert gate["reasons"][0] == "the command was interrupted, and ended with exit code 4"
    assert "mesh-report.yaml" in rest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mesh-control=true"], "controls nothing without --mesh-gate"),
        (["--mesh-gate= "], "was given without a value"),
        (["--mesh-gate=true", "--mesh-disruptive"], "which changes nothing itself"),
        (["--mesh-gate=true", "--mesh-keep"], "which changes nothing itself"),
        (["--mesh-gate=true", "--mesh-provider=fake-lab"], "name clusters that exist"),
        (["-o", "mesh_gate=true"], "type it on the command line"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    pytester: pytest.Pytester, options: list[str], words: str
) -> None:
    result = gated(pytester, *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in " ".join(str(result.stderr).split())
    assert not (pytester.path / "mesh-report.yaml").exists()
