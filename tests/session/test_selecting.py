"""pytest as its users know it: what is selected, planned and repeated, from an empty folder."""

from __future__ import annotations

import shlex

import pytest

from pytest_istio_mc.checks.catalogue import known_checks
from tests.certifying import CERTIFY, report_of, write_suite
from tests.checks.topologies import RECORDED

pytestmark = pytest.mark.usefixtures("clean_environment")

REPLAY = f"--mesh-replay={RECORDED / 'healthy'}"
TRUST = "suites/trust/test_trust.py::test_check[MC-TRUST-001-common-root]"

OWN = """
from pytest_istio_mc import Finding, check, checks_of, judged


@check("MC-CONTROL-901", "A rule of ours.", spec_url="https://example.com/rules")
def it_is_so(snapshot):
    return judged([Finding("it is not so", ("cluster1",))], "it is so")


test_rule = checks_of(it_is_so)
"""


def ran(pytester: pytest.Pytester) -> list[str]:
    return [entry["id"] for entry in report_of(pytester)["checks"] if entry["ran"]]


def test_without_a_path_the_suites_run_beside_the_tests_of_the_folder(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")

    result = pytester.runpytest(REPLAY, "-v", "--mesh-checks=MC-TRUST-001")

    result.assert_outcomes(passed=2, deselected=len(known_checks()) - 1)
    result.stdout.fnmatch_lines_random(["test_mine.py::test_mine *", f"{escaped(TRUST)} *"])
    pytester.runpytest(REPLAY, "test_mine.py").assert_outcomes(passed=1)
    pytester.runpytest(REPLAY, "suites", "--collect-only", "-q").stdout.no_fnmatch_line("*mine*")


def escaped(text: str) -> str:
    return text.replace("[", "[[]")


def test_a_printed_node_id_leads_to_its_test_from_any_folder(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest(REPLAY, TRUST)

    result.assert_outcomes(passed=1)
    assert ran(pytester) == ["MC-TRUST-001"]
    pytester.mkdir("suites")  # one of theirs is theirs
    lost = pytester.runpytest(REPLAY, "suites/trust/test_trust.py")
    assert lost.ret == pytest.ExitCode.OK
    assert pytester.runpytest(REPLAY, "suites").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("option", "text", "some"),
    [
        ("-k", "MC-TRUST-001", "MC-TRUST-001"),
        ("-m", "MC-TRUST-001", "MC-TRUST-001"),
        ("-m", "MC-ACCESS and static", "MC-ACCESS-001"),
        ("-k", "MC-ACCESS and static and core", "MC-ACCESS-001"),
        ("-m", "extended", ""),
        ("-m", "live", ""),
    ],
)
def test_checks_are_selected_by_id_area_profile_and_kind(
    pytester: pytest.Pytester, option: str, text: str, some: str
) -> None:
    result = pytester.runpytest(REPLAY, option, text, "--strict-markers", "-p", "no:xdist")

    assert result.ret == (0 if some else 3)
    if some:
        assert some in ran(pytester)
        assert all(id.startswith(some.rpartition("-")[0]) for id in ran(pytester))
    else:
        assert 0 < result.parseoutcomes()["skipped"] < 60


def test_nothing_selected_names_the_ways_to_select(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest(REPLAY, "-k", "gibt_es_nicht")

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["no check was selected*--mesh-list*--mesh-checks=*-k and -m*"])


@pytest.mark.parametrize("more", [(), ("-n2",)])
@pytest.mark.parametrize("dry", ["--setup-plan", "--collect-only", "--mesh-plan"])
def test_what_promises_to_execute_nothing_provisions_and_writes_nothing(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    dry: str,
    more: tuple[str, ...],
) -> None:
    write_suite(pytester)
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))

    result = pytester.runpytest(*CERTIFY, dry, *more)

    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert not (pytester.path / "log").exists()
    assert not (pytester.path / "mesh-report.yaml").exists()


