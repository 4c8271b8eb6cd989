"""``istio-mc lab upgrade``: which lab, and who is told of its phases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pytest_istio_mc import cli
from pytest_istio_mc.cli.lab_upgrade import GATE, marker
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec_file import document_of
from pytest_istio_mc.topologies import known


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(GATE, raising=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "istio-mc lab upgrade: 0 labs run\n  next: start one with `istio-mc lab up`"),
        (["--name=nobody"], 'lab "nobody"'),
    ],
)
def test_without_a_lab_nothing_is_upgraded(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lab", "upgrade", "--to=1.31", *arguments]) == cli.USAGE

    assert told in capsys.readouterr().err


def test_of_several_labs_one_must_be_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labs = [SimpleNamespace(plan=SimpleNamespace(name=name)) for name in ("one", "two")]
    monkeypatch.setattr("pytest_istio_mc.lab.lab.running", lambda: iter(labs))

    assert cli.main(["lab", "upgrade", "--to=1.31"]) == cli.USAGE

    assert "2 labs run: one, two\n  next: name one with --name" in capsys.readouterr().err


def test_outside_of_a_gate_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> Any:
        raise AssertionError("something was run")

    monkeypatch.setattr(subprocess, "run", run)

    marker(Progress())("cluster1: istiod")


def test_inside_of_a_gate_each_phase_is_put_into_its_time_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv(GATE, "/run/gate.sock")
    monkeypatch.setattr(subprocess, "run", run)

    marker(Progress())("cluster1: istiod")

    gate = [sys.executable, "-m", "pytest_istio_mc.cli", "gate", "mark"]
    assert ran == [[*gate, "cluster1: istiod"]]


@pytest.mark.parametrize("broken", ["refused", "slow", "missing"])
def test_a_gate_that_does_not_listen_stops_no_upgrade(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if broken == "slow":
            raise subprocess.TimeoutExpired(command, 10)
        if broken == "missing":
            raise FileNotFoundError("no interpreter")
        return subprocess.CompletedProcess(command, 2, "", "usage\nno gate runs\n")

    monkeypatch.setenv(GATE, "/run/gate.sock")
    monkeypatch.setattr(subprocess, "run", run)
    lines: list[str] = []

    marker(Progress(lines.append))("cluster1: istiod")

    (line,) = lines
    assert "the gate was not told of this phase: " in line
    if broken == "refused":
        assert line.endswith("no gate runs")


def test_an_interrupted_upgrade_does_not_claim_to_be_taken_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    topology = known()["multi-network-multi-primary"]
    text = yaml.safe_dump(document_of(topology.default_spec()))
    (tmp_path / "mesh-spec.yaml").write_text(text)
    one = SimpleNamespace(plan=SimpleNamespace(name="one", home=tmp_path))
    monkeypatch.setattr("pytest_istio_mc.lab.lab.running", lambda: iter([one]))
    monkeypatch.setattr("pytest_istio_mc.providers.lab_upgrade.upgrade", interrupted)

    assert cli.main(["lab", "upgrade", "--to=1.31"]) == cli.UNKNOWN

    assert capsys.readouterr().err == "istio-mc: interrupted; nothing was taken back\n"
