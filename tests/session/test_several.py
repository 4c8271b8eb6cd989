"""Several topologies in one session: a certificate each, and a common result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.cli import main
from pytest_istio_mc.evidence.report import validate
from tests.certifying import (
    BROKEN,
    HEALTHY,
    entry_of,
    report_of,
    write_suite,
)

pytestmark = pytest.mark.usefixtures("clean_environment")

BOTH = ("-p", "tests.fake_mesh", "--mesh-topology=fake-topology,fake-other", "--mesh-provider=fake")
ALONE_AND_WITH_WORKERS = pytest.mark.parametrize(
    "workers", [(), ("-n2",)], ids=["alone", "workers"]
)

DIFFERENT = BROKEN | {
    "access": 'NO_SECRET if snapshot.spec.topology == "fake-other" else ' + HEALTHY["access"]
}
DIFFERENT |= {"discovery": HEALTHY["discovery"], "gateway": HEALTHY["gateway"]}
"""One root cause, on the second topology only."""


@pytest.fixture
def log(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The first two words of each line in the fake provider's log."""
    path = pytester.path / "log"
    monkeypatch.setenv("FAKE_LOG", str(path))

    def lines() -> list[str]:
        text = path.read_text() if path.exists() else ""
        return [" ".join(line.split()[:2]) for line in text.splitlines()]

    return lines


def of(results: list[dict[str, Any]], test: str) -> dict[str, dict[str, Any]]:
    """The results of one test by topology."""
    found = [result for result in results if result["fullName"].endswith(f"#{test}")]
    return {result["parameters"][0]["value"].strip("'"): result for result in found}


@ALONE_AND_WITH_WORKERS
def test_each_gets_its_mesh_and_its_certificate(
    pytester: pytest.Pytester, log: Callable[[], list[str]], workers: tuple[str, ...]
) -> None:
    write_suite(pytester)

    result = pytester.runpytest_subprocess(*BOTH, *workers)

    assert result.ret == pytest.ExitCode.OK
    rest = ["record", "clean up"]
    assert log() == ["provide fake-topology", *rest, "provide fake-other", *rest]
    summary = report_of(pytester)
    validate(summary)
    assert summary["result"] == "success"
    assert [entry["certificate"] for entry in summary["topologies"]] == [
        "mesh-report-fake-topology.yaml",
        "mesh-report-fake-other.yaml",
    ]
    for topology in ("fake-topology", "fake-other"):
        report = report_of(pytester, f"mesh-report-{topology}.yaml")
        validate(report)
        assert (report["topology"], report["result"]) == (topology, "success")
        assert f"--mesh-topology={topology}" in report["reproduce"].split()
    result.stdout.fnmatch_lines(
        [
            "*= mesh: fake-topology =*",
            "fake-topology: SUCCESS: all 4 claimed checks ran and are conformant (* s)",
            "*= mesh: fake-other =*",
            "fake-other: SUCCESS: *",
            "*= mesh certificates =*",
            "result      SUCCESS: 2 of 2 topologies have a certificate of success",
            "fake-other * success  2 clusters *mesh-report-fake-other.yaml",
            f"summary     {pytester.path / 'mesh-report.yaml'}",
        ]
    )


