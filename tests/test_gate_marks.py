"""Marks: told from within a gate, refused outside, bounded."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pytest_istio_mc import gate_marks
from pytest_istio_mc.cli import USAGE, main
from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.gate_marks import MOST_TEXT, VARIABLE, listening, send


def test_a_phase_is_told_with_its_time(tmp_path: Path) -> None:
    with listening(tmp_path) as marks:
        send("gateways\n of  west", {VARIABLE: str(marks.address)})

        (step,) = marks.steps
        assert step.text == "gateways of west"


def test_outside_of_a_gate_it_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert main(["gate", "mark", "x"]) == USAGE
    assert "is used outside of a gate" in capsys.readouterr().err


def test_a_gate_that_has_ended_is_named(tmp_path: Path) -> None:
    with listening(tmp_path) as marks:
        address = str(marks.address)

    with pytest.raises(UsageProblem, match="does not reach its gate"):
        send("x", {VARIABLE: address})


@pytest.mark.parametrize("text", ["", "  \n", "x" * (MOST_TEXT + 1)])
def test_a_text_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    with listening(tmp_path) as marks:
        with pytest.raises(UsageProblem, match="a phase is a text"):
            send(text, {VARIABLE: str(marks.address)})

        assert marks.steps == ()


def test_phases_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gate_marks, "MOST_STEPS", 2)
    with listening(tmp_path) as marks:
        for text in "ab":
            send(text, {VARIABLE: str(marks.address)})
        with pytest.raises(UsageProblem, match="2 phases were told already"):
            send("c", {VARIABLE: str(marks.address)})


@pytest.mark.parametrize("sent", [b"", b"nonsense\n", b"[]\n", b'{"mark": 1}\n', b"x" * 100000])
def test_nonsense_is_refused_and_the_gate_goes_on(sent: bytes, tmp_path: Path) -> None:
    with listening(tmp_path) as marks:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(marks.address))
            try:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                client.recv(100)
            except OSError:
                pass  # the gate does not read all of it
        send("well", {VARIABLE: str(marks.address)})

        assert [step.text for step in marks.steps] == ["well"]


def test_a_long_folder_is_no_hindrance_and_nothing_is_left(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with listening(deep) as marks:
        send("well", {VARIABLE: str(marks.address)})
        inside = marks.address.parent
        assert inside.stat().st_mode & 0o077 == 0

    assert not inside.exists()
    assert list(deep.iterdir()) == []
