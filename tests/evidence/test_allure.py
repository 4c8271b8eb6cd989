"""Allure: what it is told about each check, and that its history holds across processes and places."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.evidence.allure import categories
from tests.certifying import BROKEN, CERTIFY, HEALTHY, without_mesh_environment, write_suite

pytest.importorskip("allure_pytest")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with without_mesh_environment(monkeypatch):
        yield


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """The test results in an Allure folder, by the name of the test function."""
    found = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
    return {result["fullName"].partition("#")[2]: result for result in found}


def labels(result: dict[str, Any], name: str) -> list[str]:
    """The values of one label."""
    return [label["value"] for label in result["labels"] if label["name"] == name]


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
    assert secrets["parameters"] == [{"name": "topology", "value": "'fake-topology'"}]
    (finding,) = secrets["steps"]
    assert (finding["name"], finding["status"]) == (
        "cluster1 holds no remote secret for cluster2",
        "failed",
    )
    assert "expected: one secret" in [step["name"] for step in finding["steps"]]
    assert ".py" not in json.dumps(finding)
    assert [(attachment["name"], attachment["type"]) for attachment in secrets["attachments"]] == [
        ("secrets.json", "application/json")
    ]
    assert found["test_gateway"]["status"] == "broken"
    assert [(step["name"], step["status"]) for step in found["test_gateway"]["steps"]] == [
        ("could not find out: no answer within 5 s", "broken")
    ]
    assert found["test_root"]["status"] == "passed"
    assert [step["name"] for step in found["test_root"]["steps"][0]["steps"]] == [
        "cluster1",
        "cluster2",
    ]
    flat = found["test_flat"]
    assert flat["status"] == "skipped"
    assert flat["name"] == "MC-DISCOVERY-902 Flat networks only"
    assert flat["parameters"] == [{"name": "topology", "value": "'fake-topology'"}]


def test_history_is_the_same_with_workers_and_the_controller_writes_the_rest_once(
    pytester: pytest.Pytester,
) -> None:
    write_suite(pytester, BROKEN)
    pytester.runpytest_subprocess(*CERTIFY, "--alluredir=alone")
    pytester.runpytest_subprocess(*CERTIFY, "--alluredir=together", "--clean-alluredir", "-n2")

    alone, together = results(pytester.path / "alone"), results(pytester.path / "together")

    assert {name: result["historyId"] for name, result in alone.items()} == {
        name: result["historyId"] for name, result in together.items()
    }
    for folder in ("alone", "together"):
        environment = (pytester.path / folder / "environment.properties").read_text()
        assert "topology=fake-topology\n" in environment
        assert "cluster.cluster1.kubernetes=v1.36.1\n" in environment
        assert "cluster.cluster1=primary,\\ network\\ network1\n" in environment
        assert json.loads((pytester.path / folder / "categories.json").read_text())[0][
            "name"
        ].startswith("MC-ACCESS-901: ")
        assert (pytester.path / folder / "mesh-report.yaml").exists()


def test_two_topologies_do_not_share_a_history(pytester: pytest.Pytester) -> None:
    from allure_pytest.utils import get_history_id

    class Parameter:
        def __init__(self, name: str, value: str) -> None:
            self.name, self.value, self.excluded = name, value, None

    one, other = ([Parameter("topology", repr(name))] for name in ("flat", "multi"))

    assert get_history_id("suites.trust#test", one, {}) != get_history_id(
        "suites.trust#test", other, {}
    )


def test_each_root_cause_is_a_category_that_holds_what_it_explains() -> None:
    report = {
        "rootCauses": [
            {
                "check": "MC-ACCESS-901",
                "summary": "no secret",
                "remedy": "create it",
                "explains": ["MC-DISCOVERY-901"],
            }
        ]
    }

    first, *others = categories([report])

    for message, holds in (
        ("MC-DISCOVERY-901 non-conformant: x\n  more", True),
        ("MC-TRUST-901 non-conformant", False),
    ):
        assert bool(re.fullmatch(first["messageRegex"], message)) == holds
    assert [category["name"] for category in others] == [
        "Could not find out",
        "Not conformant",
        "Not applicable",
    ]


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
    broken, whole = result["steps"][-2:]
    assert (broken["name"], broken["status"]) == (
        "from east to west, port 5000: broken at endpoint",
        "failed",
    )
    assert [(step["name"], step["status"]) for step in broken["steps"]] == [
        ("DNS: 10.0.0.1", "passed"),
        ("route: not recorded", "broken"),
        ("endpoint: none, expected one", "failed"),
    ]
    assert (whole["name"], whole["status"]) == (
        "from west to east, port 5000: no broken hop is known",
        "passed",
    )
    assert [(entry["name"], entry["type"]) for entry in result["attachments"]] == [
        ("hops from east to west", "application/vnd.istio-mc.hops+json"),
        ("hops from west to east", "application/vnd.istio-mc.hops+json"),
    ]
