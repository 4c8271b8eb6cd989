"""The commands that tell of checks, and what every command line tool has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.cli import GOOD, USAGE, main
from pytest_istio_mc.lab import doctor
from pytest_istio_mc.lab.host import Examined
from pytest_istio_mc.tool import tool_version


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main([*arguments, "--json"]) == GOOD
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_checks_are_chosen_by_id_area_profile_kind_and_topology(
    capsys: pytest.CaptureFixture[str],
) -> None:
    every = rows(capsys, "checks")
    assert [row["id"] for row in every] == list(known_checks())

    trust = rows(capsys, "checks", "mc-trust", "MC-ACCESS-001")
    assert {str(row["id"])[:8] for row in trust} == {"MC-TRUST", "MC-ACCES"}
    live = rows(capsys, "checks", "MC-TRUST", "--kind=live")
    assert {row["kind"] for row in live} == {"live"}
    disruptive = rows(capsys, "checks", "--profile=disruptive")
    assert {row["profile"] for row in disruptive} == {"disruptive"}
    federated = {row["id"] for row in rows(capsys, "checks", "--topology=federated")}
    flat = {row["id"] for row in rows(capsys, "checks", "--topology=flat-multi-primary")}
    assert "MC-FEDERATION-001" in federated - flat


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("checks", "MC-TRUTS"), 'did you mean "MC-TRUST"?'),
        (("explain", "MC-TRUST-999"), "is no check and no area"),
        (("checks", "--topology=federatd"), 'did you mean "federated"?'),
    ],
)
def test_a_name_of_nothing_is_refused_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert main(arguments) == USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("id", list(known_checks()))
def test_every_check_is_explained(capsys: pytest.CaptureFixture[str], id: str) -> None:
    assert main(["explain", id]) == GOOD

    told = " ".join(capsys.readouterr().out.split())

    check = known_checks()[id]
    for part in (check.title, check.effect, check.spec_url, f"--mesh-checks={id}", "remedy"):
        assert part in told
    for other in check.explained_by:
        assert other in told


def test_an_explanation_has_mistakes_that_people_made(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, "explain", "MC-CONTROL-007")

    mistakes = row["mistakes"]
    assert isinstance(mistakes, list)
    assert "pr-injection-path" in {one["name"] for one in mistakes}
    assert "MC-CONTROL-004" in row["explains"]  # type: ignore[operator]


def test_no_line_of_the_list_is_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    main(["checks"])

    long = [line for line in capsys.readouterr().out.splitlines() if len(line) > 80]
    assert all("://" in line and " " not in line.strip() for line in long)  # what cannot break


@pytest.mark.parametrize("module", ["pytest_istio_mc", "pytest_istio_mc.cli"])
def test_the_version_is_told_also_by_the_module(module: str) -> None:
    command = [sys.executable, "-m", module, "--version"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == f"istio-mc {tool_version()}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_every_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == GOOD

    script = capsys.readouterr().out
    for command in ("checks", "explain", "compare", "sweep", "lab"):
        assert command in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, timeout=60, check=True)


def test_the_doctor_answers_for_machines_and_as_many_clusters_as_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def memory(clusters: int) -> str:
        main(["lab", "doctor", f"--clusters={clusters}", "--json"])
        found = {one["name"]: one["seen"] for one in json.loads(capsys.readouterr().out)}
        return str(found["memory"])

    assert memory(2) != memory(5)
    assert main(["lab", "doctor", "--clusters=0"]) == USAGE


def test_what_the_doctor_did_not_try_is_not_called_good(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (Examined("namespaces", True, "not tried: that takes root"),)
    monkeypatch.setattr(doctor, "examine", lambda clusters: found)

    main(["lab", "doctor"])

    assert capsys.readouterr().out == "?    namespaces: not tried: that takes root\n"