def test_the_plan_heeds_what_selects(pytester: pytest.Pytester) -> None:
    def would(*arguments: str) -> str:
        result = pytester.runpytest(REPLAY, "--mesh-plan", *arguments)
        return next(line for line in result.outlines if line.endswith(" would be judged"))

    pytester.runpytest(REPLAY)
    assert would() == f"{len(ran(pytester))} checks would be judged"
    assert would("-k", "MC-TRUST-001") == "1 check would be judged"
    assert would("-m", "MC-TRUST") == "7 checks would be judged"
    assert would(TRUST) == "1 check would be judged"
    assert would("-n2", "suites/trust", "--mesh-checks=MC-TRUST-002") == "1 check would be judged"


def test_the_list_heeds_mesh_checks(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--mesh-list", "--mesh-checks=MC-TRUST-001,MC-SUBSET")

    result.stdout.fnmatch_lines(["MC-TRUST-001 *", "MC-SUBSET-004 *", "5 checks. *"])
    wrong = pytester.runpytest("--mesh-list", "--mesh-checks=MC-TRUST-999")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(['*"MC-TRUST-999" is no check and no area; did you mean *'])


@pytest.mark.parametrize("more", [(), ("-n2",)])
def test_an_id_that_no_collected_test_defines_is_refused_before_anything_starts(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    write_suite(pytester)
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))

    result = pytester.runpytest(*CERTIFY, "--mesh-checks=MC-TRUST-777", *more)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert '"MC-TRUST-777" is no check and no area' in result.stdout.str() + result.stderr.str()
    assert not (pytester.path / "log").exists()


def test_the_printed_commands_repeat_the_run_and_the_check(pytester: pytest.Pytester) -> None:
    pytester.mkdir("mine")
    (pytester.path / "mine" / "test_rules.py").write_text(OWN)

    first = pytester.runpytest_subprocess("mine", REPLAY, "-k", "rule or nothing")

    assert first.ret == 1
    report = report_of(pytester)
    assert shlex.split(report["reproduce"]) == [
        "pytest", "mine", "-k", "rule or nothing", REPLAY,
    ]  # fmt: skip
    line = next(one for one in first.outlines if one.startswith("one check"))
    command = shlex.split(line.removeprefix("one check"))
    assert command == ["pytest", "mine", REPLAY, "--mesh-checks=MC-CONTROL-901"]
    for words in (command, shlex.split(report["reproduce"])):
        again = pytester.runpytest_subprocess(*words[1:])
        assert again.ret == 1
        assert ran(pytester) == ["MC-CONTROL-901"]


@pytest.mark.parametrize(
    "arguments", [("--mesh-checks=MC-TRUST-008",), ("-m", "fault"), ("test_uses.py",)]
)
def test_an_inconclusive_certificate_never_ends_with_0(
    pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_uses="def test_it(mesh): assert mesh.spec")

    result = pytester.runpytest(REPLAY, *arguments)

    assert report_of(pytester)["result"] == "inconclusive"
    assert result.ret == 3


def test_what_is_claimed_and_did_not_run_is_never_called_not_applicable(
    pytester: pytest.Pytester,
) -> None:
    result = pytester.runpytest(REPLAY, "-v", "suites/trust")

    result.stdout.fnmatch_lines(["*MC-TRUST-008*NOT RUN*", "core *7 conformant* not run"])
    entries = report_of(pytester)["checks"]
    unrun = [entry for entry in entries if entry["claimed"] and not entry["ran"]]
    assert {entry["verdict"] for entry in unrun} == {"inconclusive"}
    assert all(entry["reason"].startswith("not run: ") for entry in unrun)
    absent = [entry for entry in entries if entry["verdict"] == "not-applicable"]
    assert not any(entry["claimed"] for entry in absent)


def test_a_replay_tells_versions_and_whose_run_it_is(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest(REPLAY, "-k", "MC-TRUST-001")

    mesh = report_of(pytester)["mesh"]
    assert {cluster["versions"]["kubernetes"] for cluster in mesh["clusters"]} == {"v1.36.1"}
    assert all(one["versions"]["istiod"].startswith("1.31.0") for one in mesh["clusters"])
    header = next(line for line in result.outlines if line.startswith("mesh: "))
    assert header.endswith(f"run {mesh['runId']}")
    assert " by run " in mesh["notes"][0]
    assert mesh["runId"] not in mesh["notes"][0]
