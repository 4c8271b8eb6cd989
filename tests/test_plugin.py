"""The pytest layer in action, on the mesh of a fake provider."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.evidence.report import validate
from tests.certifying import (
    BROKEN,
    CERTIFY,
    HEALTHY,
    entry_of,
    good,
    report_of,
    write_suite,
)

pytestmark = pytest.mark.usefixtures("clean_environment")

LOST = 'the clusters were lost: cluster "cluster1": kubelet ended'


def test_a_healthy_mesh_gets_a_certificate(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "mesh: fake-topology, profile core, provider fake, run ????????",
            "  cluster1  primary, network network1",
            "*fake clusters ready*",
            "*cluster1, cluster2: istio 1.31.1, kubernetes v1.36.1",
            "result      SUCCESS: all 4 claimed checks ran and are conformant",
            "skipped     1 check: this mesh has not: two or more clusters on one network",
            "            (MC-DISCOVERY-902)",
            "note        this mesh is a fake",
            f"one check   pytest {' '.join(CERTIFY)} --mesh-checks=MC-TRUST-901",
            f"certificate {pytester.path / 'mesh-report.yaml'}",
        ]
    )
    report = report_of(pytester)
    validate(report)
    assert report["result"] == "success"
    assert [entry["id"] for entry in report["checks"]][:2] == ["MC-TRUST-901", "MC-ACCESS-901"]
    assert entry_of(report, "MC-TRUST-901")["pairs"] == ["cluster1", "cluster2"]


def test_a_broken_mesh_shows_the_root_cause_first_and_folds_the_symptoms(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester, BROKEN)

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "1 root cause explains 2 failing checks, and 1 that could not find out",
            "1. MC-ACCESS-901  cluster1 holds no remote secret for cluster2  [[]cluster1[]]",
            "   remedy:   istioctl create-remote-secret --context=c2 *",
            "   explains: MC-DISCOVERY-901, MC-EASTWEST-901 (2 checks)",
            "*= FAILURES =*",
            "MC-ACCESS-901 non-conformant: cluster1 holds no remote secret for cluster2",
            "    expected: one secret",
            "    seen:     none",
            "result      FAILURE: 2 of 4 claimed checks are not conformant, from 1 root cause",
            "NON-CONFORMANT test_suite.py::test_secrets - MC-ACCESS-901*",
            "NON-CONFORMANT test_suite.py::test_endpoints - MC-DISCOVERY-901*",
            "INCONCLUSIVE test_suite.py::test_gateway - MC-EASTWEST-901*",
            "*3 failed, 1 passed, 2 skipped*",
        ]
    )
    result.stdout.no_fnmatch_line("*expect.py*")
    result.stdout.no_fnmatch_line("*___ test_endpoints ___*")
    report = report_of(pytester)
    validate(report)
    assert report["result"] == "failure"
    assert report["rootCauses"][0]["explains"] == ["MC-DISCOVERY-901", "MC-EASTWEST-901"]
    assert entry_of(report, "MC-ACCESS-901")["evidence"] == [
        {"name": "secrets.json", "mediaType": "application/json", "characters": 2, "text": "[]"}
    ]


def test_python_tracebacks_are_there_for_who_asks(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    pytester.runpytest(*CERTIFY, "--tb=long").stdout.fnmatch_lines(
        ["*NonConformant: MC-ACCESS-901 non-conformant*"]
    )


def test_only_inconclusive_checks_end_with_exit_code_3(pytester: pytest.Pytester) -> None:
    write_suite(pytester, HEALTHY | {"gateway": "NO_ANSWER"})

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == 3
    result.stdout.fnmatch_lines(
        [
            "1 check could not find out:",
            "   MC-EASTWEST-901: no answer within 5 s",
            "result      INCONCLUSIVE: *",
        ]
    )
    assert report_of(pytester)["result"] == "inconclusive"


def test_a_failure_elsewhere_is_never_hidden_by_an_inconclusive_check(
    pytester: pytest.Pytester,
) -> None:
    write_suite(
        pytester, HEALTHY | {"gateway": "NO_ANSWER"}, more="\ndef test_mine():\n    assert False\n"
    )

    assert pytester.runpytest(*CERTIFY).ret == pytest.ExitCode.TESTS_FAILED


def test_a_selection_is_partial(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    result = pytester.runpytest(*CERTIFY, "--mesh-checks=mc-trust-901,MC-ACCESS")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*2 passed, 4 deselected*"])
    result.stdout.fnmatch_lines(
        ["result      PARTIAL: 2 of 4 claimed checks did not run; this is no certificate"]
    )
    report = report_of(pytester)
    assert report["result"] == "partial"
    assert report["profiles"]["core"]["notRun"] == ["MC-DISCOVERY-901", "MC-EASTWEST-901"]
    assert entry_of(report, "MC-EASTWEST-901")["reason"] == "not run: it was not selected"


def test_a_skip_in_a_test_is_partial_and_keeps_its_reason(pytester: pytest.Pytester) -> None:
    write_suite(pytester, HEALTHY | {"gateway": 'pytest.skip("no time today")'})

    pytester.runpytest(*CERTIFY)

    report = report_of(pytester)
    assert report["result"] == "partial"
    assert entry_of(report, "MC-EASTWEST-901")["reason"] == "not run: no time today"


def test_a_judge_may_find_that_a_check_does_not_apply(pytester: pytest.Pytester) -> None:
    absent = 'judged("MC-EASTWEST-901", not_applicable("no gateway is meant to be here"))'
    write_suite(pytester, HEALTHY | {"gateway": absent})

    result = pytester.runpytest(*CERTIFY, "-v")

    result.stdout.fnmatch_lines(["*test_flat NOT APPLICABLE*", "*test_gateway NOT APPLICABLE*"])
    report = report_of(pytester)
    assert report["result"] == "success"
    assert entry_of(report, "MC-EASTWEST-901")["reason"] == "no gateway is meant to be here"


def test_stopping_early_is_not_a_pass(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    pytester.runpytest(*CERTIFY, "-x")

    report = report_of(pytester)
    assert report["result"] == "failure"
    assert entry_of(report, "MC-EASTWEST-901")["reason"] == "not run: the run stopped before it"


def test_a_test_that_gives_no_verdict_is_inconclusive(pytester: pytest.Pytester) -> None:
    write_suite(pytester, HEALTHY | {"access": "NO_SECRET if False else ROOT"}, more="")
    pytester.makepyfile(
        test_other="""
        import pytest

        @pytest.mark.mesh_check("MC-TRUST-901")
        def test_nothing(snapshot):
            pass
        """
    )

    result = pytester.runpytest(*CERTIFY, "test_other.py")

    assert result.ret == 3
    reason = entry_of(report_of(pytester), "MC-TRUST-901")["reason"]
    assert reason == "the test of MC-TRUST-901 ended without a verdict: it must call expect(…)"


@pytest.mark.parametrize(
    ("trust", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (
            good("MC-ACCESS-901"),
            "ValueError: the test is marked MC-TRUST-901, and judged MC-ACCESS-901",
        ),
    ],
)
def test_a_defect_of_a_test_is_inconclusive_and_keeps_its_traceback(
    pytester: pytest.Pytester, trust: str, error: str
) -> None:
    write_suite(pytester, HEALTHY | {"trust": trust})

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == 3
    result.stdout.fnmatch_lines([">*expect(*", "E *Error: *"])
    reason = entry_of(report_of(pytester), "MC-TRUST-901")["reason"]
    assert reason == f"the check could not be carried out: {error}"


def test_a_fixture_that_fails_makes_the_check_inconclusive(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    pytester.makeconftest(
        "import pytest\n@pytest.fixture\ndef expect():\n    raise OSError('disk is full')\n"
    )

    pytester.runpytest(*CERTIFY)

    report = report_of(pytester)
    assert report["result"] == "inconclusive"
    reason = entry_of(report, "MC-TRUST-901")["reason"]
    assert reason == "the check could not be prepared: OSError: disk is full"


def test_a_check_that_was_given_up_says_why(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    pytester.makeconftest(
        """
        import pytest
        from pytest_istio_mc.errors import GivenUp, ProvisionError

        @pytest.fixture
        def expect():
            why = ProvisionError('cluster "cluster1"', "kubelet ended", log_tail=["a line"])
            raise GivenUp(why)
        """
    )

    pytester.runpytest(*CERTIFY)

    reason = entry_of(report_of(pytester), "MC-TRUST-901")["reason"]
    assert reason == f"the check could not be prepared: {LOST}"


def test_nothing_is_asked_of_clusters_that_are_lost_and_what_was_recorded_is_judged(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester)
    pytester.makeconftest(
        """
        from pytest_istio_mc.errors import ProvisionError
        from tests.fake_mesh import FakeProvider

        def pytest_runtest_teardown(item):
            if item.name == "test_root":
                why = ProvisionError('cluster "cluster1"', "kubelet ended", advice="read its log")
                FakeProvider.lose(why)
        """
    )

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == 3
    report = report_of(pytester)
    assert report["result"] == "inconclusive"
    for id in ("MC-TRUST-901", "MC-ACCESS-901"):
        assert entry_of(report, id)["verdict"] == "conformant", id
    reason = entry_of(report, "MC-EASTWEST-901")["reason"]
    assert reason == f"MC-EASTWEST-901 inconclusive: {LOST}"


def test_several_parameters_of_one_test_make_one_verdict(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from dataclasses import replace
        from pytest_istio_mc.verdicts import Finding, judged

        @pytest.mark.mesh_check("MC-EASTWEST-901")
        @pytest.mark.parametrize("pair", ["a-to-b", "b-to-a", "c-to-a"])
        def test_gateway(mesh, expect, pair):
            wrong = [Finding(f"{pair} is broken", (pair[0],))] if pair == "b-to-a" else []
            expect(replace(judged(wrong, f"{pair} works", pairs=[pair]), check="MC-EASTWEST-901"))
        """
    )

    pytester.runpytest(*CERTIFY)

    entry = entry_of(report_of(pytester), "MC-EASTWEST-901")
    assert (entry["verdict"], entry["reason"]) == ("non-conformant", "b-to-a is broken")
    assert entry["pairs"] == ["a-to-b", "b-to-a", "c-to-a"]


