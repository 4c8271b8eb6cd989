"""Allure: its view of each check, and a stable history."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.evidence.allure_folder import categories
from tests.certifying import BROKEN, CERTIFY, HEALTHY, write_suite

pytest.importorskip("allure_pytest")

pytestmark = pytest.mark.usefixtures("clean_environment")

RECORDED = Path(__file__).parents[1] / "recorded" / "healthy"


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """The test results in an Allure folder, by the name of the test function."""
    found = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
    return {result["fullName"].partition("#")[2]: result for result in found}


def labels(result: dict[str, Any], name: str) -> list[str]:
    """The values of one label."""
    return [label["value"] for label in result["labels"] if label["name"] == name]


def steps(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Names and endings of steps."""
    return [(step["name"], step["status"]) for step in found]


def attachments(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and types of attachments."""
    return [(entry["name"], entry["type"]) for entry in result["attachments"]]


def certified(pytester: pytest.Pytester, folder: str, *options: str) -> dict[str, dict[str, Any]]:
    """The results of an area's suite on a recorded mesh, by the check's id."""
    run = (f"--mesh-replay={RECORDED}", "--mesh-checks=MC-TRUST", f"--alluredir={folder}", *options)
    pytester.runpytest_subprocess("--pyargs", "pytest_istio_mc.suites", *run)
    found = [json.loads(path.read_text()) for path in Path(folder).glob("*-result.json")]
    named = {result["name"].split()[0]: result for result in found}
    return {name: result for name, result in named.items() if name.startswith("MC-")}


def test_the_checks_of_an_area_have_titles_parameters_and_histories_of_their_own(
    pytester: pytest.Pytester,
) -> None:
    once = certified(pytester, "once")
    again = certified(pytester, "again", "-n", "2")

    trust = {id: check for id, check in known_checks().items() if check.area == "TRUST"}
    assert {id: result["name"] for id, result in once.items()} == {
        id: f"{id} {check.title}" for id, check in trust.items()
    }
    assert all(
        {"name": "check", "value": id} in result["parameters"] for id, result in once.items()
    )
    histories = {id: result["historyId"] for id, result in once.items()}
    assert len(set(histories.values())) == len(trust)
    assert histories == {id: result["historyId"] for id, result in again.items()}


def test_each_check_is_labelled_and_shows_its_findings(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    pytester.runpytest_subprocess(*CERTIFY, "--alluredir=allure")

    found = results(pytester.path / "allure")
    secrets = found["test_secrets"]
    assert secrets["name"] == "MC-ACCESS-901 Each control plane holds its remote secrets"
    assert secrets["status"] == "failed"
    assert labels(secrets, "epic") == ["Istio multi-cluster conformance"]
    assert labels(secrets, "feature") == ["Remote access"]
    assert labels(secrets, "story") == ["MC-ACCESS-901 Each control plane holds its remote secrets"]
    assert labels(secrets, "severity") == ["critical"]
    assert labels(secrets, "parentSuite") == ["fake-topology"]
    assert secrets["links"] == [
        {"type": "link", "url": "https://istio.io/latest/docs/", "name": "specification"}
    ]
    assert secrets["parameters"] == [{"name": "mesh_topology", "value": "'fake-topology'"}]
    (finding,) = secrets["steps"]
    assert steps([finding]) == [("cluster1 holds no remote secret for cluster2", "failed")]
    assert "expected: one secret" in [step["name"] for step in finding["steps"]]
    assert ".py" not in json.dumps(finding)
    assert attachments(secrets) == [("secrets.json", "application/json")]
    gateway, root = found["test_gateway"], found["test_root"]
    assert gateway["status"] == "broken"
    assert steps(gateway["steps"]) == [("could not find out: no answer within 5 s", "broken")]
    assert root["status"] == "passed"
    assert [step["name"] for step in root["steps"][0]["steps"]] == ["cluster1", "cluster2"]
    flat = found["test_flat"]
    assert flat["status"] == "skipped"
    assert flat["name"] == "MC-DISCOVERY-902 Flat networks only"
    assert flat["parameters"] == [{"name": "mesh_topology", "value": "'fake-topology'"}]


def test_history_is_the_same_with_workers_and_the_controller_writes_the_rest_once(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester, BROKEN)
    pytester.runpytest_subprocess(*CERTIFY, "--alluredir=alone")
    pytester.runpytest_subprocess(*CERTIFY, "--alluredir=together", "--clean-alluredir", "-n2")

    alone, together = results(pytester.path / "alone"), results(pytester.path / "together")

    before, after = (
        {name: result["historyId"] for name, result in found.items()} for found in (alone, together)
    )
    assert before == after
    for folder in (pytester.path / "alone", pytester.path / "together"):
        environment = (folder / "environment.properties").read_text()
        assert "topology=fake-topology\n" in environment
        assert "cluster.cluster1.kubernetes=v1.36.1\n" in environment
        assert "cluster.cluster1=primary,\\ network\\ network1\n" in environment
        first = json.loads((folder / "categories.json").read_text())[0]
        assert first["name"].startswith("MC-ACCESS-901: ")
        assert (folder / "mesh-report.yaml").exists()


def test_two_topologies_do_not_share_a_history(pytester: pytest.Pytester) -> None:
    from allure_pytest.utils import get_history_id

    class Parameter:
        def __init__(self, name: str, value: str) -> None:
            self.name, self.value, self.excluded = name, value, None

    one, other = (
        get_history_id("suites.trust#test", [Parameter("mesh_topology", repr(name))], {})
        for name in ("flat", "multi")
    )

    assert one != other


def test_each_root_cause_is_a_category_that_holds_what_it_explains() -> None:
    cause = {"check": "MC-ACCESS-901", "summary": "no secret", "remedy": "create it"}

    first, *others = categories([{"rootCauses": [{**cause, "explains": ["MC-DISCOVERY-901"]}]}])

    explained = "MC-DISCOVERY-901 non-conformant: x\n  more"
    assert re.fullmatch(first["messageRegex"], explained)
    assert not re.fullmatch(first["messageRegex"], "MC-TRUST-901 non-conformant")
    names = [category["name"] for category in others]
    assert names == [
        "Could not find out",
        "Not conformant",
        "Claimed, and not run",
        "Not applicable",
    ]


@pytest.mark.parametrize("topology", ["a+b", "a\\b", "(a", "a.b*"])
def test_patterns_are_read_alike_by_java_and_javascript(topology: str) -> None:
    cause = {"check": "MC-ACCESS-901", "summary": "no secret", "remedy": "", "explains": []}
    reports: list[dict[str, Any]] = [
        {"topology": topology, "rootCauses": [cause]},
        {"topology": "c", "rootCauses": []},
    ]

    pattern = categories(reports)[0]["messageRegex"]

    assert "(?" not in pattern
    assert re.fullmatch(pattern, f"x\n{topology}: MC-ACCESS-901 wrong\nmore")
    assert not re.fullmatch(pattern, "other: MC-ACCESS-901 wrong")
    assert not re.fullmatch(pattern, f"x-{topology}: MC-ACCESS-901 wrong") or topology[0] == "("


def test_a_category_holds_no_tag_and_nothing_that_acts() -> None:
    cause = {"check": "MC-ACCESS-901", "summary": "<img src=x onerror=y>\n\x1b[8m", "remedy": "<a>"}

    first, *_ = categories([{"rootCauses": [{**cause, "explains": []}]}])

    assert first["name"] == "MC-ACCESS-901: ‹img src=x onerror=y>\n  \\e[8m"
    assert first["description"] == "‹a>"


@pytest.mark.parametrize(
    "arguments", [("-p", "no:allure_pytest"), ()], ids=["absent", "not-asked-for"]
)
def test_without_allure_nothing_is_written_and_nothing_fails(
    pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    write_suite(pytester)

    result = pytester.runpytest_subprocess(*CERTIFY, *arguments, "--strict-markers")

    assert result.ret == 0
    assert not list(pytester.path.rglob("categories.json"))


def test_the_hops_of_a_request_are_steps_up_to_the_first_broken_one(
    pytester: pytest.Pytester,
) -> None:
    write_suite(
        pytester,
        HEALTHY | {"access": "with_hops()"},
        more="""
        from pytest_istio_mc.checks.tracing.trace import Hop, State, Trace

        def with_hops():
            way = Trace("east", "west", 5000, (
                Hop("DNS", State.GOOD, "an address", "10.0.0.1"),
                Hop("route", State.UNKNOWN, seen="not recorded"),
                Hop("endpoint", State.BROKEN, "one", "none"),
                Hop("client TLS", State.NOT_REACHED),
            ))
            good = Trace("west", "east", 5000, (Hop("DNS", State.GOOD, "an address", "10.0.0.2"),))
            return replace(NO_SECRET, evidence=(way.evidence, good.evidence))
        """,
    )

    pytester.runpytest_subprocess(*CERTIFY, "--alluredir=allure")

    result = results(pytester.path / "allure")["test_secrets"]
    assert steps(result["steps"][-2:]) == [
        ("from east to west, port 5000: broken at endpoint", "failed"),
        ("from west to east, port 5000: no broken hop is known", "passed"),
    ]
    assert steps(result["steps"][-2]["steps"]) == [
        ("DNS: 10.0.0.1", "passed"),
        ("route: not recorded", "broken"),
        ("endpoint: none, expected one", "failed"),
    ]
    assert attachments(result) == [
        ("hops from east to west", "application/vnd.istio-mc.hops+json"),
        ("hops from west to east", "application/vnd.istio-mc.hops+json"),
    ]


def certificate_of(folder: Path) -> dict[str, Any]:
    """The result that is the certificate."""
    found = (json.loads(path.read_text()) for path in folder.glob("*-result.json"))
    return next(result for result in found if result["name"].startswith("Certificate"))


def test_the_certificate_is_a_result_with_the_page(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    pytester.runpytest_subprocess(*CERTIFY, "--alluredir=allure")

    folder = pytester.path / "allure"
    found = certificate_of(folder)
    assert found["name"] == "Certificate: FAILURE"
    assert found["status"] == "failed"
    assert "not conformant" in found["statusDetails"]["message"]
    page, document = found["attachments"]
    assert (page["type"], document["type"]) == ("text/html", "application/yaml")
    assert "MC-ACCESS-901" in (folder / page["source"]).read_text()
    (globally,) = (json.loads(path.read_text()) for path in folder.glob("*-globals.json"))
    assert [one["source"] for one in globally["attachments"]] == [
        page["source"],
        document["source"],
    ]
    configuration = json.loads((folder / "allurerc.json").read_text())
    assert configuration["name"] == "fake-topology: FAILURE"
    assert configuration["categories"]["rules"][0]["name"].startswith("MC-ACCESS-901: ")
    assert json.loads((folder / "executor.json").read_text())["reportName"] == (
        "fake-topology: FAILURE"
    )


def test_claimed_checks_that_did_not_run_are_not_skipped(pytester: pytest.Pytester) -> None:
    found = certified(pytester, "allure")

    statuses = {id: result["status"] for id, result in found.items()}
    assert statuses["MC-TRUST-001"] == "passed"
    assert statuses["MC-TRUST-008"] == "unknown"
    assert certificate_of(pytester.path / "allure")["status"] == "broken"


def test_what_others_wrote_into_the_folder_stays(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)
    folder = pytester.path / "allure"
    folder.mkdir()
    theirs = {"executor.json": '{"name": "Jenkins"}', "a-result.json": '{"labels": [3]}'}
    theirs["b-result.json"] = "not json"
    for name, text in theirs.items():
        (folder / name).write_text(text)

    result = pytester.runpytest_subprocess(*CERTIFY, "--alluredir=allure")

    assert result.ret == 1
    assert {name: (folder / name).read_text() for name in theirs} == theirs


def generator(variable: str) -> list[str]:
    """The command of a generator of reports, or a skip that says how to have it."""
    command = os.environ.get(variable, "")
    if not command:
        pytest.skip(f"set {variable} to the command of that generator (docs/certificate.md)")
    return shlex.split(command)


RS_MISSING = RECORDED.with_name("rs-missing")
CAUSE = "MC-ACCESS-001: cluster1 has no remote secret for cluster2"


def test_allure_2_shows_result_causes_and_page(pytester: pytest.Pytester) -> None:
    command = generator("ALLURE2_COMMAND")
    mesh = f"--mesh-replay={RS_MISSING}"
    pytester.runpytest_subprocess("--pyargs", "pytest_istio_mc.suites", mesh, "--alluredir=results")

    pytester.run(*command, "generate", "-o", "html", "results")

    widgets = pytester.path / "html" / "widgets"
    summary = json.loads((widgets / "summary.json").read_text())
    shown = json.loads((widgets / "categories.json").read_text())["items"]
    assert summary["reportName"] == "multi-network-multi-primary: FAILURE"
    assert summary["statistic"]["unknown"] > 0
    assert {one["name"]: one["statistic"]["failed"] for one in shown}[CAUSE] == 4
    attached = list((pytester.path / "html" / "data" / "attachments").glob("*.html"))
    assert any("Content-Security-Policy" in one.read_text() for one in attached)


def test_allure_3_shows_result_causes_and_page(pytester: pytest.Pytester) -> None:
    command = generator("ALLURE3_COMMAND")
    mesh = f"--mesh-replay={RS_MISSING}"
    pytester.runpytest_subprocess("--pyargs", "pytest_istio_mc.suites", mesh, "--alluredir=results")

    configured = ("--config", "results/allurerc.json", "--output", "html")
    pytester.run(*command, "generate", "results", *configured)

    widgets = pytester.path / "html" / "widgets"
    shown = json.loads((widgets / "default" / "categories.json").read_text())
    roots = [shown["nodes"][root] for root in shown["roots"]]
    attached = json.loads((widgets / "globals.json").read_text())["attachments"]
    title = re.search(r"<title>(.*?)</title>", (pytester.path / "html" / "index.html").read_text())
    assert {one["name"]: one["statistic"].get("failed") for one in roots}[CAUSE] == 4
    assert "text/html" in [one["contentType"] for one in attached]
    assert title
    assert title.group(1).strip() == "multi-network-multi-primary: FAILURE"