def test_a_single_topology_has_the_node_ids_that_it_always_had(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    one = pytester.runpytest(*BOTH, "--mesh-topology=fake-topology", "--collect-only", "-q")
    two = pytester.runpytest(*BOTH, "--collect-only", "-q")

    one.stdout.fnmatch_lines(["test_suite.py::test_root"])
    two.stdout.fnmatch_lines(
        ["test_suite.py::test_root[[]fake-topology[]]", "test_suite.py::test_root[[]fake-other[]]"]
    )


@ALONE_AND_WITH_WORKERS
def test_what_is_wrong_with_one_is_said_of_that_one(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    write_suite(pytester, DIFFERENT)

    result = pytester.runpytest_subprocess(*BOTH, *workers)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report_of(pytester)["result"] == "failure"
    assert report_of(pytester, "mesh-report-fake-topology.yaml")["result"] == "success"
    other = entry_of(report_of(pytester, "mesh-report-fake-other.yaml"), "MC-ACCESS-901")
    assert other["verdict"] == "non-conformant"
    missing = "cluster1 holds no remote secret for cluster2"
    result.stdout.fnmatch_lines(
        [
            "*= mesh diagnosis: fake-other =*",
            f"1. MC-ACCESS-901  {missing}  [[]cluster1[]]",
            f"fake-other: MC-ACCESS-901 non-conformant: {missing}",
            "*= mesh certificate: fake-other =*",
            "result      FAILURE: 1 of 2 topologies have a certificate of success",
        ]
    )
    result.stdout.no_fnmatch_line("*mesh diagnosis: fake-topology*")


@ALONE_AND_WITH_WORKERS
def test_one_that_cannot_be_provisioned_does_not_keep_the_others_from_being_certified(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    write_suite(pytester)
    monkeypatch.setenv("FAKE_PROVIDE", "fail fake-topology")

    result = pytester.runpytest_subprocess(*BOTH, *workers)

    assert result.ret == 3
    broken = report_of(pytester, "mesh-report-fake-topology.yaml")
    assert broken["result"] == "inconclusive"
    assert "istiod not ready" in broken["problem"]
    assert report_of(pytester, "mesh-report-fake-other.yaml")["result"] == "success"
    result.stdout.fnmatch_lines(
        [
            "*the mesh could not be provisioned: fake-topology*",
            '*cluster "cluster1": istiod not ready*',
        ]
    )
    result.stdout.no_fnmatch_line("*ERROR at setup*")


def test_an_interrupted_session_leaves_a_certificate_of_each(pytester: pytest.Pytester) -> None:
    write_suite(pytester, HEALTHY | {"trust": "(_ for _ in ()).throw(KeyboardInterrupt())"})

    result = pytester.runpytest_subprocess(*BOTH)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    for topology in ("fake-topology", "fake-other"):
        report = report_of(pytester, f"mesh-report-{topology}.yaml")
        assert report["result"] == "inconclusive"
        assert entry_of(report, "MC-TRUST-901")["reason"] == "not run: the run was interrupted"


def test_allure_keeps_them_apart_and_knows_each_from_its_runs_alone(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester, DIFFERENT)
    pytester.runpytest_subprocess(*BOTH, "--alluredir=both", "-n2")
    pytester.runpytest_subprocess(*BOTH, "--mesh-topology=fake-other", "--alluredir=alone")

    both, alone = (
        [json.loads(path.read_text()) for path in Path(folder).glob("*-result.json")]
        for folder in ("both", "alone")
    )

    found = of(both, "test_secrets")
    statuses = {topology: result["status"] for topology, result in found.items()}
    assert statuses == {"fake-topology": "passed", "fake-other": "failed"}
    other = found["fake-other"]["historyId"]
    assert found["fake-topology"]["historyId"] != other
    assert other == of(alone, "test_secrets")["fake-other"]["historyId"]
    labels = [label for result in both for label in result["labels"]]
    suites = {label["value"] for label in labels if label["name"] == "parentSuite"}
    assert suites == {"fake-topology", "fake-other"}
    assert "fake-other.result=failure\n" in Path("both/environment.properties").read_text()
    first = json.loads(Path("both/categories.json").read_text())[0]["name"]
    assert first.startswith("fake-other: MC-ACCESS-901: ")
    assert Path("both/mesh-report-fake-other.yaml").exists()


def test_snapshots_and_the_plan_are_of_each(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    pytester.runpytest(*BOTH, "--mesh-snapshot=snapshots")
    plan = pytester.runpytest(*BOTH, "--mesh-plan")

    saved = sorted(path.name for path in Path("snapshots").iterdir())
    assert saved == ["fake-other", "fake-topology"]
    plan.stdout.fnmatch_lines(
        [
            "topology  fake-topology*",
            "topology  fake-other*",
            "overall   the result of all 2 goes into *mesh-report.yaml",
        ]
    )


@pytest.mark.parametrize(
    "baseline", ["mesh-report.yaml", "kept.yaml", "mesh-report-fake-other.yaml"]
)
def test_a_baseline_of_which_a_part_is_overwritten_is_refused(
    pytester: pytest.Pytester, baseline: str
) -> None:
    """A summary that was copied still names the certificates beside it."""
    write_suite(pytester)
    pytester.runpytest(*BOTH)
    summary = pytester.path / "mesh-report.yaml"
    (pytester.path / "kept.yaml").write_bytes(summary.read_bytes())
    before = summary.read_bytes()

    result = pytester.runpytest(*BOTH, f"--mesh-baseline={baseline}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*mesh-report*.yaml: is what this run overwrites*"])
    assert summary.read_bytes() == before


def test_a_summary_is_a_baseline_for_each_and_can_be_compared(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    write_suite(pytester)
    pytester.runpytest(*BOTH, "--mesh-report=old.yaml")
    write_suite(pytester, DIFFERENT)

    both = pytester.runpytest(*BOTH, "--mesh-report=new.yaml", "--mesh-baseline=old.yaml")
    alone = pytester.runpytest(*BOTH, "--mesh-topology=fake-topology", "--mesh-baseline=old.yaml")
    stranger = pytester.runpytest(*BOTH, "--mesh-baseline=old-fake-topology.yaml")

    assert both.ret == pytest.ExitCode.TESTS_FAILED
    both.stdout.fnmatch_lines(["baseline    worse: MC-ACCESS-901 conformant -> non-conformant: *"])
    assert alone.ret == pytest.ExitCode.OK
    assert stranger.ret == pytest.ExitCode.USAGE_ERROR
    stranger.stderr.fnmatch_lines(["*is not of fake-other*it is of fake-topology*"])
    capsys.readouterr()
    assert main(["compare", "old.yaml", "new.yaml"]) == 1
    worse = "fake-other: worse: MC-ACCESS-901 conformant -> non-conformant"
    assert worse in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mesh-spec=mesh.yaml",), "*--mesh-spec: makes no sense together with 2 topologies*"),
        (("--mesh-provider=attach",), "*clusters that exist are of one topology*"),
        (
            ("-n2", "--dist=loadfile"),
            "*--dist=loadfile: several topologies take --dist=load or worksteal*",
        ),
    ],
)
def test_what_makes_no_sense_for_several_is_refused_before_anything_starts(
    pytester: pytest.Pytester, log: Callable[[], list[str]], options: tuple[str, ...], message: str
) -> None:
    write_suite(pytester)

    result = pytester.runpytest_subprocess(*BOTH, *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert log() == []