def test_a_suite_of_an_area_that_nobody_knows_is_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))
    pytester.makepyfile('from pytest_istio_mc import checks_of\ntest_it = checks_of("NONE")')

    run = pytester.runpytest(*CERTIFY)

    run.stdout.fnmatch_lines(["*checks_of('NONE',): no such check; --mesh-list prints every area"])
    assert run.ret == pytest.ExitCode.INTERRUPTED
    assert not (pytester.path / "log").exists()


def test_of_several_tests_of_one_check_the_worst_counts(pytester: pytest.Pytester) -> None:
    write_suite(
        pytester,
        more="""
            @pytest.mark.mesh_check("MC-TRUST-901")
            def test_root_again(snapshot, expect):
                expect(judged("MC-TRUST-901", inconclusive("nobody knows")))
        """,
    )

    pytester.runpytest(*CERTIFY)

    entry = entry_of(report_of(pytester), "MC-TRUST-901")
    assert (entry["verdict"], entry["reason"]) == ("inconclusive", "nobody knows")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            '@pytest.mark.mesh_check("MC-TRUST-777")\ndef test_it(): pass',
            "*names no known check; --mesh-list prints every id*",
        ),
        ("@pytest.mark.mesh_check\ndef test_it(): pass", "*names no known check*"),
    ],
)
def test_tests_that_do_not_fit_the_catalogue_are_refused_before_anything_starts(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    pytester.makepyfile("import pytest\n" + source)
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not (pytester.path / "log").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--collect-only",),
        ("--mesh-list",),
        ("--mesh-plan",),
        ("-k", "nothing_is_called_so"),
        ("--fixtures",),
        ("test_mine.py",),
    ],
)
def test_nothing_is_provisioned_where_no_mesh_is_needed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    write_suite(pytester)
    pytester.makepyfile(test_mine="def test_it(): pass")
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))

    result = pytester.runpytest(*CERTIFY, *arguments)

    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if result.ret == pytest.ExitCode.NO_TESTS_COLLECTED:
        result.stdout.fnmatch_lines(
            ["no check was selected, so nothing was provisioned. --mesh-list *--mesh-checks=MC-*"]
        )
    assert not (pytester.path / "log").exists()
    assert not (pytester.path / "mesh-report.yaml").exists()


def test_the_list_names_every_check_with_what_it_needs(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-p", "tests.fake_mesh", "--mesh-list")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "Endpoint discovery",
            "MC-DISCOVERY-902  core, static",
            "    Flat networks only",
            "    requires: two or more clusters on one network",
            "    https://istio.io/latest/docs/",
            "6 checks. *",
        ]
    )


def test_the_plan_says_what_would_happen(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    result = pytester.runpytest(*CERTIFY, "--mesh-plan", "--mesh-checks=MC-TRUST,MC-DISCOVERY")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "topology  fake-topology*",
            "clusters  cluster1  primary, network network1",
            "provider  fake: for tests",
            "steps     1. *",
            "2 checks would be judged",
            "  MC-TRUST-901  All clusters share one root",
            "4 checks would not",
            "  MC-ACCESS-901*",
            "*not selected by --mesh-checks",
            "  MC-DISCOVERY-902*",
            "*this mesh has not: two or more clusters on one network",
        ]
    )


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_mesh_that_cannot_be_provisioned_ends_with_exit_code_3_and_says_why_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    write_suite(pytester)
    (pytester.path / "mesh-report.yaml").write_text("an older certificate")
    monkeypatch.setenv("FAKE_PROVIDE", "fail")
    monkeypatch.setenv("FAKE_CLEAN_UP", "fail")

    result = pytester.runpytest(*CERTIFY, *workers)

    assert result.ret == 3
    result.stdout.fnmatch_lines(
        [
            'cluster "cluster1": istiod not ready (503 from /ready)',
            "  next: try --mesh-keep",
            'cluster "cluster2": does not go away',
            "result      INCONCLUSIVE: the mesh could not be provisioned: *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    report = report_of(pytester)
    validate(report)
    assert report["result"] == "inconclusive"
    assert {entry["verdict"] for entry in report["checks"]} == {"inconclusive", "not-applicable"}


def test_a_clean_up_that_fails_is_said_and_changes_the_exit_code(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)
    monkeypatch.setenv("FAKE_CLEAN_UP", "fail")

    result = pytester.runpytest(*CERTIFY)

    assert result.ret == 3
    result.stdout.fnmatch_lines(['clean-up: the mesh: cluster "cluster2": does not go away*'])
    assert report_of(pytester)["result"] == "success"


def test_progress_is_printed_with_q_and_while_output_is_captured(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    pytester.runpytest(*CERTIFY, "-q").stdout.fnmatch_lines(["*fake clusters ready*"])


def test_junit_carries_id_verdict_and_reason(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    pytester.runpytest(*CERTIFY, "--junit-xml=junit.xml")

    root = ET.parse(pytester.path / "junit.xml").getroot()
    cases = {case.get("name"): case for case in root.iter("testcase")}
    properties = {
        name: {entry.get("name"): entry.get("value") for entry in case.iter("property")}
        for name, case in cases.items()
    }
    assert properties["test_secrets"] == {
        "mesh_check": "MC-ACCESS-901",
        "mesh_verdict": "non-conformant",
        "mesh_reason": "cluster1 holds no remote secret for cluster2",
    }
    assert properties["test_flat"]["mesh_verdict"] == "not-applicable"
    assert properties["test_root"]["mesh_verdict"] == "conformant"
    failure = cases["test_secrets"].find("failure")
    assert failure is not None
    message = "MC-ACCESS-901 non-conformant: cluster1 holds no remote secret for cluster2"
    assert failure.get("message") == message


def test_a_baseline_that_was_better_fails_the_run(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    pytester.runpytest(*CERTIFY, "--mesh-report=before.yaml")
    write_suite(pytester, HEALTHY | {"gateway": "NO_ANSWER"})

    result = pytester.runpytest(*CERTIFY, "--mesh-baseline=before.yaml")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["baseline    worse: MC-EASTWEST-901 conformant -> inconclusive: no answer within 5 s"]
    )


@pytest.mark.parametrize(
    "way", ["itself", "symbolic link", "hard link", "another name of its folder"]
)
def test_a_baseline_that_the_run_overwrites_is_refused(
    pytester: pytest.Pytester, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)
    pytester.runpytest(*CERTIFY)
    report, baseline = pytester.path / "mesh-report.yaml", pytester.path / "baseline.yaml"
    match way:
        case "symbolic link":
            baseline.symlink_to(report)
        case "hard link":
            baseline.hardlink_to(report)
        case "another name of its folder":
            (pytester.path / "link").symlink_to(pytester.path)
            baseline = pytester.path / "link" / "mesh-report.yaml"
        case _:
            baseline = report
    before, log = report.read_bytes(), pytester.path / "log"
    monkeypatch.setenv("FAKE_LOG", str(log))

    result = pytester.runpytest(*CERTIFY, f"--mesh-baseline={baseline}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{baseline}: is what this run overwrites*"])
    assert report.read_bytes() == before
    assert not log.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mesh-topology=fake-other"], "it is of topology fake-topology, not fake-other"),
        (["--mesh-profile=extended"], "it is of profile core*, not extended"),
        (["--mesh-spec=three.yaml"], "it is of clusters cluster1, cluster2, not one, three, two"),
    ],
)
def test_a_baseline_of_something_else_is_refused_before_anything_runs(
    pytester: pytest.Pytester, options: list[str], says: str
) -> None:
    write_suite(pytester)
    pytester.runpytest(*CERTIFY, "--mesh-report=before.yaml")
    clusters = [{"name": name, "network": f"net-{name}"} for name in ("one", "two", "three")]
    spec: dict[str, object] = {"apiVersion": "istio-mc.dev/v1alpha1", "kind": "MeshSpec"}
    spec |= {"topology": "fake-topology", "clusters": clusters}
    (pytester.path / "three.yaml").write_text(json.dumps(spec))

    result = pytester.runpytest(*CERTIFY, "--mesh-baseline=before.yaml", *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*before.yaml: is of something else than this run*{says}*"])
    assert not (pytester.path / "mesh-report.yaml").exists()


def test_a_snapshot_is_saved_and_replayed_without_a_mesh(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)
    pytester.runpytest(*CERTIFY, "--mesh-snapshot=recorded")
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))

    result = pytester.runpytest("-p", "tests.fake_mesh", "--mesh-replay=recorded")

    assert result.ret == pytest.ExitCode.OK
    assert not (pytester.path / "log").exists()
    report = report_of(pytester)
    assert report["result"] == "partial"
    assert report["mesh"]["provider"] == "replay"
    assert entry_of(report, "MC-TRUST-901")["verdict"] == "conformant"
    live = entry_of(report, "MC-EASTWEST-901")
    assert (live["verdict"], live["claimed"]) == ("inconclusive", True)
    assert live["reason"].startswith("not run: needs a mesh")


def test_ctrl_c_cleans_up_and_leaves_a_certificate_that_is_no_pass(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester, HEALTHY | {"discovery": "(_ for _ in ()).throw(KeyboardInterrupt())"})
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))

    result = pytester.runpytest_subprocess(*CERTIFY)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert (pytester.path / "log").read_text().splitlines()[1:] == ["record", "clean up"]
    report = report_of(pytester)
    assert report["result"] == "partial"
    assert entry_of(report, "MC-DISCOVERY-901")["reason"] == "not run: the run was interrupted"


@pytest.mark.parametrize("workers", [(), ("-n2",)])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_while_provisioning_cleans_up(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    workers: tuple[str, ...],
    number: str,
) -> None:
    write_suite(pytester)
    log = pytester.path / "log"
    monkeypatch.setenv("FAKE_LOG", str(log))
    monkeypatch.setenv("FAKE_PROVIDE", "slow")
    command = [sys.executable, "-m", "pytest", *CERTIFY, *workers]
    run = subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL)

    eventually(log.exists, bool, within_seconds=20, what="the fake provider begins")
    run.send_signal(getattr(signal, number))
    status = run.wait(20)

    assert status == pytest.ExitCode.INTERRUPTED
    assert log.read_text().splitlines()[1:] == ["clean up"]
    report = report_of(pytester)
    assert report["result"] == "inconclusive"
    assert entry_of(report, "MC-TRUST-901")["reason"] == "not run: the run was interrupted"


def test_a_full_disk_does_not_lose_the_certificate(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    pytester.makeconftest(
        """
        import os
        real = os.fdopen
        def full(handle, *arguments, **named):
            os.dup2(os.open("/dev/full", os.O_WRONLY), handle)
            return real(handle, *arguments, **named)
        from pytest_istio_mc.evidence import writing
        class Os:
            def __getattr__(self, name):
                return full if name == "fdopen" else getattr(os, name)
        writing.os = Os()
        """
    )

    result = pytester.runpytest_subprocess(*CERTIFY)

    assert result.ret == 3
    result.stdout.fnmatch_lines(
        [
            "*mesh-report.yaml: cannot be written (*No space left on device*)",
            "kind: ConformanceReport",
            "result: success",
        ]
    )
    assert not list(pytester.path.glob("*mesh-report*"))


def test_an_idle_plugin_loads_nothing_heavy_and_changes_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        HEAVY = (
            "kubernetes", "cryptography", "jsonschema", "yaml", "urllib3", "websocket",
            "concurrent.futures",
        )
        LIGHT = ("plugin", "options", "offered", "hookspecs", "absent")
        OURS = {f"pytest_istio_mc.{name}" for name in LIGHT}

        def test_nothing_heavy_is_loaded(pytestconfig):
            assert "pytest_istio_mc.plugin" in sys.modules
            assert not [name for name in HEAVY if name in sys.modules]
            loaded = {name for name in sys.modules if name.startswith("pytest_istio_mc.")}
            assert not loaded - OURS
            manager = pytestconfig.pluginmanager
            assert not [name for name, _ in manager.list_name_plugin() if name.startswith("mesh_")]
        """
    )

    result = pytester.runpytest_subprocess(
        "-p", "no:allure_pytest", "-p", "no:xdist", "-p", "no:hypothesispytest"
    )

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*mesh*")
    assert not (pytester.path / "mesh-report.yaml").exists()


def test_an_active_plugin_imports_no_allure_and_no_kubernetes_where_none_is_used(
    pytester: pytest.Pytester,
) -> None:
    write_suite(
        pytester,
        more="""
        def test_light(mesh):
            import sys
            assert not {"kubernetes", "allure"} & set(sys.modules)
        """,
    )

    result = pytester.runpytest_subprocess(*CERTIFY, "-p", "no:allure_pytest")

    result.assert_outcomes(passed=5, skipped=2)


@pytest.mark.parametrize("quiet", ["-q", "-qq"])
def test_a_quiet_run_tells_the_result_and_where_it_is(
    pytester: pytest.Pytester, quiet: str
) -> None:
    write_suite(pytester)

    result = pytester.runpytest(*CERTIFY, quiet, "-p", "no:warnings")

    lines = [line for line in result.outlines if not line.startswith("  ")]
    assert len(lines) <= 6
    result.stdout.fnmatch_lines(["result      SUCCESS: *", "certificate *"])
    result.stdout.no_fnmatch_line("*nothing is wrong*")

    write_suite(pytester, BROKEN)
    broken = pytester.runpytest(*CERTIFY, quiet)
    broken.stdout.fnmatch_lines(["1. MC-ACCESS-901 *", "result      FAILURE: *", "one check *"])


def test_one_line_a_failure_is_one_line(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    result = pytester.runpytest(*CERTIFY, "--tb=line")

    first = next(n for n, line in enumerate(result.outlines) if "= FAILURES =" in line)
    assert "MC-ACCESS-901 non-conformant: " in result.outlines[first + 1]
    assert "==" in result.outlines[first + 2]


def test_a_failure_names_the_page_that_demands_it(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    result = pytester.runpytest(*CERTIFY)

    result.stdout.fnmatch_lines(["    page:     https://istio.io/latest/docs/"])


@pytest.mark.parametrize(
    ("verdicts", "styled"),
    [
        (HEALTHY, "\x1b[32m\x1b[1mresult      SUCCESS:*"),
        (BROKEN, "\x1b[31m\x1b[1mresult      FAILURE:*"),
        (BROKEN, "\x1b[31m\x1b[1m1. MC-ACCESS-901*"),
        (HEALTHY | {"gateway": "NO_ANSWER"}, "\x1b[33m\x1b[1mresult      INCONCLUSIVE:*"),
        (HEALTHY | {"gateway": "NO_ANSWER"}, "*test_gateway \x1b[33mINCONCLUSIVE*"),
        (BROKEN, "*test_secrets \x1b[31mNON-CONFORMANT*"),
    ],
)
def test_verdicts_and_causes_have_colours_where_they_are_wanted(
    pytester: pytest.Pytester, verdicts: dict[str, str], styled: str
) -> None:
    write_suite(pytester, verdicts)

    result = pytester.runpytest(*CERTIFY, "-v", "--color=yes")

    result.stdout.fnmatch_lines([styled.replace("[", "[[]")])
    assert "\x1b[" not in pytester.runpytest(*CERTIFY, "-v", "--color=no").stdout.str()
